"""Models that are not of the zoo: `.keras` files and SavedModel folders."""

import hashlib
import pathlib
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from zoo import files
from zoo.classifier import classes_of, named
from zoo.posterior import MonteCarlo

OUTPUTS = ("logits", "probs")
_NAMES = {"probs": ("probabilities", "probs"), "logits": ("logits",)}


def is_external(name: str) -> bool:
    """Returns whether a name is that of a file or folder of a model, not of the zoo."""
    return name.endswith(".keras") or (pathlib.Path(name) / "saved_model.pb").exists()


def load(
    path: str,
    num_samples: int = 1,
    outputs: str = "logits",
    input_range: Sequence[float] = (0.0, 255.0),
    classes: Sequence[str] = (),
) -> MonteCarlo:
    """Loads a model that is not of the zoo.

    A model whose answers to the same images are equal is taken to draw nothing, and
    runs once. The draws of a SavedModel do not follow a seed.

    Args:
        path: Of a `.keras` file, or of a folder of a SavedModel with the signature
            `serving_default` of one input.
        num_samples: Forward passes, if it draws.
        outputs: `"logits"` or `"probs"`, what it returns.
        input_range: What it takes in place of pixels from 0 to 255, for example
            `(0, 1)` or `(-1, 1)`.
        classes: Names of the classes in the order of its outputs, if it does not know
            them itself.

    Returns:
        A posterior from images in `[0, 255]` to sampled logits.

    Raises:
        ValueError: If it does not take one image or give one vector of numbers, or
            these are not what `outputs` says.
    """
    low, high = _checked(outputs, input_range)
    is_file = path.endswith(".keras")
    model = keras.saving.load_model(path) if is_file else _read(path, outputs)
    _check_shapes(model, path)
    name = model.name if is_file else pathlib.Path(path).name
    if name.startswith(("functional", "sequential")):  # Nobody named it.
        name = pathlib.Path(path).stem
    known = classes_of(model) or classes
    if classes and tuple(classes) != tuple(known):
        raise ValueError(
            f"The model '{path}' has the classes {', '.join(known)}. Received: classes="
            f"{','.join(classes)}"
        )
    images = keras.Input(model.input_shape[1:], name="images")
    x = images
    if (low, high) != (0.0, 255.0):
        x = keras.layers.Rescaling((high - low) / 255, low, name="rescale")(x)
    x = model(x)
    logits = _Log(name="log")(x) if outputs == "probs" else x
    wrapped = named(keras.Model(images, logits, name="external"), known)
    posterior = MonteCarlo(wrapped, num_samples, seed=0, name=name)
    _probe(posterior, keras.Model(images, x), outputs)
    return posterior


def _checked(outputs, input_range):
    if outputs not in OUTPUTS:
        raise ValueError(
            f"`outputs` must be one of {', '.join(OUTPUTS)}. Received: "
            f"outputs={outputs}"
        )
    values = tuple(map(float, input_range))
    if len(values) != 2 or not values[0] < values[1]:
        raise ValueError(
            "`input_range` must be two numbers, the smaller one first, as 0,1. "
            f"Received: input_range={values}"
        )
    return values


def _check_shapes(model, path):
    inputs, outputs = model.input_shape, model.output_shape
    for shape, rank in ((inputs, 4), (outputs, 2)):
        if not isinstance(shape, tuple) or len(shape) != rank:
            raise ValueError(
                f"The model '{path}' must map one batch of images, (batch, height, "
                "width, channels), to (batch, num_classes). Received: "
                f"input_shape={inputs}, output_shape={outputs}"
            )


def _probe(posterior, model, outputs):
    """Checks the outputs, and says if the model draws nothing."""
    shape = [side or 64 for side in posterior.image_shape]
    images = np.random.default_rng(0).integers(0, 256, (8, *shape)).astype("uint8")
    first, second = (ops.convert_to_numpy(model(images)) for _ in range(2))
    posterior.repeats_itself |= bool(np.array_equal(first, second))
    sums = first.astype("float64").sum(axis=1)
    are_probs = first.min() >= 0 and np.abs(sums - 1).max() < 1e-3
    if are_probs != (outputs == "probs"):
        seems = "probs" if are_probs else "logits"
        raise ValueError(
            f"Model '{posterior.name}' returns {seems}: on random images, values from "
            f"{first.min():.3g} to {first.max():.3g} with sums from {sums.min():.3g} "
            f"to {sums.max():.3g}. Received: outputs={outputs}"
        )


@keras.saving.register_keras_serializable(package="training")
class _Log(keras.layers.Layer):
    """The logarithm of probabilities, which are logits."""

    def call(self, inputs):
        probs = ops.cast(inputs, "float32")
        return ops.log(ops.maximum(probs, np.finfo("float32").tiny))


def _read(path, outputs):
    """Returns a SavedModel as a Keras model."""
    layer = _Served(path, outputs, name="served")
    images = keras.Input(layer.image_shape, name="images")
    return keras.Model(images, layer(images), name="saved_model")


class _Served(keras.layers.Layer):
    """The signature `serving_default` of a SavedModel as a layer."""

    def __init__(self, path: str, outputs: str, **kwargs):
        super().__init__(**kwargs)
        import tensorflow as tf

        self.folder, self.outputs = str(path), outputs
        self._loaded = tf.saved_model.load(self.folder)
        signature = self._loaded.signatures.get("serving_default")
        given = signature.structured_input_signature[1] if signature else {}
        if len(given) != 1:
            raise ValueError(
                f"The SavedModel '{path}' needs a signature serving_default of one "
                f"input. Received: inputs={sorted(given)}"
            )
        ((self._input, self._spec),) = given.items()
        self._output = self._choose(signature.structured_outputs)
        self._signature = signature
        self.image_shape = tuple(self._spec.shape[1:])

    def _choose(self, given):
        found = [n for n in _NAMES[self.outputs] if n in given]
        found = found or (list(given) if len(given) == 1 else [])
        if not found:
            raise ValueError(
                f"The SavedModel '{self.folder}' has no output of the name "
                f"{' or '.join(_NAMES[self.outputs])}. Received: "
                f"outputs={self.outputs}, and it has {sorted(given)}"
            )
        return found[0]

    def call(self, inputs):
        images = ops.cast(inputs, self._spec.dtype.name)
        return self._signature(**{self._input: images})[self._output]

    def compute_output_shape(self, input_shape):
        shape = self._signature.structured_outputs[self._output].shape
        return (input_shape[0], *shape[1:])

    def get_config(self):
        return {
            **super().get_config(),
            "path": self.folder,
            "outputs": self.outputs,
            "sha256": _digest(self.folder),
        }


def _digest(path):
    digest = hashlib.sha256()
    for file in sorted(pathlib.Path(path).rglob("*")):
        if file.is_file() and file.name != "fingerprint.pb":
            digest.update(f"{file.relative_to(path)} {files.sha256(file)}".encode())
    return digest.hexdigest()
