"""Networks rewritten to predict faster: folded normalizations, and half precision."""

import math

import keras
import numpy as np
from keras import ops

import layers
from layers import keras_internals
from layers.checks import check_choice
from zoo import rewriting
from zoo.classifier import classes_of, named
from zoo.posterior.graph_split import Step, Tracer

PRECISIONS = ("float32", "bfloat16")

# Layers whose output is linear in kernel and bias, channel by channel.
_LINEAR = (
    *rewriting.CONVOLUTIONS,
    *rewriting.DENSE,
    keras.layers.Conv1D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)


def fold(
    model: keras.Model, precision: str = "float32", keeps_borders: bool = False
) -> keras.Model:
    """Returns a network of the same predictions that takes less time for them.

    Each batch normalization behind a convolution or a dense layer becomes a part of it:

        kernel * gamma / sqrt(variance + epsilon)
        beta + (bias - mean) * gamma / sqrt(variance + epsilon)

    with the moving statistics, as in every prediction. One stays as it is whose input
    has other uses, or comes from a layer that draws its kernel, bounds its norm or is
    called twice.

    With `precision="bfloat16"` convolutions, and what lies between them, compute in
    bfloat16, with sums of float32. What comes before the first of them, which scales
    pixels, the features of an image and the layer of the logits stay in float32, and so
    do layers that are not of Keras or this package.

    Random layers keep their names, so in a `layers.stream` they draw what those of the
    model draw. Models inside of the model are taken apart. The result is for
    predictions. The model stays as it is; layers that are not of Keras or this package
    are in both.

    Args:
        model: A functional Keras model of one input and one output.
        precision: `"float32"` or `"bfloat16"`.
        keeps_borders: Whether mirrored borders of max-poolings stay, which otherwise
            become infinities below zero; a file in integers could not hold those.

    Returns:
        A model from the same inputs to the same outputs, up to rounding.

    Raises:
        ValueError: If the model is not functional or has masks, or no layer of it could
            compute in bfloat16.

    Example:

    >>> import zoo
    >>> model = zoo.build("resnet20", (32, 32, 3), num_classes=10)
    >>> len(model.layers), len(fold(model).layers)
    (84, 65)

    Reference:
        [Quantization and Training of Neural Networks](https://arxiv.org/abs/1712.05877)
        (Jacob et al., 2018), Eq. 14.
    """
    graph, half = _planned(model, precision)
    folding = _Folding(graph, half, keeps_borders)
    return named(folding.model(model.name), classes_of(model))


def check(model: keras.Model, precision: str = "float32"):
    """Raises the errors of `fold`, without making a network."""
    _planned(model, precision)


def _planned(model, precision):
    """Returns the graph of a model, and its steps that will compute in bfloat16."""
    check_choice(precision, "precision", PRECISIONS)
    graph = Tracer(model)
    if not graph.is_taken_apart:
        raise ValueError(
            f"The model '{model.name}' cannot be rewritten: it is not functional, has "
            "masks, or has several inputs or outputs. Received: "
            f"precision={precision}"
        )
    half = _half_precision(graph) if precision == "bfloat16" else set()
    if precision == "bfloat16" and not half:
        raise ValueError(
            f"The model '{model.name}' has no layers that could compute in bfloat16: "
            "those of Keras and this package can, but for the first scaling and the "
            f"last layer. Received: precision={precision}"
        )
    return graph, half


class _Folding:
    """What is called in place of each step of a graph."""

    def __init__(self, graph: Tracer, half: set, keeps_borders: bool):
        self.graph, self.half, self.keeps_borders = graph, half, keeps_borders
        self.norms = _folds(graph)  # By the layer that each is folded into.
        self.copies = rewriting.Copies()

    def model(self, name) -> keras.Model:
        gone = set(self.norms.values())

        def visit(step, given):
            if step.operation is None or step.operation in gone:
                return given
            return step.run(given, self._operation(step))

        made = rewriting.rewritten(self.graph, name, visit)
        for old, new in self.copies.made.items():
            _set_weights(new, _folded_weights(old, self.norms.get(old)))
        return made

    def _operation(self, step):
        """Returns what is called in place of a layer or another operation."""
        old = step.operation
        if not self.keeps_borders and _is_of_windows(step, self.graph):
            # Mirrored values are never the largest by themselves; nor is this one,
            # which takes a tenth of the time.
            widths = keras_internals.symmetric_padding(old)
            return lambda x, **_: ops.pad(x, widths, constant_values=-math.inf)
        changes = {}
        if step in self.half:
            changes["dtype"] = _policy(old)
        if old in self.norms:
            changes["use_bias"] = True
        return self.copies.of(old, _type_of(old), **changes)


