"""Several trainings of one model: the ends of their tags tell them apart."""

import json
import math
import re
from collections.abc import Iterable, Mapping

from zoo import results
from zoo.registry import parse

_SEED = re.compile(r"(.+\..+)_seed(\d+)")


def split(name: str) -> tuple[str, int]:
    """Takes the seed of a training off the name of its weights.

    Args:
        name: With its tag. The training with seed 0 has none in its tag.

    Returns:
        The name that all trainings of the model share, and the seed.

    Example:

    >>> split("resnet20.fashion_mnist_seed2")
    ('resnet20.fashion_mnist', 2)
    >>> split("resnet20.fashion_mnist")
    ('resnet20.fashion_mnist', 0)
    """
    match = _SEED.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, 0)


def join(name: str, seed: int | None) -> str:
    """Returns the name of the weights of a training, as `split` takes it apart."""
    return f"{name}_seed{seed}" if seed else name


def choose(rows: Iterable[Mapping], name: str) -> dict[str, tuple[dict, ...]]:
    """Returns the results for a preset: of this training, and of others.

    Args:
        rows: Of evaluations.
        name: Of the weights. Rows of the name without a tag are theirs, too.

    Returns:
        The fields `results` and `others` of the preset.

    Raises:
        ValueError: If there are rows but none of these weights, or two values of one
            thing.
    """
    rows, own, others = list(rows), [], []
    for row in rows:
        model = row.get("model", name)
        if _is_own(model, name):
            own.append(row)
        elif _is_other(model, name):
            others.append(row)
    if rows and not own:
        found = sorted({row["model"] for row in rows})
        raise ValueError(
            f"None of the results is of '{name}'; they are of {', '.join(found)}."
        )
    _check_values(own, name)
    chosen = []
    for model in dict.fromkeys(row["model"] for row in others):
        rows = [row for row in others if row["model"] == model]
        _check_values(rows, model)
        rows = results.select(results.check_rows(rows))
        chosen += [{"model": model, **row} for row in rows]
    own = results.select(results.check_rows(own))
    return {"results": tuple(own), "others": tuple(chosen)}


def _is_own(model, name):
    return model in (name, parse(name).stem)


def _is_other(model, name):
    """Returns whether a name is that of a training with another seed."""
    return model != name and split(model)[0] == split(name)[0]


def _check_values(rows, name):
    values = {}
    for row in results.check_rows(rows):
        key = tuple(row[k] for k in results.FIELDS if k != "value")
        if values.setdefault(key, row["value"]) != row["value"]:
            raise ValueError(
                f"There are two values of `{row['metric']}` of '{name}' on "
                f"'{row['dataset']}', {values[key]} and {row['value']}. Evaluate the "
                "trainings with other seeds under names of their own, such as "
                f"'{join(split(name)[0], 1)}'."
            )


def lines(rows: Iterable[Mapping], name: str) -> str:
    """Returns all rows of a model and of its other trainings as JSON lines.

    Args:
        rows: See `choose`, as for `name`.
        name: See above.
    """
    text = []
    for row in rows:
        model, value = row.get("model", name), row["value"]
        if _is_own(model, name) or _is_other(model, name):
            names = {"model": name if _is_own(model, name) else model}
            defined = value is not None and math.isfinite(value)
            whole = {**row, **names, "value": value if defined else None}
            text.append(json.dumps(whole) + "\n")
    return "".join(text)
