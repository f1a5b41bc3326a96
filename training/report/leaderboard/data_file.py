"""The data of a leaderboard as a file: JSON that `zoo-leaderboard` writes and reads.

    {"leaderboard": 1, "models": [
    {"model": "resnet20.cifar10", "commit": "...", "results": [
    {"dataset": "cifar10", "num_samples": 1, ..., "values": {"nll": 0.28777, ...}},
    ...]}, ...]}

What all rows of a model carry alike stands beside its name. Values have nine digits.
"""

import json
import os
import pathlib
from collections.abc import Iterable, Mapping

from training.report.leaderboard import admission
from training.report.rows import FACTS, write_text
from zoo.publishing.results import OPTIONAL

FILE = "leaderboard.json"
_EDITION = 1
_CARRIED = tuple(
    dict.fromkeys(
        (*admission.SETTING, "num_examples", "data", *FACTS, "seconds", *OPTIONAL)
    )
)


def text(rows: Iterable[Mapping]) -> str:
    """Returns rows as the text of such a file, with a line for each set and size."""
    models = {}
    for row in rows:
        facts = tuple((f, row[f]) for f in _CARRIED if row.get(f) not in (None, ""))
        values = models.setdefault(row["model"], {}).setdefault(facts, {})
        values[row["metric"]] = float(f"{row['value']:.9g}")
    parts = []
    for model, results in models.items():
        first, *others = (dict(facts) for facts in results)
        same = {
            field: value
            for field, value in first.items()
            if field not in ("dataset", "num_samples")
            and all(other.get(field) == value for other in others)
        }
        lines = [
            _line({**{f: v for f, v in facts if f not in same}, "values": values})
            for facts, values in results.items()
        ]
        head = _line({"model": model, **same, "results": []})
        parts.append(f"{head.removesuffix(']}')}\n{_joined(lines)}]}}")
    return f'{{"leaderboard": {_EDITION}, "models": [\n{_joined(parts)}]}}\n'


def _line(entry):
    return json.dumps(entry, ensure_ascii=False, allow_nan=False)


def _joined(lines):
    return ",\n".join(lines)


def write(rows: Iterable[Mapping], path: str | os.PathLike):
    """Writes rows to such a file, which appears whole or not at all."""
    write_text(text(rows), path)


def read(path: str | os.PathLike) -> list[dict]:
    """Returns the rows of such a file.

    Raises:
        ValueError: If it is another file.
    """
    try:
        content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        edition, models = content["leaderboard"], content["models"]
        rows = [
            {**_shared(entry), **_shared(result), "metric": metric, "value": value}
            for entry in models
            for result in entry["results"]
            for metric, value in result["values"].items()
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"'{path}' is not the data of a leaderboard, as `zoo-leaderboard` writes "
            f"it: {type(error).__name__} {error}"
        ) from error
    if edition != _EDITION:
        raise ValueError(
            f"'{path}' was written by another version of smoothzoo. Received: "
            f"leaderboard={edition}, known: {_EDITION}"
        )
    return rows


def _shared(entry):
    return {f: v for f, v in entry.items() if f not in ("results", "values")}
