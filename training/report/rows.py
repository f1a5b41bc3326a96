"""Rows as files of JSON lines."""

import json
import math
import os
import pathlib
from collections.abc import Iterable, Mapping

from zoo import files


def write_rows(rows: Iterable[Mapping], path: str | os.PathLike):
    """Writes rows as JSON lines; the file appears whole or not at all.

    JSON has no NaN, so a metric without a value is `null`.

    Args:
        rows: As `training.evaluate.evaluate` returns them.
        path: Of the file.
    """
    lines = []
    for row in rows:
        value = None if math.isnan(row["value"]) else row["value"]
        lines.append(json.dumps({**row, "value": value}, allow_nan=False) + "\n")
    write_text("".join(lines), path)


def read_rows(path: str | os.PathLike) -> list[dict]:
    """Returns the rows of a file of JSON lines, with NaN for `null`."""
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
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


def write_text(text: str, path: str | os.PathLike):
    """Writes a text file; it appears whole or not at all."""
    with files.replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
