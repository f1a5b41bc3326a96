"""Measured results: rows of an evaluation as a table."""

import math
import statistics
from collections.abc import Iterable, Mapping

FIELDS = ("dataset", "num_samples", "metric", "value", "num_examples", "seed")


def check_rows(rows: Iterable[Mapping]) -> list[dict]:
    """Returns rows with the fields that a preset keeps.

    A metric that is not defined, such as a share of no examples, is left out.

    Args:
        rows: Rows of an evaluation, with `FIELDS` and maybe others.

    Raises:
        ValueError: If a row lacks a field.
    """
    kept = []
    for row in rows:
        missing = [field for field in FIELDS if field not in row]
        if missing:
            raise ValueError(
                f"A row of results has no {missing[0]}; each has "
                f"{', '.join(FIELDS)}. Received: row={dict(row)}"
            )
        if row["value"] is not None and math.isfinite(row["value"]):
            kept.append({field: row[field] for field in FIELDS})
    return kept


def table(rows: Iterable[Mapping]) -> list[list[str]]:
    """Returns a table of results: a heading, then a line for each number of passes.

    Where there are several values, of several seeds, a cell has their mean and standard
    deviation. A model that draws nothing has one line, as its passes agree.

    Args:
        rows: With `FIELDS`.

    Returns:
        Lists of equal length; the first columns are the data set and the passes.

    Example:

    >>> row = {"dataset": "d", "num_samples": 1, "num_examples": 9, "seed": 0}
    >>> table([{**row, "metric": "nll", "value": 0.25}])
    [['dataset', 'passes', 'nll'], ['d', '1', '0.2500']]
    """
    values, metrics = {}, {}
    for row in rows:
        key = row["dataset"], row["num_samples"]
        metrics[row["metric"]] = None
        cell = values.setdefault(key, {}).setdefault(row["metric"], [])
        cell.append(row["value"])
    lines = [["dataset", "passes", *metrics]]
    last = None
    for (dataset, num_samples), cells in values.items():
        if last == (dataset, cells):
            continue
        last = dataset, cells
        texts = [_cell(cells.get(metric, [])) for metric in metrics]
        lines.append([dataset, str(num_samples), *texts])
    return lines


def _cell(values) -> str:
    if not values:
        return "-"
    text = f"{statistics.fmean(values):.4f}"
    return f"{text} ± {statistics.stdev(values):.4f}" if len(values) > 1 else text
