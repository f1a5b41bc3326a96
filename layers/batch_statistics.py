"""Mean and variance of what batch normalizations are given, batch by batch."""

import contextlib
import functools
import math

import keras
import numpy as np
from keras import ops

from layers import keras_internals


def batch_normalizations(model: keras.Model) -> list:
    """Returns the batch normalizations of a model, those in nested models too."""
    kind = keras.layers.BatchNormalization
    return [
        layer for layer in keras_internals.flat_layers(model) if isinstance(layer, kind)
    ]


@contextlib.contextmanager
def measuring(norms, noted):
    """Makes layers normalize each batch by its own moments, and note these.

    Args:
        norms: Batch normalizations, which are called inside.
        noted: A list for each, which gets a number of values and their mean and
            variance at each call.
    """
    try:
        for layer, own in zip(norms, noted, strict=True):
            layer.call = functools.partial(_call, layer, own)
        yield
    finally:
        for layer in norms:
            del layer.call


def _call(layer, noted, inputs, training=None, mask=None):
    if hasattr(layer, "moments"):  # Those of each member.
        count, mean, variance = layer.moments(inputs)
        noted.append((count, mean, variance))
        return layer.normalized(inputs, mean, variance)
    dtype = keras.backend.result_type(inputs.dtype, "float32")
    x = ops.cast(inputs, dtype)
    axes = [i for i in range(len(x.shape)) if i != layer.axis % len(x.shape)]
    mean, variance = ops.moments(x, axes)
    noted.append((math.prod(x.shape[i] for i in axes), mean, variance))
    beta, gamma = (
        weight if weight is None else ops.cast(weight, dtype)
        for weight in (layer.beta, layer.gamma)
    )
    x = ops.batch_normalization(
        x, mean, variance, layer.axis, beta, gamma, layer.epsilon
    )
    return ops.cast(x, layer.compute_dtype)


def pooled(layer, noted) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and variance of all values from the moments of disjoint parts.

    Args:
        layer: The batch normalization.
        noted: What `measuring` notes, as arrays.

    Raises:
        ValueError: If there are no parts, as the layer was not called, or a member of
            it was not.
        FloatingPointError: If one of the two is not finite.
    """
    if not noted:
        raise ValueError(f"The model has a layer '{layer.name}' that it does not call.")
    counts, means, variances = (
        np.array(x, "float64") for x in zip(*noted, strict=True)
    )
    if counts.ndim > 1:  # Of each member.
        if not counts.sum(axis=0).all():
            raise ValueError(
                f"A member of '{layer.name}' has no image; give more of them."
            )
        counts = np.broadcast_to(counts, means.shape)
    mean = np.average(means, 0, counts)
    variance = np.average(variances + (means - mean) ** 2, 0, counts)
    if not np.isfinite(mean + variance).all():
        raise FloatingPointError(f"The statistics of '{layer.name}' are not finite.")
    return mean, variance
