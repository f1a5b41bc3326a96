"""Models that are not of the zoo: files of Keras and of runtimes, and servers."""

import hashlib
import pathlib
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

import layers
from training.data.readers import label_files
from training.evaluation import artifacts, external_outputs
from training.runtimes import places, saved_model
from zoo.classifier import classes_of, named
from zoo.posterior import MonteCarlo, Posterior
from zoo.posterior.graph_split import Split
from zoo.storage import files


def is_external(name: str) -> bool:
    """Returns whether a name is that of a file, a folder or a server of a model."""
    return name.endswith(".keras") or places.is_place(name)


def load(
    path: str,
    num_samples: int = 1,
    outputs: str = "logits",
    input_range: Sequence[float] = (0.0, 255.0),
    classes: Sequence[str] = (),
    in_keras: bool = False,
) -> Posterior:
    """Loads a model that is not of the zoo.

    A model whose predictions for the same images are equal is taken to be
    deterministic, and runs once.

    Args:
        path: Path of a `.keras` file, of a folder of a SavedModel with the signature
            `serving_default` of one input, or what `training.runtimes.places` opens,
            which includes SavedModels of `training.export` that draw.
        num_samples: Forward passes, if it draws.
        outputs: `"logits"` or `"probs"`, what it returns.
        input_range: What it takes in place of pixels from 0 to 255, for example
            `(0, 1)` or `(-1, 1)`.
        classes: Names of the classes in the order of its outputs, if it does not know
            them itself.
        in_keras: Whether it is to be a part of what Keras computes. The draws of a
            SavedModel do not follow a seed then, and files of runtimes are refused.

    Returns:
        A posterior from images in `[0, 255]` to sampled logits, of each image or of
        each pixel; see `zoo.posterior.Posterior`.

    Raises:
        ValueError: If it does not take one batch of images, or does not give a vector
            of numbers for each image or each pixel of a map of known size, or these are
            not what `outputs` says.
    """
    given = {"outputs": outputs, "input_range": input_range, "classes": classes}
    if not _is_of_keras(path, in_keras):
        return artifacts.load(path, num_samples, **given)
    model, name = read(path, **given)
    posterior = MonteCarlo(model, num_samples, seed=0, name=name)
    images = external_outputs.noise(model.input_shape[1:])
    posterior.repeats_itself = posterior.is_deterministic(images)
    return posterior


def _is_of_keras(path, in_keras):
    """Returns whether a model is made one of Keras, and not run by its runtime."""
    if path.endswith(".keras"):
        return True
    if (pathlib.Path(path) / saved_model.FILE).is_file():
        return in_keras or not saved_model.has_samples(path)
    if in_keras:
        raise ValueError(
            f"'{path}' is run outside of Keras, so it is evaluated alone or with a "
            "scaler such as '@temperature': ensembles, posteriors that look into the "
            "network and exports need the model that it was made of."
        )
    return False


def read(
    path: str,
    outputs: str = "logits",
    input_range: Sequence[float] = (0.0, 255.0),
    classes: Sequence[str] = (),
) -> tuple[keras.Model, str]:
    """Returns a model that is not of the zoo, from images in `[0, 255]` to logits.

    It is only called in inference mode, and not changed.

    Args:
        path: Path of a `.keras` file or of a folder of a SavedModel.
        outputs: `"logits"` or `"probs"`, what it returns; of a SavedModel, the names
            of outputs say it if they are `logits`, `probabilities` or `probs`.
        input_range: What it takes in place of pixels from 0 to 255.
        classes: Names of the classes in the order of its outputs, if it does not know
            them itself.

    Returns:
        That model, or one around it, and its name or else that of its file.

    Raises:
        ValueError: If it has other shapes or returns something else; `load` has more.
    """
    low, high = external_outputs.checked(outputs, input_range)
    is_file = path.endswith(".keras")
    if is_file:
        model = keras.saving.load_model(path)
    else:
        model, outputs = _read(path, outputs)
    _check_shapes(model, path)
    name = model.name if is_file else pathlib.Path(path).name
    if name.startswith(("functional", "sequential")):  # Nobody named it.
        name = pathlib.Path(path).stem
    known = (classes_of(model) if is_file else label_files.read(path)) or classes
    if classes and tuple(classes) != tuple(known):
        raise ValueError(
            f"The model '{path}' has the classes {', '.join(known)}. Received: classes="
            f"{','.join(classes)}"
        )
    plain = is_file and outputs == "logits" and (low, high) == (0.0, 255.0)
    if plain and classes_of(model) == tuple(known):
        _check_outputs(model, outputs, name)
        return model, name
    x = images = keras.Input(model.input_shape[1:], name="images")
    if (low, high) != (0.0, 255.0):
        x = keras.layers.Rescaling((high - low) / 255, low, name="rescale")(x)
    x = model(x)
    _check_outputs(keras.Model(images, x), outputs, name)
    logits = _Log(name="log")(x) if outputs == "probs" else x
    return named(keras.Model(images, logits, name="external"), known), name


def _check_shapes(model, path):
    inputs, outputs = model.input_shape, model.output_shape
    takes_images = isinstance(inputs, tuple) and len(inputs) == 4
    gives_rows = isinstance(outputs, tuple) and len(outputs) in (2, 4)
    if not takes_images or not gives_rows or None in outputs[1:-1]:
        raise ValueError(
            f"The model '{path}' must map one batch of images, (batch, height, width, "
            "channels), to (batch, num_classes), or to (batch, height, width, "
            "num_classes) with a known height and width. Received: "
            f"input_shape={inputs}, output_shape={outputs}"
        )


def _check_outputs(model, outputs, name):
    """Checks that the outputs are what they are said to be, in inference mode."""
    split, images = Split(model), external_outputs.noise(model.input_shape[1:])
    with layers.stream(0):
        found = split.suffix(split.prefix(ops.convert_to_tensor(images)))
    external_outputs.check(ops.convert_to_numpy(found), outputs, name)


@keras.saving.register_keras_serializable(package="training")
class _Log(keras.layers.Layer):
    """The logarithm of probabilities, which are logits."""

    def call(self, inputs):
        probs = ops.cast(inputs, "float32")
        return ops.log(ops.maximum(probs, np.finfo("float32").tiny))


def _read(path, outputs):
    """Returns a SavedModel as a Keras model, and what that returns."""
    layer = _Served(path, outputs, name="served")
    images = keras.Input(layer.image_shape, name="images")
    return keras.Model(images, layer(images), name="saved_model"), layer.outputs


@keras.saving.register_keras_serializable(package="training")
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
        names = external_outputs.NAMES
        for kind in (self.outputs, *names):
            if found := [name for name in names[kind] if name in given]:
                self.outputs = kind  # Which the name says, whatever was said.
                return found[0]
        if len(given) == 1:
            return next(iter(given))
        known = ", ".join(name for kind in names.values() for name in kind)
        raise ValueError(
            f"The SavedModel '{self.folder}' has no output of the names {known}. "
            f"Received: outputs={self.outputs}, and it has {sorted(given)}"
        )

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

    @classmethod
    def from_config(cls, config):
        return cls(**{k: v for k, v in config.items() if k != "sha256"})


def _digest(path):
    digest = hashlib.sha256()
    for file in sorted(pathlib.Path(path).rglob("*")):
        if file.is_file() and file.name != "fingerprint.pb":
            digest.update(f"{file.relative_to(path)} {files.sha256(file)}".encode())
    return digest.hexdigest()
