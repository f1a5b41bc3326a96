"""Which rows a leaderboard takes, and what it says of those that lack something."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

from training.metrics.table import METRICS, RANKING, SETS
from training.report.rows import COSTS
from zoo.publishing.results import ATTACK_SETTINGS, OPTIONAL

# What a row carries so that others can check it and compare theirs, by its field.
CARRIED = {
    "commit": "commit",
    "seed": "seed",
    "data": "data fingerprint",
    "num_examples": "number of images",
    "chosen_on": "set of the choices",
}
# The metrics of a leaderboard, in the order of its columns.
QUALITIES = ("nll", "accuracy", "ece", "mce", "aurc", "raulc", "coverage", "set_size")
QUALITIES += ("auroc",)
_NEEDED = ("model", "dataset", "num_samples", "metric", "value")
# Of what there is one value: of a setting of a model on a data set, by each metric.
SETTING = ("dataset", "num_samples", "seed", "precision", *ATTACK_SETTINGS)
_KEY = ("model", "metric", *SETTING)
_SHOWN = 160  # Letters of a row in a message.


def is_shown(metric: str) -> bool:
    """Returns whether a leaderboard has a metric of rows; mCEs it computes itself."""
    stem, slash, _ = metric.partition("/")
    has_more = stem in SETS or stem in RANKING or stem == "auroc"
    return stem in QUALITIES and stem != "mce" and (has_more or not slash)


def admit(rows: Iterable[Mapping], file: str) -> list[dict]:
    """Returns the rows of a file that a leaderboard shows, each with the `file`.

    Rows without a value, and those of other metrics, are left out.

    Args:
        rows: As `zoo-evaluate` writes them.
        file: Where they are from, for messages; a row may say so itself.

    Raises:
        ValueError: If there are none, or one lacks what no value means anything
            without, or has a value that its metric cannot have.
    """
    rows = [{"file": str(file), **row} for row in rows]
    if not rows:
        raise ValueError(
            f"There are no rows in '{file}'. A leaderboard takes those of "
            "`zoo-evaluate`, rows.jsonl, and predictions in .npz files."
        )
    for row in rows:
        _check(row)
    shown = [row for row in rows if is_shown(row["metric"])]
    if not shown:
        found = ", ".join(dict.fromkeys(row["metric"] for row in rows))
        raise ValueError(
            f"None of the rows in '{file}' is of a metric of a leaderboard, which are "
            f"{', '.join(QUALITIES)}. Received: {found}"
        )
    return [r for r in shown if r["value"] is not None and math.isfinite(r["value"])]


def _check(row):
    if missing := [field for field in _NEEDED if field not in row]:
        raise ValueError(
            f"A row of '{row['file']}' has no {missing[0]}; each has "
            f"{', '.join(_NEEDED)}. Received: {_text(row)}"
        )
    for field in ("model", "dataset", "metric"):
        if not isinstance(row[field], str) or not row[field]:
            _refuse(row, field, "must be a name")
    for field in ("commit", "data", "chosen_on", "card", "precision"):
        if not isinstance(row.get(field) or "", str):
            _refuse(row, field, "must be text")
    size = row["num_samples"]
    if not _is_integer(size) or size < 1:
        _refuse(row, "num_samples", "must be a positive integer, the number of passes")
    for field in ("seed", "num_examples"):
        if row.get(field) is not None and not _is_integer(row[field]):
            _refuse(row, field, "must be an integer")
    for field in COSTS:
        if row.get(field) is not None and not (
            _is_finite(row[field]) and row[field] > 0
        ):
            _refuse(row, field, "must be a number above 0")
    if not _is_finite(row.get("seconds") or 0):
        _refuse(row, "seconds", "must be a number")
    for field in OPTIONAL:
        if not isinstance(row.get(field), (str, int, float, type(None))):
            _refuse(row, field, "must be text or a number")
    value = row["value"]
    if value is not None and not _is_number(value):
        _refuse(row, "value", "must be a number, or null where there is none")
    metric = METRICS.get(row["metric"].partition("/")[0])
    is_share = metric is not None and metric.factor == 100
    if value is not None and is_share and abs(value) > 1:
        _refuse(row, "value", f"of `{row['metric']}` must be a share, not percent")


def _refuse(row, field, what):
    raise ValueError(
        f"`{field}` {what}. Received: {field}={row[field]!r} in '{row['file']}', "
        f"{_text(row)}"
    )


def _is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_finite(value):
    return _is_number(value) and math.isfinite(value)


def _text(row):
    shown = {field: row[field] for field in row if field != "file"}
    return f"row={shown}"[:_SHOWN]


def joined(parts: Iterable[Sequence[Mapping]]) -> list[dict]:
    """Returns the rows of several files, each value once.

    Args:
        parts: Rows of `admit`.

    Raises:
        ValueError: If two rows have different values of one thing, or values of
            different images would stand in one column.
    """
    found = {}
    for row in itertools.chain.from_iterable(parts):
        key = tuple(row.get(field) for field in _KEY)
        first = found.setdefault(key, row)
        if not math.isclose(first["value"], row["value"], rel_tol=1e-5, abs_tol=1e-9):
            raise ValueError(
                f"There are two values of `{row['metric']}` of '{row['model']}' on "
                f"'{row['dataset']}' at {row['num_samples']} passes: "
                f"{_of_images(first)} and {_of_images(row)}. Leave one out, or give "
                "the second model a name of its own."
            )
        if len(missing([row])) < len(missing([first])):
            found[key] = row
    rows = list(found.values())
    _check_data(rows)
    return rows


def _of_images(row):
    count = row.get("num_examples")
    images = f" of {count:,} images" if count else ""
    return f"{row['value']:.6g}{images} in '{row['file']}'"


def _check_data(rows):
    """Checks that all rows of a data set, as far as they say, are of one content."""
    known = {}
    for row in rows:
        if not row.get("data"):
            continue
        first = known.setdefault(row["dataset"], row)
        if first["data"] != row["data"]:
            one, other = (
                f"'{r['data']}' of '{r['model']}' in '{r['file']}'"
                for r in (first, row)
            )
            raise ValueError(
                f"A column of '{row['dataset']}' would mix different images or labels. "
                f"Received: the data fingerprints {one} and {other}. Evaluate both on "
                "the same images, with the same --limit and --selection, or on pages "
                "of their own."
            )


def missing(rows: Iterable[Mapping]) -> tuple[str, ...]:
    """Returns what some of the rows do not carry, in words; see `CARRIED`."""
    lacked = set()
    for row in rows:
        lacked |= {field for field in CARRIED if row.get(field) in (None, "")}
    return tuple(words for field, words in CARRIED.items() if field in lacked)


def is_chosen_on_test(row: Mapping) -> bool:
    """Returns whether choices were made on test images, by what a row says."""
    words = (row.get("chosen_on") or "").lower().replace(":", " ").replace(",", " ")
    return "test" in words.split()
