"""What comes out of an evaluation, and how a terminal shows it."""

import dataclasses
import math
import pathlib
import re
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence

from training import report
from training.metrics import METRICS, display
from training.metrics.table import MAIN, SETS
from training.report import html_tables
from training.report.result_set import Results
from zoo import dataset_name


def by_severity(rows: Iterable[Mapping]) -> list[list[str]]:
    """Returns a table of medians over corruptions, by data set, severity and model.

    Args:
        rows: Rows of an evaluation. The largest ensemble of each model is taken.

    Returns:
        A heading and lines of the clean data set, the model, passes, severity (0 is the
        clean set) and the medians of accuracy, NLL, Brier score and ECE over the
        corruptions, in the units of the heading. The column of data sets is left out if
        there is only one.
    """
    groups = {}
    for row in rows:
        name = dataset_name.parse(row["dataset"])
        if row["metric"] in MAIN and name.kind in ("clean", "corruption"):
            line = str(name.clean), row["model"], row["num_samples"], int(name.amount)
            values = groups.setdefault(line, {})
            values.setdefault(row["metric"], []).append(row["value"])
    sizes = {}
    for base, model, size, severity in groups:
        if severity:
            sizes[base, model] = max(size, sizes.get((base, model), 0))
    kept = [line for line in groups if line[2] == sizes.get(line[:2])]
    bases = list(dict.fromkeys(base for base, *_ in kept))
    several = len(bases) > 1
    main = [name for name in MAIN if any(name in groups[line] for line in kept)]
    headings = map(display.heading, main)
    lines = [["Dataset"] * several + ["Model", "N", "Severity", *headings]]
    for line in sorted(kept, key=lambda line: (bases.index(line[0]), line[3])):
        values = groups[line]
        medians = [
            display.number(m, statistics.median(values.get(m, [math.nan])))
            for m in main
        ]
        base, *numbers = line
        lines.append([base] * several + [*map(str, numbers), *medians])
    return lines


def by_decision(rows: Iterable[Mapping]) -> list[list[str]]:
    """Returns a table of what decisions are worth, on clean and on corrupted sets.

    Args:
        rows: Rows of an evaluation.

    Returns:
        A heading and lines of the clean data set, the model, passes, severity (0 is the
        clean set), the decision and the medians of its metrics over the corruptions;
        nothing without decisions. The column of data sets is left out if there is only
        one.
    """
    groups = {}
    for row in rows:
        name = dataset_name.parse(row["dataset"])
        metric, _, decision = row["metric"].partition("/")
        if decision and metric in SETS and name.kind in ("clean", "corruption"):
            line = str(name.clean), row["model"], row["num_samples"], decision
            values = groups.setdefault((*line, int(name.amount)), {})
            values.setdefault(metric, []).append(row["value"])
    if not groups:
        return []
    several = len({base for base, *_ in groups}) > 1
    words = ["Dataset"] * several + ["Model", "N", "Decision", "Severity"]
    lines = [[*words, *map(display.heading, SETS)]]
    for (base, *numbers), values in sorted(groups.items()):
        medians = [_median(metric, values[metric]) for metric in SETS]
        lines.append([base] * several + [*map(str, numbers), *medians])
    return lines


def by_score(rows: Iterable[Mapping]) -> list[list]:
    """Returns tables of what the models are worth by the scores that they rank by.

    Args:
        rows: Rows of an evaluation.

    Returns:
        For each group of columns of `training.report.html_tables.ranked`, such as the
        clean images, its name, and a heading and lines of the model, its score and the
        values; groups of a single column are one table, by its heading. Nothing if no
        model was evaluated by its own score.
    """
    grid = html_tables.ranked(Results(rows))
    if grid is None:
        return []
    tables, first = {}, 0
    for about, width in grid.groups:
        title, names = about, grid.heading[first : first + width]
        if width == 1:
            title, names = names[0], [about]
        if about:
            heading, *lines = tables.setdefault(title, [[] for _ in (0, *grid.lines)])
            heading += names
            for kept, line in zip(lines, grid.lines, strict=True):
                kept += [field.text for field in line[first : first + width]]
        first += width
    words = [grid.heading, *([field.text for field in line] for line in grid.lines)]
    return [
        [
            title,
            *([*w[: grid.words], *kept] for w, kept in zip(words, lines, strict=True)),
        ]
        for title, lines in tables.items()
    ]


def _median(metric, values):
    values = [value for value in values if not math.isnan(value)]
    return display.number(metric, statistics.median(values) if values else math.nan)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The results of an evaluation, and the files that it wrote.

    Attributes:
        rows: Rows of all models and data sets.
        files: Paths or URLs of the files that were written.
        missing: Data sets that a suite left out.
        deviations: Deviations from the model cards, one line each.
        warnings: What makes results doubtful, one line each.
    """

    rows: list[dict]
    files: Sequence[pathlib.Path | str]
    missing: Sequence[str] = ()
    deviations: Sequence[str] = ()
    warnings: Sequence[str] = ()

    def show(self):
        """Prints the main numbers, what was left out, and where the files lie."""
        from rich import console

        terminal = console.Console()
        rows, others = main_rows(self.rows)
        terminal.print(report.rich_table(rows))
        if others:
            print(f"The values on {others} shifted sets are in the files.\n")
        heading, *lines = by_severity(self.rows)
        if lines:
            terminal.print(_table("Medians over the corruptions", heading, lines))
        for title, *lines in by_score(self.rows):
            terminal.print(_table(title, *lines[:1], lines[1:]))
        if decided := by_decision(self.rows):
            terminal.print(_table("Decisions", *decided[:1], decided[1:]))
        for text in self.missing:
            print(f"Left out: {text}{'' if text.endswith(('.', '?')) else '.'}")
        for text in self.warnings:
            print(f"Warning: {text}")
        for text in self.deviations:
            print(text, file=sys.stderr)
        print(*self.files)


def main_rows(rows: Sequence[dict]) -> tuple[list[dict], int]:
    """Returns the rows that a terminal has room for.

    Args:
        rows: Rows of an evaluation.

    Returns:
        Those of the main metrics, and of clean data alone if there are many others; and
        the number of data sets that were left out.
    """
    found = {row["dataset"] for row in rows}
    shifted = {name for name in found if dataset_name.parse(name).is_shifted}
    clean = found - shifted
    shown = clean if len(shifted) > _FEW and clean else clean | shifted
    names = [name for name, metric in METRICS.items() if metric.card == name]
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
        words = text.replace(" ", "\n")
        result.add_column(words, overflow="fold", justify="right" if number else "left")
    for line in lines:
        result.add_row(*map(_broken, line))
    return result


def _broken(text):
    """Returns a name with what is behind it, if that is long, on lines of their own."""
    return _BEHIND.sub("\n", text) if len(text) > _LONG else text


_BEHIND = re.compile(r"(?=@|:\w+=)")  # A posterior, and each of its settings.
_LONG = 24


# Metrics of detection and of all corruptions together.
_SUMS = ("auroc/", "mean_", "mce/", "relative_mce/", "mcnll/", "mcece/")
_FEW = 4  # Shifted data sets that are shown one by one.
