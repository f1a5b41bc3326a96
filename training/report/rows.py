"""Rows as files of JSON lines."""

import json
import math
import os
import pathlib
from collections.abc import Iterable, Mapping

from zoo.storage import files

# What is known of a model, in all of its rows; its costs are numbers.
COSTS = ("bytes", "latency_ms", "multiply_adds")
FACTS = ("commit", "chosen_on", "card", *COSTS)
_SHORT = 6  # Letters of a fingerprint that tell a few data sets apart.


def write_rows(rows: Iterable[Mapping], path: str | os.PathLike):
    """Writes rows as JSON lines; the file appears whole or not at all.

    JSON has no NaN, so a metric without a value is `null`.

    Args:
        rows: Rows of `training.evaluation.evaluate.evaluate`.
        path: Path of the file.
    """
    lines = []
    for row in rows:
        value = None if math.isnan(row["value"]) else row["value"]
        lines.append(json.dumps({**row, "value": value}, allow_nan=False) + "\n")
    write_text("".join(lines), path)


def read_rows(path: str | os.PathLike) -> list[dict]:
    """Returns the rows of a file of JSON lines, with NaN for `null`.

    Raises:
        ValueError: If it is another file; the line is named.
    """
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"'{path}' is no file of rows, which are text: {error}"
        ) from error
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            empty = row["value"] is None
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"Line {number} of '{path}' is not a row of an evaluation, a JSON "
                f"object with a value. Received: {line[:80]}"
            ) from error
        rows.append({**row, "value": math.nan} if empty else row)
    return rows


def with_distinct_names(rows: Iterable[Mapping]) -> list[Mapping]:
    """Returns rows in which different data sets of one name have different names.

    Values of several trainings are averaged, those of several test sets never. What
    `data` rows have says which are; rows without are taken to be of the same.

    Args:
        rows: Rows of `training.evaluation.evaluate.evaluate`.
    """
    rows, found = list(rows), {}
    for row in rows:
        if row.get("data"):
            found.setdefault(row["dataset"], {}).setdefault(row["data"])
    several = {name for name, contents in found.items() if len(contents) > 1}
    return [
        {**row, "dataset": f"{row['dataset']} [{row['data'][:_SHORT]}]"}
        if row["dataset"] in several and row.get("data")
        else row
        for row in rows
    ]


def write_text(text: str, path: str | os.PathLike):
    """Writes a text file; it appears whole or not at all."""
    with files.replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
