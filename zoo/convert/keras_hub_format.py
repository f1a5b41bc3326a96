"""Weights of keras_hub: from a preset's name, its folder, a weights file or a model."""

import json
import os
import pathlib

import keras
import numpy as np
from keras import ops

from layers import keras_internals
from zoo.convert.name_tables import KERAS_HUB
from zoo.storage import download, files

PREFIX = "keras_hub:"
SUFFIX = ".weights.h5"
# Of a preset: its backbone, the classifier on it, and what happens to the pixels.
BACKBONE, TASK = f"model{SUFFIX}", f"task{SUFFIX}"
CONVERTER_FILE, TASK_FILE = "image_converter.json", "task.json"
# Names of the variables of a layer, by their number.
_VARIABLES = {
    1: ("kernel",),
    2: ("kernel", "bias"),
    4: ("gamma", "beta", "moving_mean", "moving_variance"),
}


def is_preset(path: pathlib.Path) -> bool:
    """Returns whether a file or folder is one that keras_hub wrote."""
    return path.name.endswith(SUFFIX) or (path / BACKBONE).is_file()


def load_preset(name: str | os.PathLike) -> keras.Model:
    """Loads a classifier of keras_hub by name, which needs a network, or from a folder.

    Raises:
        ImportError: If keras_hub is not installed.
        ConnectionError: If the preset cannot be had.
    """
    try:
        import keras_hub
    except ImportError as error:
        raise ImportError(
            f"'{name}' is a preset of keras_hub, which loads it: pip install keras-hub."
        ) from error
    if download.is_offline() and not pathlib.Path(name).is_dir():
        raise ConnectionError(f"Cannot get '{name}' (ZOO_OFFLINE is set). {_by_hand()}")
    try:
        return keras_hub.models.ImageClassifier.from_preset(str(name))
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ConnectionError(
            f"Cannot get the preset '{name}' of keras_hub ({reason}). {_by_hand()}"
        ) from error


def _by_hand() -> str:
    return (
        "Without a network: save it on another machine with "
        "`keras_hub.models.ImageClassifier.from_preset(...).save_to_preset(folder)` "
        "and give that folder as the source."
    )


def read_model(model: keras.Model) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Returns the weights and the metadata of a classifier of keras_hub.

    Args:
        model: A `keras_hub.models.ImageClassifier`, with its preprocessor if the pixels
            are not those of ImageNet.

    Returns:
        Arrays by `layer/variable`, and what is known of them as `Source.config` has it.
    """
    state = {}
    for layer in keras_internals.flat_layers(model, include_self=False):
        if layer.weights and not keras_internals.flat_layers(layer, False):
            for variable in layer.weights:
                state[f"{layer.name}/{variable.name}"] = ops.convert_to_numpy(variable)
    converter = getattr(getattr(model, "preprocessor", None), "image_converter", None)
    settings = converter.get_config() if converter is not None else {}
    _check(state, {"pooling": getattr(model, "pooling", "avg")})
    return state, _metadata(settings)


def read_folder(
    path: pathlib.Path,
) -> tuple[dict[str, np.ndarray], dict[str, object], str]:
    """Returns the same of a preset's folder, or of a file of Keras' weights.

    Args:
        path: Path of a folder of `save_to_preset`, or of a file of `save_weights`. Only
            a folder of an old Keras, which does not name layers, needs keras_hub.

    Returns:
        Arrays, metadata, and the sha256 of each weights file.

    Raises:
        ValueError: If a file is damaged or does not name its layers.
        ImportError: If keras_hub is needed and not installed.
    """
    parts = [path] if path.is_file() else [path / BACKBONE, path / TASK]
    parts = [part for part in parts if part.is_file()]
    sums = ", ".join(files.sha256(part) for part in parts)
    try:
        state = {key: array for part in parts for key, array in read_h5(part).items()}
    except _NamelessError:
        if path.is_file():
            raise
        return *read_model(load_preset(path)), sums
    task, converter = (
        {} if path.is_file() else _read_json(path / name)
        for name in (TASK_FILE, CONVERTER_FILE)
    )
    _check(state, task)
    return state, _metadata(converter), sums


class _NamelessError(ValueError):
    """A file of weights does not say of which layers they are."""


def read_h5(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a file of Keras' weights by `layer/variable`.

    Raises:
        ValueError: If it is damaged or does not name its layers, as files of old
            versions of Keras do not.
    """
    import h5py

    state = {}

    def visit(name, group):
        if not isinstance(group, h5py.Group) or name.startswith(("optimizer", "_")):
            return
        arrays = [group[key] for key in sorted(group) if key.isdecimal()]
        if not name.endswith("vars") or not arrays:
            return
        layer = group.attrs.get("name")
        if layer is None or len(arrays) not in _VARIABLES:
            raise _NamelessError(
                f"The weights file '{path}' does not say which layer '{name}' is. Load "
                "it with keras_hub and give the model, or save it again with a newer "
                "Keras."
            )
        for variable, array in zip(_VARIABLES[len(arrays)], arrays, strict=True):
            state[f"{layer}{KERAS_HUB.separator}{variable}"] = array[()]

    try:
        with h5py.File(path) as file:
            file.visititems(visit)
    except OSError as error:
        raise ValueError(
            f"'{path}' is not a file of Keras' weights, or is damaged: {error}"
        ) from error
    return state


def _read_json(path) -> dict[str, object]:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("config", {})
    except (ValueError, AttributeError) as error:
        raise ValueError(f"'{path}' is not a file of keras_hub: {error}") from error


def _check(state, settings):
    """Refuses what no network here can be, whatever its name."""
    if "block1_conv1/kernel" in state:
        raise ValueError(
            "These are weights of keras_hub's VGG, which has no batch normalization, "
            "and every VGG here has it; those of timm's `vgg16_bn` fit `vgg16_mlp`."
        )
    if settings.get("pooling", "avg") != "avg":
        raise ValueError(
            "The classifier pools by something else than the mean of the feature map. "
            f"Received: pooling={settings['pooling']}"
        )


def _metadata(converter) -> dict[str, object]:
    """Returns what an image converter says of the pixels, as timm would.

    It computes `pixels * scale + offset`, of which the mean is `-offset / scale` and
    the standard deviation `1 / scale`.
    """
    found = {}
    if converter.get("image_size"):
        found["input_size"] = (3, *converter["image_size"])
    if converter.get("scale") is not None:
        scale = np.broadcast_to(np.asarray(converter["scale"], "float64"), (3,))
        offset = np.asarray(converter.get("offset") or 0, "float64")
        found["mean"] = tuple((-offset / scale / 255).tolist())
        found["std"] = tuple((1 / scale / 255).tolist())
    return found
