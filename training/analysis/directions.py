"""Directions in the space of weights, and lengths along them."""

import keras
import numpy as np

from layers import keras_internals

_SMALLEST = 1e-10  # Added to the norm of a filter before the division.


def output_axes(model: keras.Model) -> dict[int, tuple[int, ...]]:
    """Returns, by the `id` of a weight, the axes that number the filters of it.

    A filter is what makes one output: the last axis of kernels in Keras' layout, and of
    transposed convolutions the last but one; of depthwise convolutions each pair of
    channel and multiplier.

    Args:
        model: Keras model.
    """
    transposed = (
        keras.layers.Conv1DTranspose,
        keras.layers.Conv2DTranspose,
        keras.layers.Conv3DTranspose,
    )
    depthwise = keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D
    separable = keras.layers.SeparableConv1D, keras.layers.SeparableConv2D
    found = {}
    for layer in keras_internals.flat_layers(model):
        if isinstance(layer, transposed):
            found[id(layer.kernel)] = (-2,)
        elif isinstance(layer, depthwise):
            found[id(layer.kernel)] = (-2, -1)
        elif isinstance(layer, separable):
            found[id(layer.depthwise_kernel)] = (-2, -1)
    return found


def filter_normalized(model: keras.Model, seed: int, number: int) -> list[np.ndarray]:
    """Returns a random direction in which each filter is as long as that of the model.

    It is Gaussian, and zero for weights with one axis, biases and the scales of
    normalizations, and for those that a plain network does not have, such as the
    deviations of Gaussian weights. Models of equal shapes have the same direction but
    for the lengths of their filters.

    Args:
        model: Keras model.
        seed: Seed of all directions.
        number: The number of the direction.

    Returns:
        An array for each trained variable.

    Reference:
        [Visualizing the Loss Landscape of Neural Nets](
        https://arxiv.org/abs/1712.09913) (Li et al., 2018), section 4.
    """
    rng, axes = np.random.default_rng((seed, number)), output_axes(model)
    fixed = {
        id(getattr(layer, name))
        for layer in keras_internals.flat_layers(model)
        for name in getattr(layer, "optional_weights", ())
        if getattr(layer, name, None) is not None
    }
    found = []
    for variable in model.trainable_variables:
        weight = keras.ops.convert_to_numpy(variable)
        drawn = rng.normal(size=weight.shape).astype(weight.dtype)
        if weight.ndim < 2 or id(variable) in fixed:
            found.append(np.zeros_like(weight))
            continue
        numbering = {axis % weight.ndim for axis in axes.get(id(variable), (-1,))}
        inside = tuple(axis for axis in range(weight.ndim) if axis not in numbering)
        lengths = [
            np.sqrt(np.sum(np.square(x), axis=inside, keepdims=True))
            for x in (weight, drawn)
        ]
        found.append(drawn * lengths[0] / (lengths[1] + _SMALLEST))
    return found


def moved(weights, steps, directions) -> list[np.ndarray]:
    """Returns weights plus a multiple of each direction.

    Args:
        weights: List of arrays.
        steps: The multiples.
        directions: As many lists of arrays.
    """
    return [
        weight
        + sum(np.asarray(t, x.dtype) * x for t, x in zip(steps, own, strict=True))
        for weight, *own in zip(weights, *directions, strict=True)
    ]


def check_alike(first: keras.Model, second: keras.Model):
    """Checks that two models have the same weights but for their values.

    Raises:
        ValueError: If one has others, of which the first is named.
    """
    pairs = [
        [
            (variable.path, tuple(variable.shape))
            for variable in (*model.trainable_variables, *_statistics(model))
        ]
        for model in (first, second)
    ]
    for ours, theirs in zip(*pairs, strict=False):
        if ours[1] != theirs[1]:
            raise ValueError(
                "Two trainings of one architecture are compared weight by weight, and "
                f"these have others: '{first.name}' has '{ours[0]}' of shape {ours[1]} "
                f"where '{second.name}' has '{theirs[0]}' of shape {theirs[1]}."
            )
    if len(pairs[0]) != len(pairs[1]):
        raise ValueError(
            "Two trainings of one architecture are compared weight by weight, and "
            f"these have others: '{first.name}' has {len(pairs[0])} of them and "
            f"'{second.name}' {len(pairs[1])}."
        )


def _statistics(model):
    return [
        variable
        for variable in model.non_trainable_variables
        if keras.backend.is_float_dtype(variable.dtype)
    ]
