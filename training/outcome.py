"""What comes out of an evaluation, and how a terminal shows it."""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence

from training import report, suites
from training.metrics import CLASSIFICATION


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came out.

    Attributes:
        rows: Of all models and data sets.
        files: That were written.
        missing: What a suite left out.
        deviations: From the model cards, one line each.
    """

    rows: list[dict]
    files: Sequence[pathlib.Path]
    missing: Sequence[str] = ()
    deviations: Sequence[str] = ()

    def show(self):
        """Prints the main numbers, what was left out, and where the files lie."""
        from rich import console

        terminal = console.Console()
        rows, others = main_rows(self.rows)
        terminal.print(report.rich_table(rows))
        if others:
            print(f"The values on {others} shifted sets are in the files.\n")
        heading, *lines = suites.by_severity(self.rows)
        if lines:
            terminal.print(_table("Medians over the corruptions", heading, lines))
        for text in self.missing:
            print(f"Left out: {text}.")
        for text in self.deviations:
            print(text, file=sys.stderr)
        print(*self.files)


def main_rows(rows: Sequence[dict]) -> tuple[list[dict], int]:
    """Returns the rows that a terminal has room for.

    Args:
        rows: Of an evaluation.

    Returns:
        Those of the main metrics, and of clean data alone if there are many others; and
        the number of data sets that were left out.
    """
    clean = {row["dataset"] for row in rows if "/" not in row["dataset"]}
    shifted = {row["dataset"] for row in rows} - clean
    shown = clean if len(shifted) > _FEW and clean else clean | shifted
    names = (*CLASSIFICATION,)[:8]
    main = [
        row
        for row in rows
        if row["dataset"] in shown
        and (row["metric"] in names or row["metric"].startswith(_SUMS))
    ]
    return main, len(shifted - shown)


def _table(title, heading, lines):
    from rich import box, table

    result = table.Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for number, text in enumerate(heading):
        result.add_column(text, overflow="fold", justify="right" if number else "left")
    for line in lines:
        result.add_row(*line)
    return result


# Metrics of detection and of all corruptions together.
_SUMS = ("auroc/", "mean_", "mce/", "relative_mce/", "mcnll/", "mcece/")
_FEW = 4  # Shifted data sets that are shown one by one.
