"""Progress of passes over examples: a bar on a terminal, lines in a log elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable

from absl import logging


class Progress:
    """How much is done, how much a second, and the time that remains.

    It is called with a count that is done, and whether that took work now; what lay
    there already does not make the speed look higher.

    Args:
        description: What is done.
        total: How much there is to do.
        show: Called with this object after each step.
    """

    def __init__(
        self, description: str, total: int, show: Callable[["Progress"], None]
    ):
        self.description, self.total, self.done = description, total, 0
        self._show, self._new, self._begin = show, 0, time.monotonic()

    @property
    def rate(self) -> float:
        """How much was done a second."""
        return self._new / max(time.monotonic() - self._begin, 1e-9)

    @property
    def seconds_left(self) -> float:
        """The time that remains, at this speed; infinite before the first step."""
        left = max(self.total - self.done, 0)
        return left / self.rate if self._new else float("inf")

    def __call__(self, count: int, is_new: bool = True):
        self.done += count
        self._new += count * is_new
        self._show(self)

    def expect(self, left: int):
        """Says how much is left to do."""
        self.total = self.done + left

    def describe(self, description: str):
        """Says what is done now."""
        self.description = description


@contextlib.contextmanager
def track(description: str, total: int, period: float = 30.0, unit: str = "images"):
    """Shows how much is done, how much a second, and the time that remains.

    On a terminal this is a bar, which goes away at the end, else a line in the log
    every `period` seconds.

    Args:
        description: What is done.
        total: How much there is to do.
        period: Seconds between lines.
        unit: What is counted.

    Yields:
        A `Progress`, to be called with how much was done since its last call.
    """
    if sys.stderr.isatty():
        with _bar(unit) as bar:
            task = bar.add_task(description, total=total, rate=0.0, left="-:--:--")
            yield Progress(description, total, lambda p: _update(bar, task, p))
    else:
        last = time.monotonic()

        def log(progress):
            nonlocal last
            now = time.monotonic()
            if now - last >= period and progress.done < progress.total:
                last = now
                logging.info(
                    f"%s: %d of %d {unit}, %.0f {unit}/s, %.0f s left",
                    progress.description,
                    progress.done,
                    progress.total,
                    progress.rate,
                    progress.seconds_left,
                )

        yield Progress(description, total, log)


def _update(bar, task, progress):
    left = progress.seconds_left
    minutes, seconds = divmod(int(min(left, 359_999)), 60)
    text = f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    bar.update(
        task,
        description=progress.description,
        completed=progress.done,
        total=progress.total,
        rate=progress.rate,
        left=text if left < float("inf") else "-:--:--",
    )


def _bar(unit):
    from rich import console, progress

    return progress.Progress(
        "{task.description}",
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        "{task.fields[rate]:.0f} " + f"{unit}/s",
        "{task.fields[left]}",
        console=console.Console(stderr=True),
        transient=True,
    )
