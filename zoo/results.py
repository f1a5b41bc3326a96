"""Measured results: what a card keeps of an evaluation, and its table."""

import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence

FIELDS = ("dataset", "num_samples", "metric", "value", "num_examples", "seed")
_OPTIONAL = ("selection",)  # Which images of a set were taken, if not all or the first.
# What a card has of each data set; all the others stay in its `results.jsonl`.
HEADLINES = ("accuracy", "nll", "brier", "ece")
HEADLINES += ("acc_90", "unc_90", "freq_90", "entropy", "auroc/entropy")
_RELATIVE = "mce/"  # And this one, whose name goes on with that of a reference.
# Of sets that are made of another one, only their mean is kept, and of these metrics.
MEANS = ("accuracy", "nll", "ece", "consistency", "flip_rate")
_MADE = re.compile(r"(.+)_(c|rotation|translation|p)/([^*]+?)((?:_size/\d+)?)")
_PARTED = "c"  # The kind of which there are means over severities, too.


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
            some = {field: row[field] for field in _OPTIONAL if row.get(field)}
            kept.append({field: row[field] for field in FIELDS} | some)
    return kept


def select(rows: Iterable[Mapping]) -> list[dict]:
    """Returns what a card has room for.

    These are the rows of `HEADLINES`, but of corrupted, rotated, translated and
    perturbed sets only the `means`. A selection is selected as it is.

    Args:
        rows: Of one model, with `FIELDS`.
    """
    rows = list(rows)
    kept = [
        dict(row)
        for row in rows
        if (row["metric"] in HEADLINES or row["metric"].startswith(_RELATIVE))
        and not _MADE.fullmatch(row["dataset"])
    ]
    return kept + means(rows)


def means(rows: Iterable[Mapping]) -> list[dict]:
    """Returns means over the sets that are made of another one.

    Args:
        rows: Of one model, with `FIELDS`.

    Returns:
        Rows whose `dataset` says over which sets and how many, `"d_c/*/* (95 sets)"`,
        and whose `num_examples` is the sum over them; for the largest number of passes
        also one for each corruption, `"d_c/fog/* (5 sets)"`.
    """
    made = [(_MADE.fullmatch(row["dataset"]), row) for row in rows]
    made = [(match, row) for match, row in made if match and row["metric"] in MEANS]
    largest = max((row["num_samples"] for _, row in made), default=0)
    groups = {}
    for match, row in made:
        for pattern in _patterns(*match.groups(), row["num_samples"] == largest):
            key = pattern, row["num_samples"], row["metric"], row["seed"]
            key += (row.get("selection", ""),)
            groups.setdefault(key, []).append(row)
    # Over all sets first, then over severities.
    ordered = sorted(groups.items(), key=lambda item: -item[0][0].count("*"))
    return [_mean(*key, members) for key, members in ordered]


def _patterns(base, kind, rest, end, parted) -> list[str]:
    parts = rest.split("/")
    patterns = ["/".join("*" * len(parts))]
    if parted and kind == _PARTED and len(parts) > 1:
        patterns.append(f"{parts[0]}/*")
    return [f"{base}_{kind}/{pattern}{end}" for pattern in patterns]


def _mean(pattern, num_samples, metric, seed, selection, rows) -> dict:
    count = len({row["dataset"] for row in rows})
    values = (
        f"{pattern} ({count} set{'s' if count > 1 else ''})",
        num_samples,
        metric,
        statistics.fmean(row["value"] for row in rows),
        sum(row["num_examples"] for row in rows),
        seed,
    )
    some = {"selection": selection} if selection else {}
    return dict(zip(FIELDS, values, strict=True)) | some


def num_sets(row: Mapping) -> int:
    """Returns over how many sets a row is a mean; 1 for that of a single set."""
    match = re.search(r" \((\d+) sets?\)$", row["dataset"])
    return int(match[1]) if match else 1


def is_mean(row: Mapping) -> bool:
    """Returns whether a row is one of `means`."""
    return "*" in row["dataset"]


def is_part(row: Mapping) -> bool:
    """Returns whether a row is a mean over a part of the sets in another one."""
    return (
        is_mean(row)
        and "*/*" not in row["dataset"]
        and f"_{_PARTED}/" in row["dataset"]
    )


def table(rows: Iterable[Mapping]) -> list[list[str]]:
    """Returns a table of results: a heading, then a line for each number of passes.

    Where there are several values, of several trainings, a cell has their mean,
    standard deviation and number. A model that draws nothing has one line, as its
    passes agree.

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
        texts = [spread(cells.get(metric, [])) for metric in metrics]
        lines.append([dataset, str(num_samples), *texts])
    return lines


def spread(values: Sequence[float], factor: float = 1, digits: int = 4) -> str:
    """Returns the mean of values, and if there are several their deviation and number.

    Args:
        values: Of several trainings; of none, it is a dash.
        factor: Of the values in the text.
        digits: Behind the point.

    Example:

    >>> spread([0.25, 0.75], 100, 1)
    '50.0 ± 35.4 (2)'
    """
    if not values:
        return "-"
    text = f"{factor * statistics.fmean(values):.{digits}f}"
    if len(values) == 1:
        return text
    deviation = factor * statistics.stdev(values)
    return f"{text} ± {deviation:.{digits}f} ({len(values)})"
