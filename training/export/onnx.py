"""Export of deterministic models to ONNX, by Keras' exporter, checked before use."""

import json
import os
import warnings

import keras
import numpy as np
from keras import ops

from training.export import checked, litert, parity
from zoo.posterior import Posterior

_OUTPUT = "probabilities"


def export_onnx(
    model: keras.Model | Posterior,
    path: str | os.PathLike,
    overwrite: bool = False,
    images=None,
) -> dict:
    """Exports a deterministic model to ONNX, and checks its parity.

    It is run by ONNX Runtime. The graph takes `images`, raw pixels in float32 and in
    any batch size, and gives `probabilities`. If the model knows the names of its
    `classes`, they are in the metadata of the file under that name, as a list in JSON.

    Args:
        model: From images to logits; or a deterministic posterior, such as an ensemble
            of such models.
        path: The file to write.
        overwrite: Whether to replace what lies at `path`.
        images: At least two images for the check, of shape `(count, height, width,
            channels)`; random ones by default.

    Returns:
        As `training.export.export_saved_model`.

    Raises:
        ImportError: If the converter or the runtime is not installed.
        ValueError: If the model cannot be exported, or the export differs from it.
        FileExistsError: If something lies at `path`.
    """
    posterior = checked.posterior_of(model, 1)
    check(posterior)

    def write(target):
        # Both fail with exceptions of many types, and log what they do not know.
        try:
            _convert(posterior, target)
            return _runner(target)
        except ImportError as error:
            raise ImportError(
                f"{error}. Exports to ONNX need `pip install smoothzoo[onnx]`."
            ) from error
        except Exception as error:
            raise ValueError(f"ONNX cannot hold the model: {error}") from error

    tolerance = parity.TOLERANCES[None]
    return checked.write_checked(posterior, path, write, tolerance, overwrite, images)


class _Probabilities(keras.layers.Layer):
    """The mean probabilities of a posterior, as a layer of a graph."""

    def __init__(self, posterior):
        super().__init__(autocast=False)
        self.posterior = posterior

    def call(self, images):
        return checked.probabilities(self.posterior, images)

    def compute_output_spec(self, images):
        shape = images.shape[0], self.posterior.num_classes
        return keras.KerasTensor(shape, "float32")


def check(posterior: Posterior):
    """Checks that a posterior, which need not have adapted, has a form in ONNX.

    Raises:
        ValueError: If it draws, has scores, computes gradients or is not of float32.
    """
    if posterior.draws:
        raise ValueError(
            "A stochastic model cannot be exported to ONNX: its masks are made by "
            "`bitwise_xor` of unsigned integers, which tf2onnx does not convert. "
            f"Export it as saved_model or tflite. Received: model={posterior.name}"
        )
    checked.check_scores(
        posterior,
        "a file of ONNX gives probabilities alone; export it as saved_model or tflite",
    )
    litert.check_precision(posterior)
    litert.check_gradients(posterior)


def _convert(posterior, target):
    import onnx

    images = keras.Input(posterior.image_shape, name="images")
    whole = keras.Model(images, _Probabilities(posterior.settled(_copy))(images))
    shape = (1, *(side or 64 for side in posterior.image_shape))
    whole(np.zeros(shape, "float32"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Keras asks for `np.object`.
        whole.export(os.fspath(target), format="onnx", verbose=False)
    file = onnx.load(os.fspath(target))
    output = file.graph.output[0].name  # The exporter knows the names of inputs alone.
    for node in file.graph.node:
        node.output[:] = [_OUTPUT if n == output else n for n in node.output]
    file.graph.output[0].name = _OUTPUT
    if classes := posterior.classes:
        onnx.helper.set_model_props(file, {"classes": json.dumps(classes)})
    onnx.save(file, os.fspath(target))


def _copy(model):
    """Returns a model that an exported graph can hold."""
    body = keras.models.clone_model(model, clone_function=_clone)
    body.set_weights(model.get_weights())
    return body


def _clone(layer):
    """Returns a new layer; a fixed normalization becomes a rescaling.

    The tensors of the former would be inputs of the exported graph.
    """
    fixed = isinstance(layer, keras.layers.Normalization) and not layer.weights
    if not fixed or layer.mean is None:
        return type(layer).from_config(layer.get_config())
    mean, variance = (ops.convert_to_numpy(x) for x in (layer.mean, layer.variance))
    scale = 1 / np.maximum(np.sqrt(variance), keras.config.epsilon())
    return keras.layers.Rescaling(scale, -mean * scale, name=layer.name)


def _runner(path) -> parity.Runner:
    import onnxruntime

    session = onnxruntime.InferenceSession(os.fspath(path))
    names = [value.name for value in session.get_inputs()]
    if len(names) > 1:
        raise ValueError(f"its graph takes more than the images: {', '.join(names)}")

    def run(images, seed):
        return {_OUTPUT: session.run([_OUTPUT], {names[0]: images})[0]}

    return run
