"""Checkpoints: everything that a training needs to go on as if never interrupted."""

import dataclasses
import json
import pathlib

import keras
import numpy as np
import safetensors
import safetensors.numpy

from training.differences import differences
from training.distribution import workers
from zoo.storage import files, remote


@dataclasses.dataclass(frozen=True)
class Position:
    """How far a training is.

    Attributes:
        epoch: Number of the epoch, from 0.
        step: Batches of that epoch that are done.
        seconds: Time spent on training so far.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0


def _variables(model) -> dict:
    """All state by name: weights, random counters, optimizer and metrics."""
    groups = {
        "model": model.variables,  # With those of its objective.
        "optimizer": model.optimizer.variables,
        "metrics": model.metrics_variables,
    }
    return {
        f"{group}/{i}/{variable.path}": variable
        for group, variables in groups.items()
        for i, variable in enumerate(variables)
    }


def save(model: keras.Model, path: pathlib.Path, position: Position, settings: dict):
    """Writes a checkpoint; it appears whole or not at all.

    Of several workers all call it, and the chief writes.

    Args:
        model: A compiled model.
        path: The file.
        position: How far the training is.
        settings: What must be the same when it goes on.

    Raises:
        FloatingPointError: If a variable is not finite; nothing is written then.
    """
    arrays = {
        name: keras.ops.convert_to_numpy(variable)
        for name, variable in _variables(model).items()
    }
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise FloatingPointError(
                f"The variable '{name}' is not finite. {advice(path)}"
            )
    if not workers.is_chief():
        return
    metadata = {
        "position": json.dumps(dataclasses.asdict(position)),
        "settings": json.dumps(settings),
    }
    arrays = {
        name: np.require(array, requirements="C") for name, array in arrays.items()
    }
    with files.replacing(path) as temporary:
        safetensors.numpy.save_file(arrays, temporary, metadata)


def advice(path: pathlib.Path) -> str:
    """Returns what to do where something is not finite, and where it was last.

    Args:
        path: The file of the checkpoint, which may not be there.
    """
    there = "There is no checkpoint yet."
    if path.exists():
        there = f"The last good checkpoint is '{remote.shown(path)}'."
    return f"{there} Try a lower learning rate, or `--set=clip_norm=1`."


def check(path: pathlib.Path, settings: dict, defaults: dict):
    """Checks that a checkpoint is of the training that goes on.

    Args:
        path: The file.
        settings: Must equal those of the checkpoint.
        defaults: What settings of the recipe were that the checkpoint does not have,
            since they are newer.

    Raises:
        ValueError: If the file is damaged, or of another training: it says in what.
    """
    metadata, _ = _read(path, ())
    old = json.loads(metadata["settings"])
    if odd := differences({**old, "recipe": {**defaults, **old["recipe"]}}, settings):
        raise ValueError(
            f"The checkpoint '{remote.shown(path)}' is of another training: {odd}. Use "
            "another workdir, or the same settings and data."
        )


def _read(path, names=None):
    """Returns the metadata of a file and its arrays, all or those of some names."""
    try:
        with safetensors.safe_open(path, "numpy") as file:
            names = file.keys() if names is None else names
            return file.metadata(), {name: file.get_tensor(name) for name in names}
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(
            f"Cannot read the checkpoint '{remote.shown(path)}': {error}. Delete it to "
            "start anew."
        ) from error


def restore(model: keras.Model, path: pathlib.Path) -> Position:
    """Reads a checkpoint into a compiled model.

    Args:
        model: A compiled model like the saved one.
        path: The file; see `check`.

    Returns:
        How far the training was.

    Raises:
        ValueError: If the file is damaged or of another model.
    """
    metadata, arrays = _read(path)
    variables = _variables(model)
    if variables.keys() != arrays.keys():
        odd = sorted(variables.keys() ^ arrays.keys())[0]
        raise ValueError(
            f"The checkpoint '{remote.shown(path)}' does not fit the model: '{odd}' is "
            "in only one of the two."
        )
    for name, variable in variables.items():
        variable.assign(np.reshape(arrays[name], variable.shape))
    return Position(**json.loads(metadata["position"]))
