"""Export to ONNX, by tf2onnx, checked by ONNX Runtime before use."""

import json
import os

import keras
import numpy as np
from keras import ops

from layers import keras_internals
from training.export import checked, litert, parity
from training.runtimes import onnx as runtime
from zoo.conformal import Decision
from zoo.posterior import Posterior
from zoo.posterior.base import passes_of_one_image

# The highest that tf2onnx writes, and the first that has `bitwise_xor`, of which draws
# are made.
_OPSET = 18
# The lowest that ONNX Runtime quantizes rightly: in 10, where a network of the zoo is
# valid, its zero points of maps that are positive everywhere wrap to 255.
_LOWEST = 11


def export_onnx(
    model: keras.Model | Posterior,
    path: str | os.PathLike,
    num_samples: int = 10,
    overwrite: bool = False,
    images=None,
    decision: Decision | None = None,
) -> dict:
    """Exports a model to ONNX, and checks its parity in ONNX Runtime.

    The graph takes `images`, raw pixels in float32 and in any batch size, and gives
    `probabilities`. For a stochastic model it also takes a `seed`, an int32 scalar; the
    probabilities are then the mean over `num_samples` passes, whose draws are those of
    Keras bit for bit, and another seed draws other noise. As many passes run as one
    batch as fit into the `memory` of the posterior for one image, most often all, so
    that ONNX Runtime optimizes and quantizes them. Such a file has opset 18; without
    noise it is the lowest from 11 on in which the graph is valid. Scores of a posterior
    are further outputs. If the model knows the names of its `classes`, they are in the
    metadata of the file under that name, as a list in JSON; so is `num_samples` of a
    stochastic one.

    Args:
        model: From images to logits, or a posterior.
        path: The file to write.
        num_samples: Forward passes of a model at each call; a deterministic one has
            one.
        overwrite: Whether to replace what lies at `path`.
        images: At least two images for the check, of shape `(count, height, width,
            channels)`; random ones by default.
        decision: What is decided from the probabilities; it adds the outputs that
            `export_saved_model` says.

    Returns:
        As `training.export.export_saved_model`, and the `opset`.

    Raises:
        ImportError: If the converter or the runtime is not installed.
        ValueError: If the model cannot be exported, or the export differs from it.
        FileExistsError: If something lies at `path`.
    """
    checked.check_decision(decision)
    posterior = checked.posterior_of(model, num_samples)
    litert.check_precision(posterior)
    litert.check_reals(posterior)
    litert.check_gradients(posterior)
    found = {}

    def write(target):
        # Both fail with exceptions of many types, and log what they do not know.
        try:
            found["opset"] = _convert(posterior, target, decision)
            return runtime.open_network(target).run
        except ImportError as error:
            raise ImportError(
                f"{error}. Exports to ONNX need `pip install smoothzoo[onnx]`."
            ) from error
        except Exception as error:
            raise ValueError(f"ONNX cannot hold the model: {error}") from error

    report = checked.write_checked(
        posterior,
        path,
        write,
        parity.TOLERANCES[None],
        overwrite,
        images,
        decision,
    )
    return {**report, **found}


def _convert(posterior, target, decision) -> int:
    """Writes a file, and returns its opset."""
    import onnx

    function = litert.device_function(posterior.with_models(_copy), decision=decision)
    # What fails in the highest has no form in any; it is found first.
    with passes_of_one_image():
        file, opset = _at(function, _OPSET), _OPSET
    if not posterior.draws:
        for lower in range(_LOWEST, _OPSET):
            if (tried := _valid(function, lower)) is not None:
                file, opset = tried, lower
                break
    classes, facts = posterior.classes, {}
    if classes:
        facts["classes"] = json.dumps(classes)
    if posterior.draws:
        facts[runtime.PASSES] = str(posterior.num_samples)
    onnx.helper.set_model_props(file, facts)
    onnx.save(file, os.fspath(target))
    return opset


def _at(function, opset):
    """Returns a function as a checked graph of an opset."""
    import onnx
    import tf2onnx

    file, _ = tf2onnx.convert.from_function(
        function,
        input_signature=function.input_signature,
        opset=opset,
        custom_op_handlers={"Erfc": (_erfc, [])},
    )
    onnx.checker.check_model(file, full_check=True)
    return file


def _erfc(graph, node, name, args):
    """Writes what GELU has in TensorFlow as 1 - erf(x), since ONNX has erf alone."""
    shape, kind = graph.get_shape(node.output[0]), graph.get_dtype(node.output[0])
    graph.remove_node(name)
    one = graph.make_const(f"{name}_one", np.ones((), "float32"))
    erf = graph.make_node("Erf", node.input, name=f"{name}_erf")
    inputs = [one.output[0], erf.output[0]]
    graph.make_node(
        "Sub", inputs, outputs=node.output, name=name, shapes=[shape], dtypes=[kind]
    )


def _valid(function, opset):
    """Returns what `_at` does, or None where the opset lacks something."""
    try:
        return _at(function, opset)
    except Exception:  # Of many types; in the highest opset it was valid.
        return None


def _copy(model):
    """Returns a model that an exported graph can hold."""
    body = keras.models.clone_model(model, clone_function=_clone, recursive=True)
    left_out = {
        id(weight)
        for layer in keras_internals.flat_layers(model)
        if isinstance(layer, keras.layers.Normalization)
        for weight in layer.weights
    }
    weights = [weight for weight in model.weights if id(weight) not in left_out]
    body.set_weights([ops.convert_to_numpy(weight) for weight in weights])
    return body


def _clone(layer):
    """Returns a new layer; a normalization by fixed statistics becomes a rescaling.

    The tensors of the former would be inputs of the exported graph.
    """
    if not isinstance(layer, keras.layers.Normalization):
        return type(layer).from_config(layer.get_config())
    mean, variance = (ops.convert_to_numpy(x) for x in (layer.mean, layer.variance))
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    scale, shift = 1 / deviation, -mean / deviation
    if layer.invert:
        scale, shift = deviation, mean
    return keras.layers.Rescaling(scale, shift, name=layer.name)