def _is_of_windows(step, graph) -> bool:
    """Returns whether a step mirrors borders for max-poolings that see what it does."""
    widths = keras_internals.symmetric_padding(step.operation)
    uses = [s for s in graph.steps if not set(step.outputs).isdisjoint(s.inputs)]
    is_output = graph.output in step.outputs
    return bool(widths and uses and not is_output) and all(
        type(use.operation) is keras.layers.MaxPooling2D
        and use.operation.padding == "valid"
        and use.operation.data_format == "channels_last"
        and min(use.operation.pool_size) >= 2 * max(map(max, widths))
        for use in uses
    )


def _type_of(layer):
    is_plain = type(layer) in (keras.layers.Conv2D, layers.GroupedConv2D)
    return layers.FusedConv2D if is_plain else type(layer)


def _policy(layer) -> str:
    # Kernels in bfloat16 need no cast. Statistics and variances need the digits.
    return "bfloat16" if type(layer) in _LINEAR else "mixed_bfloat16"


def _half_precision(graph) -> set[Step]:
    """Returns the steps that compute in bfloat16; see `fold`."""
    steps = [step for step in graph.steps if step.operation is not None]
    kernels = {step for step in steps if _has_kernel(step.operation)}
    behind, before = _reached(graph.steps, kernels), _reaching(graph.steps, kernels)
    last = {step for step in kernels if step not in before}
    to_others = _reaching(graph.steps, kernels - last)
    half = set()
    for step in steps:
        is_inside = step in before and (step in kernels or step in behind)
        shapes = [graph.tensors[place].shape for place in step.outputs]
        is_feature = step not in kernels | to_others and all(
            len(shape) == 2 for shape in shapes
        )
        if is_inside and not is_feature and rewriting.can_change(step.operation):
            half.add(step)
    return half


def _has_kernel(operation):
    return isinstance(operation, keras.layers.Layer) and any(
        len(weight.shape) > 1 for weight in operation.weights
    )


def _reached(steps, starts) -> set[Step]:
    """Returns the steps behind some others."""
    places, found = set(), set()
    for step in steps:
        if not places.isdisjoint(step.inputs):
            found.add(step)
        if step in starts or step in found:
            places.update(step.outputs)
    return found


def _reaching(steps, ends) -> set[Step]:
    """Returns the steps before some others."""
    places, found = set(), set()
    for step in reversed(steps):
        if not places.isdisjoint(step.outputs):
            found.add(step)
        if step in ends or step in found:
            places.update(step.inputs)
    return found


def _folds(graph) -> dict:
    """Returns normalizations that can be folded, by the layer before each of them."""
    by_output = {place: step for step in graph.steps for place in step.outputs}
    uses = [place for step in graph.steps for place in step.inputs] + [graph.output]
    calls = [step.operation for step in graph.steps if step.operation is not None]
    found = {}
    for step in graph.steps:
        if type(step.operation) not in rewriting.NORMALIZATIONS:
            continue
        # Between them may be the border of a model inside, where nothing happens.
        (place,), is_alone = step.inputs, True
        while (before := by_output.get(place)) is not None:
            is_alone = is_alone and uses.count(place) == 1
            if before.operation is not None or len(before.inputs) != 1:
                break
            (place,) = before.inputs
        layer = before.operation if before is not None else None
        once = calls.count(layer) == calls.count(step.operation) == 1
        rank = len(graph.tensors[place].shape)
        if is_alone and once and _fits(layer, step.operation, rank):
            found[layer] = step.operation
    return found


def _fits(layer, norm, rank) -> bool:
    if type(layer) not in _LINEAR:
        return False
    if layer.activation not in (None, keras.activations.linear):
        return False
    is_last = getattr(layer, "data_format", "channels_last") == "channels_last"
    return norm.axis % rank == (rank - 1 if is_last else 1)


def _folded_weights(layer, norm) -> list[np.ndarray]:
    """Returns the weights of a layer after those of a normalization are in them."""
    if norm is None:
        return [ops.convert_to_numpy(weight) for weight in layer.weights]
    mean, variance = _array(norm.moving_mean), _array(norm.moving_variance)
    scale = 1 / np.sqrt(variance + norm.epsilon)
    scale = scale if norm.gamma is None else scale * _array(norm.gamma)
    kernel, bias = _array(layer.kernel), -mean
    if layer.use_bias:
        bias = bias + _array(layer.bias)
    bias = bias * scale
    bias = bias if norm.beta is None else bias + _array(norm.beta)
    # The outputs of a depthwise convolution are two axes of its kernel.
    axes = kernel.shape[-2:] if _is_depthwise(layer) else kernel.shape[-1:]
    return [kernel * scale.reshape(axes), bias]


def _is_depthwise(layer):
    return hasattr(layer, "depth_multiplier")


def _array(weight):
    return ops.convert_to_numpy(weight).astype("float64")


def _set_weights(layer, values):
    for weight, value in zip(layer.weights, values, strict=True):
        tensor = ops.cast(ops.convert_to_tensor(value), weight.dtype)
        keras_internals.set_value(weight, tensor)
    if hasattr(layer, "finalize_state"):  # Computes from weights what calls use.
        layer.finalize_state()
