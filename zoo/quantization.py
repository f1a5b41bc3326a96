"""Networks that compute as integers do, in training and in inference."""

import keras
import numpy as np

import layers
from layers import keras_internals, quantization
from layers.quantization import FakeQuantization
from layers.variational import GaussianKernel
from zoo import rewriting
from zoo.classifier import classes_of, named
from zoo.folding import fold

WEIGHT_BITS = (4, 8)
# Layers with kernels, and the layers that have these as integers.
_LINEAR = {
    keras.layers.Conv2D: quantization.QuantizedConv2D,
    layers.GroupedConv2D: quantization.QuantizedConv2D,
    layers.FusedConv2D: quantization.QuantizedConv2D,
    keras.layers.Dense: quantization.QuantizedDense,
}
# What computes in steps that are rounded each.
_IN_STEPS = {
    layers.MCDropout: quantization.QuantizedMCDropout,
    layers.SpatialSmoothing: quantization.QuantizedSmoothing,
}
# What gives some of the numbers that it takes, and zeros: their range is the same.
_KEEPING = (
    keras.layers.MaxPooling2D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.ZeroPadding2D,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Identity,
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
    layers.Dropout,
    layers.MCDropout,  # It is rounded inside, before its mask.
)
_KEEPING_KINDS = ("Pad", "MaxPool", "Reshape")


def quantized(model: keras.Model, weight_bits: int = 8) -> keras.Model:
    """Returns a network with the same weights that computes as integers do.

    Kernels of convolutions and dense layers are integers of `weight_bits`, of 8 bits in
    the first and the last of them, with a scale for each output channel, and features
    integers of 8 bits with a range for each feature map, where LiteRT has them: behind
    a convolution, its normalization and its rectifier, and behind a sum and its
    rectifier, as these are one operation there. Sums are those of real numbers, and so
    are biases, as 32 bits hold them. Dropout and smoothing are rounded in each of their
    steps.

    Gradients go through rounding as if it was none. Ranges follow the batches of a
    training; before it the network computes with real features. `layers.
    FakeQuantization` and `layers.QuantizedConv2D` have the details.

    Args:
        model: A functional Keras model of one input and one output, from images to
            logits. Models inside of it are taken apart.
        weight_bits: 8 or 4.

    Raises:
        ValueError: If the model cannot be taken apart, a layer draws or computes its
            kernel, or it has been quantized.

    Example:

    >>> import zoo
    >>> model = quantized(zoo.build("lenet5", (28, 28, 1), num_classes=10))
    >>> type(model.get_layer("head")).__name__
    'QuantizedDense'

    Reference:
        [Quantization and Training of Neural Networks](https://arxiv.org/abs/1712.05877)
        (Jacob et al., 2018), section 3.
    """
    layers.checks.check_choice(weight_bits, "weight_bits", WEIGHT_BITS)
    graph = rewriting.graph_of(model, "quantized")
    kernels, copies = _kernels(graph, model), rewriting.Copies()

    def operation(step):
        old, bits = step.operation, {}
        if old in kernels:
            is_end = old in (kernels[0], kernels[-1])
            bits = {"weight_bits": 8 if is_end else weight_bits}
        return copies.of(
            old, _LINEAR.get(type(old)) or _IN_STEPS.get(type(old)), **bits
        )

    taken, ranges, names = rewriting.uses(graph), [], {}

    def visit(step, given):
        if step.operation is None:
            return given
        results = step.run(given, operation(step))
        if not _is_rounded(step, taken):
            return results
        # Functions have names that count all of a process.
        is_layer = isinstance(step.operation, keras.layers.Layer)
        stem = step.name if is_layer else "function"
        names[stem] = names.get(stem, 0) + 1
        number = names[stem] if names[stem] > 1 or not is_layer else ""
        ranges.append(FakeQuantization(name=f"{stem}{number}_range"))
        return [ranges[-1](results[0]), *results[1:]]

    found = named(rewriting.rewritten(graph, model.name, visit), classes_of(model))
    copies.take_weights()
    if not keras_internals.is_stateless():
        for layer in ranges:
            keras_internals.set_initial_values(layer.weights)
    return found


def is_quantized(model: keras.Layer) -> bool:
    """Returns whether a model, or a layer inside of it, computes as integers do."""
    inside = keras_internals.flat_layers(model)
    return any(isinstance(layer, FakeQuantization) for layer in inside)


