"""Two steps that are measured side by side, and a table of what they take."""

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np

from benchmarks import rounds


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two steps, and what the ratio of their times should be.

    Attributes:
        title: What is compared.
        base: Makes the step whose time is the unit.
        other: Makes the step that is measured in that unit.
        most: What the ratio may be, or None.
        least: What the ratio must be, or None.
    """

    title: str
    base: Callable[[], Callable]
    other: Callable[[], Callable]
    most: float | None = None
    least: float | None = None

    @property
    def bound(self) -> str:
        """The bounds as words."""
        bounds = {"at most": self.most, "at least": self.least}
        return ", ".join(f"{k} {v:g}" for k, v in bounds.items() if v is not None)

    def holds(self, ratio: float) -> bool:
        """Returns whether a ratio is within the bounds."""
        below = self.most is None or ratio <= self.most
        return below and (self.least is None or ratio >= self.least)


def row(comparison: Comparison, times: dict) -> str:
    """Returns a line of the table.

    Args:
        comparison: What was measured.
        times: Its times by `rounds.measure`, by "base" and "other".
    """
    wall, used = rounds.ratio(times, "base", "other")
    milliseconds = 1000 * np.median(times["base"][:, 0])
    kept = ("yes" if comparison.holds(wall) else "no") if comparison.bound else ""
    return (
        f"| {comparison.title} | {milliseconds:.1f} | {wall:.3f} ({used:.3f}) | "
        f"{comparison.bound} | {kept} |"
    )


def print_table(comparisons: Iterable[Comparison], count: int, seconds: float):
    """Measures comparisons one after the other, and prints a line of each.

    Args:
        comparisons: What is compared.
        count: The number of rounds.
        seconds: Of each measurement, at least.
    """
    print("| what | unit, ms | ratio | bound | holds |")
    print("|---|---|---|---|---|")
    for comparison in comparisons:
        steps = {
            "base": rounds.local(comparison.base()),
            "other": rounds.local(comparison.other()),
        }
        times = rounds.measure(steps, count, seconds)
        print(row(comparison, times), flush=True)
