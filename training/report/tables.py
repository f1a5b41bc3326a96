"""Rows as tables: Markdown, and for the terminal."""

import os
from collections.abc import Iterable, Mapping

from training.metrics import display
from training.report import html_tables
from training.report.result_set import Results
from training.report.rows import with_distinct_names, write_text


def write_table(rows: Iterable[Mapping], path: str | os.PathLike):
    """Writes rows as a Markdown table; the file appears whole or not at all.

    What is measured for each class is in a table of its own.
    """
    rows = list(rows)
    text, classes = markdown(rows), by_class(rows)
    write_text(f"{text}\n{_markdown(classes)}" if classes else text, path)


def by_class(rows: Iterable[Mapping]) -> list[list[str]]:
    """Returns a heading and a line for each data set, model and class.

    Args:
        rows: Rows of `training.evaluation.evaluate.evaluate`.

    Returns:
        Lines of equal length; nothing if no row is of a class.
    """
    grid = html_tables.by_class(Results(rows))
    if grid is None:
        return []
    return [grid.heading, *([field.text for field in line] for line in grid.lines)]


def summary(rows: Iterable[Mapping]) -> list[list[str]]:
    """Returns a heading and a line for each model, with its own score.

    Args:
        rows: Rows of `training.evaluation.evaluate.evaluate`.

    Returns:
        Lists of equal length, as `training.report.html_tables.ranked` has them; nothing
        if no model was evaluated by its own score.
    """
    grid = html_tables.ranked(Results(rows))
    if grid is None:
        return []
    abouts = [about for about, width in grid.groups for _ in range(width)]
    pairs = zip(abouts, grid.heading, strict=True)
    heading = [f"{about}: {name}" if about else name for about, name in pairs]
    return [heading, *([field.text for field in line] for line in grid.lines)]


def write_summary(rows: Iterable[Mapping], path: str | os.PathLike):
    """Writes `summary` as a Markdown table; the file appears whole or not at all."""
    write_text(_markdown(summary(rows)), path)


def table(rows: Iterable[Mapping]) -> list[list[str]]:
    """Returns a heading and a line for each data set, model and ensemble size.

    Where there are values of several seeds, a cell has their mean and standard
    deviation. The column of data sets is left out if there is only one. What does not
    depend on the ensemble size, as with a network that does not draw, is in one line,
    of the smallest one.

    Args:
        rows: Rows of `training.evaluation.evaluate.evaluate`.

    Returns:
        Lists of equal length.

    Example:

    >>> row = {"model": "m", "dataset": "d", "num_samples": 2, "metric": "accuracy"}
    >>> table([{**row, "value": 0.9325}])
    [['Model', 'N', 'Accuracy (%)'], ['m', '2', '93.25']]
    """
    rows = with_distinct_names(rows)
    metrics = dict.fromkeys(row["metric"] for row in rows)
    metrics = [metric for metric in metrics if not display.of_class(metric)]
    several = len({row["dataset"] for row in rows}) > 1
    heading = ["Dataset"] * several + ["Model", "N", *map(display.heading, metrics)]
    lines = [heading]
    for (dataset, model, size), values in _varied(by_line(rows)).items():
        cells = [display.cell(metric, values.get(metric, [])) for metric in metrics]
        lines.append([dataset] * several + [model, str(size), *cells])
    return lines


def _varied(lines):
    """Leaves out what a model repeats at each ensemble size."""
    sizes = {}
    for dataset, model, size in lines:
        sizes.setdefault((dataset, model), []).append(size)
    left_out = set()
    for key, found in sizes.items():
        # As texts, since what is not defined is not equal to itself.
        first, *others = (str(lines[*key, size]) for size in sorted(found))
        if all(other == first for other in others):
            left_out |= {(*key, size) for size in sorted(found)[1:]}
    return {key: values for key, values in lines.items() if key not in left_out}


def markdown(rows: Iterable[Mapping]) -> str:
    """Returns rows as a Markdown table, one line per model and ensemble size."""
    return _markdown(table(rows))


def _markdown(lines):
    heading, *lines = lines
    words = heading.index("N")
    rule = ["---"] * words + ["---:"] * (len(heading) - words)
    return "".join(f"| {' | '.join(line)} |\n" for line in (heading, rule, *lines))


def rich_table(rows: Iterable[Mapping]):
    """Returns rows for the terminal, to be printed by `rich`.

    Each model and data set has a table of its own, which fits into 80 columns; long
    names would not leave room for numbers beside them. More than six metrics go on
    below.

    Args:
        rows: Rows of `training.evaluation.evaluate.evaluate`.
    """
    from rich import box, console, text
    from rich import table as rich_tables

    groups = {}
    for row in with_distinct_names(rows):
        name = f"{row['model']} on {row['dataset']}"
        groups.setdefault(name, []).append(row)
    tables = []
    for name, members in groups.items():
        (_, size, *heading), *lines = table(members)
        tables.append(text.Text(name, style="italic", no_wrap=True))
        for first in range(0, len(heading), _WIDTH):
            result = rich_tables.Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
            for title in (size, *heading[first : first + _WIDTH]):
                words = title.replace(" ", "\n").replace("_", "\n")
                result.add_column(words, justify="right", no_wrap=True)
            for _, number, *line in lines:
                result.add_row(number, *line[first : first + _WIDTH])
            tables.append(result)
    return console.Group(*tables)


def by_line(rows: Iterable[Mapping]) -> dict:
    """Returns the values by (data set, model, size), then by metric: a list."""
    lines = {}
    for row in rows:
        line = lines.setdefault((row["dataset"], row["model"], row["num_samples"]), {})
        line.setdefault(row["metric"], []).append(row["value"])
    return lines


# Columns of values that 80 letters have room for.
_WIDTH = 6