def weight_bits(model: keras.Layer) -> int:
    """Returns the bits of the weights of a quantized model: 4 if any have so few."""
    return min(
        (
            layer.weight_bits
            for layer in keras_internals.flat_layers(model)
            if isinstance(layer, quantization.QuantizedKernel)
        ),
        default=8,
    )


def settled(model: keras.Model) -> keras.Model:
    """Returns a quantized network for exports.

    Its normalizations are folded into its kernels, whose integers stay the same, as
    each channel has a scale of its own; and its ranges are constants.

    Args:
        model: A model for which `is_quantized`.

    Raises:
        ValueError: If it has not been trained, so that it knows no ranges.
    """
    found = fold(model, keeps_borders=True)
    for layer in keras_internals.flat_layers(found):
        if isinstance(layer, FakeQuantization):
            low, high = (float(np.asarray(x)) for x in (layer.low, layer.high))
            if not high > low:
                raise ValueError(
                    "The network knows no ranges of its features before it was "
                    "trained; train it, or export what it was made of. Received: "
                    f"model={model.name}, whose layer '{layer.name}' has seen nothing"
                )
        if hasattr(layer, "settle"):
            layer.settle()
    return found


def _kernels(graph, model):
    """Returns the layers with kernels, in order."""
    found = []
    for step in graph.steps:
        inside = keras_internals.flat_layers(step.operation) if _is_layer(step) else []
        for layer in inside:
            if isinstance(layer, (FakeQuantization, quantization.QuantizedKernel)):
                raise ValueError(
                    "The model is quantized already: train it as it is, or quantize "
                    f"what it was made of. Received: model={model.name}"
                )
            if type(layer) in _LINEAR:
                found.append(layer)
                continue
            shapes = [weight.shape for weight in layer.weights if layer.built]
            is_plain = type(layer) in (*rewriting.NORMALIZATIONS, *_IN_STEPS)
            has_kernel = any(len(shape) > 1 for shape in shapes) and len(inside) == 1
            if isinstance(layer, GaussianKernel) or (has_kernel and not is_plain):
                raise ValueError(
                    "Integers hold kernels that are what they are, and this layer "
                    "draws its own, bounds it, or is of another kind than Keras' "
                    f"Conv2D and Dense. Received: layer={layer.name}, of the class "
                    f"{type(layer).__name__}"
                )
    if not found:
        raise ValueError(
            "There is nothing to quantize: no layer of the model is a Conv2D or a "
            f"Dense of Keras. Received: model={model.name}"
        )
    return list(dict.fromkeys(found))


def _is_layer(step):
    return isinstance(step.operation, keras.layers.Layer)


def _is_rounded(step, taken) -> bool:
    """Returns whether what a step gives is rounded as it is."""
    (place, *_) = step.outputs
    after = taken[place]
    follower = after[0] if len(after) == 1 and after[0] is not None else None
    operation = step.operation
    if _keeps_range(operation):
        return False
    if type(operation) in _LINEAR and _is_linear(operation):
        is_part = (
            follower is not None
            and type(follower.operation) in rewriting.NORMALIZATIONS
        )
        return not (is_part or _is_rectifier(follower))
    if rewriting.is_sum(operation) or type(operation) in rewriting.NORMALIZATIONS:
        return not _is_rectifier(follower)
    return True


def _is_linear(layer):
    return layer.activation in (None, keras.activations.linear)


def _is_rectifier(step) -> bool:
    """Returns whether a step is a rectifier, which is a part of what is before it."""
    if step is None:
        return False
    operation = step.operation
    if type(operation) is keras.layers.ReLU:
        bounds = operation.negative_slope, operation.threshold, operation.max_value
        return bounds in ((0, 0, None), (0, 0, 6))
    if type(operation) is keras.layers.Activation:
        return operation.activation in (keras.activations.relu,)
    return keras_internals.operation_kind(operation) == "Relu"


def _keeps_range(operation) -> bool:
    kind = keras_internals.operation_kind(operation)
    if kind == "AveragePool":  # Of one point: it leaves out rows and columns.
        return np.max(operation.pool_size) == 1
    return type(operation) in _KEEPING or kind in _KEEPING_KINDS
