"""The weights that a training starts from."""

import collections
import dataclasses
import math
import pathlib
from collections.abc import Sequence

import keras
import numpy as np
from absl import logging
from keras import ops

import zoo
from zoo import finding, loading
from zoo.classifier import match
from zoo.presets import weight_file
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
            folder that was published or of a training. `zoo.finding.find_any` has the
            errors.
    """
    found = finding.find_any(weights)
    preset, path = found.preset, found.path
    if found.sha256:
        files.check(path, found.sha256)
    return InitialWeights(
        weights=_label(found),
        path=path,
        model=preset.name,
        sha256=found.sha256 or files.sha256(path),
        num_classes=preset.num_classes,
        classes=preset.classes,
        image_size=_image_size(preset.input_shape),
    )


def _label(found):
    """Returns what weights were asked for by, without the folders of this machine."""
    if found.place is None:
        return found.preset.name
    return without_folders(found.place)


def without_folders(place: str) -> str:
    """Returns a place of weights as records have it: of a path the last name.

    Args:
        place: A path or a URL; empty for published weights.
    """
    is_path = place and not urls.is_url(place)
    return pathlib.Path(place).resolve().name if is_path else place


def _image_size(input_shape):
    size = tuple(input_shape)[:2]
    return None if None in size or not size else size


def load(
    weights: InitialWeights,
    name: str | zoo.ModelSpec,
    input_shape: tuple[int | None, int | None, int],
    classes: Sequence[str],
) -> tuple[keras.Model, dict[str, str]]:
    """Loads weights into a model that is going to be trained, and logs which it keeps.

    Args:
        weights: The weights.
        name: Name of the model, of the same architecture and with any methods; what
            the weights' own network has not begins anew.
        input_shape: `(height, width, channels)` of the images.
        classes: Names of the classes.

    Returns:
        The model, which normalizes pixels as that of the weights does and has a new
        head if its classes are others, not if they are in another order; and what a
        record says of its initial weights.

    Raises:
        ValueError: If the weights do not fit.
    """
    found = finding.find(name, weights.path)
    model, anew = loading.load_shared(found, input_shape, len(classes))
    order = None if "head" in anew else _order(weights, classes)
    head = model.get_layer("head")
    if order is not None:
        for variable in getattr(head, "class_weights", head.weights):
            if keras.backend.is_float_dtype(variable.dtype):  # No random state.
                value = ops.convert_to_numpy(variable)
                variable.assign(np.take(value, order, axis=-1))
    elif "head" not in anew:
        anew.add("head")
        fresh = type(head).from_config(head.get_config())
        fresh.build(head.input.shape)
        head.set_weights(fresh.get_weights())
    model.classes = classes
    logging.info("%s", _describe(weights, model, anew))
    facts = {key: getattr(weights, key) for key in ("weights", "model", "sha256")}
    return model, {**facts, "head": "new" if order is None else "kept"}


def _describe(weights, model, anew):
    """Returns in a line which weights are kept, and which are not."""
    shapes = {k: v.shape for k, v in weight_file.variables(model).items()}
    ours = {name for name in shapes if anew & _parts(name)}
    begin, kept = _count(shapes, ours), _count(shapes, shapes.keys() - ours)
    line = f"{kept:,} weights are those of {weights.weights}"
    if ours:
        line += f", {begin:,} begin anew: {_places(ours, anew)}"
    found = weight_file.read_shapes(weights.path)
    here = set.union(*map(_parts, shapes))
    if unused := {name for name in found if anew & _parts(name) - here}:
        line += f", {_count(found, unused):,} have no place: {_places(unused, anew)}"
    return line


def _parts(name):
    """Returns the name of a weight and that of its layer."""
    return {name, name.partition("/")[0]}


def _count(shapes, names):
    return sum(math.prod(shapes[name]) for name in names)


def _places(names, anew):
    """Returns layers, and of single weights on how many layers there are of a kind."""
    split = [name.partition("/")[::2] for name in sorted(names)]
    whole = sorted({layer for layer, _ in split if layer in anew})
    parts = collections.Counter(kind for layer, kind in split if layer not in anew)
    return ", ".join(
        [*whole, *(f"{kind} of {count} layers" for kind, count in parts.items())]
    )


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
