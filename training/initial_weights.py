"""The weights that a training starts from."""

import dataclasses
import pathlib
import warnings
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

import zoo
from zoo import finding
from zoo.classifier import match
from zoo.presets import index, weight_file
from zoo.publishing import training_record
from zoo.storage import files, urls


@dataclasses.dataclass(frozen=True)
class InitialWeights:
    """Weights that are there already.

    Attributes:
        weights: What they were asked for by, without the folders of this machine.
        path: Path of their file.
        model: The model that they are of.
        sha256: SHA-256 of the file.
        num_classes: Number of classes of their head.
        classes: Names of these; empty where nothing says them.
        image_size: Height and width of the images of their training, if they are known.
    """

    weights: str
    path: pathlib.Path
    model: str
    sha256: str
    num_classes: int
    classes: tuple[str, ...]
    image_size: tuple[int, int] | None = None


def find(weights: str) -> InitialWeights:
    """Finds weights.

    Args:
        weights: The name of a pretrained model, a folder that `zoo-train`,
            `zoo-publish` or `zoo-convert` wrote, a safetensors file, or the URL of a
            published folder.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there is no such name, or the file is damaged.
        ConnectionError: If the file cannot be downloaded.
    """
    if urls.is_url(weights):
        preset = index.read_published(weights)
        return _of_preset(preset, weights, finding.locate(preset, weights))
    path = pathlib.Path(weights)
    if path.exists() or path.suffix == ".safetensors" or len(path.parts) > 1:
        return _of_path(path)
    try:
        preset = index.find(weights)
    except ValueError as error:
        raise ValueError(
            f"There is no file or folder '{weights}' to take weights from, and no "
            f"pretrained model of that name: {error}"
        ) from error
    return _of_preset(preset, preset.name, finding.locate(preset))


def _of_path(path) -> InitialWeights:
    name = path.resolve().name
    if (path / index.PRESET_FILE).is_file():
        preset = index.read_published(path)
        return _of_preset(preset, name, finding.locate(preset, path))
    file = path / index.WEIGHTS_FILE if path.is_dir() else path
    metadata = weight_file.read_metadata(file)
    classes = metadata.get("classes", ()) or training_record.classes_beside(file)
    return InitialWeights(
        weights=name,
        path=file,
        model=metadata.get("name", "unknown"),
        sha256=files.sha256(file),
        num_classes=weight_file.read_shapes(file).get("head/kernel", (0,))[-1],
        classes=tuple(classes),
        image_size=_image_size(metadata.get("input_shape")),
    )


def _of_preset(preset, weights, file) -> InitialWeights:
    files.check(file, preset.sha256)
    return InitialWeights(
        weights=weights,
        path=file,
        model=preset.name,
        sha256=preset.sha256,
        num_classes=preset.num_classes,
        classes=preset.classes,
        image_size=_image_size(preset.input_shape),
    )


def _image_size(input_shape):
    size = tuple(input_shape or ())[:2]
    return None if None in size or not size else size


def load(
    weights: InitialWeights,
    name: str,
    input_shape: tuple[int | None, int | None, int],
    classes: Sequence[str],
) -> tuple[keras.Model, dict[str, str]]:
    """Loads weights into a model that is going to be trained.

    Args:
        weights: The weights.
        name: Name of the model, of the same architecture and with any methods.
        input_shape: `(height, width, channels)` of the images.
        classes: Names of the classes.

    Returns:
        The model, which normalizes pixels as that of the weights does and has a new
        head if its classes are others, not if they are in another order; and what a
        record says of its initial weights.

    Raises:
        ValueError: If the weights do not fit.
    """
    with warnings.catch_warnings():
        # That it is to be trained is what the warning says.
        warnings.filterwarnings("ignore", message=".* but were not trained in it")
        model = zoo.load(name, input_shape, len(classes), weights.path)
    order = _order(weights, classes)
    head = model.get_layer("head")
    if order is not None:
        for variable in head.weights:
            if keras.backend.is_float_dtype(variable.dtype):  # No random state.
                value = ops.convert_to_numpy(variable)
                variable.assign(np.take(value, order, axis=-1))
    elif weights.num_classes == len(classes):
        fresh = type(head).from_config(head.get_config())
        fresh.build(head.input.shape)
        head.set_weights(fresh.get_weights())
    model.classes = classes
    facts = {key: getattr(weights, key) for key in ("weights", "model", "sha256")}
    return model, {**facts, "head": "new" if order is None else "kept"}


def _order(weights, classes):
    """Returns which logit of the weights is that of each class, or None if none is."""
    if weights.num_classes != len(classes):
        return None
    if not weights.classes:
        return list(range(len(classes)))
    try:
        return match(classes, weights.classes, "the data", "the weights")
    except ValueError:
        return None
