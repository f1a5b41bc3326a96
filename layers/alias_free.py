"""Rectifiers and max poolings that create less aliasing, from first principles.

A pointwise function and a maximum make frequencies that the grid of a map cannot hold.
These layers compute them on a grid of `OVERSAMPLING` times the points, between two
low-pass filters. Each step but the pointwise one is a small matrix along each axis, so
that it mirrors maps at their borders and keeps constants.
"""

import functools
import math

import keras
import numpy as np
from keras import ops

from layers import replicas
from layers.checks import check_channels_last, check_count, check_filter, is_number
from layers.frequency import resampled

OVERSAMPLING = 2
_REACH = 3  # The longest filter has so many taps on each side of its center.
_OFFSETS = np.arange(-_REACH, _REACH + 1)


def num_taps(side: int) -> int:
    """Returns the length of filters for maps of a side: 3, 5, or from 23 on 7."""
    return 2 * min(max((side + 1) // 8, 1), _REACH) + 1


def kaiser(cutoff: float, num_taps: int) -> np.ndarray:
    """Returns a low-pass filter, a sinc in a window of Kaiser, with the sum 1.

    Args:
        cutoff: The frequency from which it holds back, in cycles per point, up to 0.5,
            which all pass. The transition is `1 - 2 * cutoff` wide.
        num_taps: The number of coefficients, odd.

    Reference:
        [Nonrecursive Digital Filter Design Using the I0-Sinh Window Function](
        https://ieeexplore.ieee.org/document/1083806) (Kaiser, 1974).
    """
    places = np.arange(num_taps) - (num_taps - 1) / 2
    if cutoff == 0.5:
        return (places == 0).astype("float64")
    attenuation = 2.285 * (num_taps - 1) * np.pi * (2 - 4 * cutoff) + 7.95
    beta = 0.1102 * (attenuation - 8.7)
    if attenuation <= 50:
        above = max(attenuation - 21, 0.0)
        beta = 0.5842 * above**0.4 + 0.07886 * above
    taps = np.sinc(2 * cutoff * places) * np.kaiser(num_taps, beta)
    return taps / taps.sum()


@functools.lru_cache(maxsize=64)
def _filters(cutoff):
    """Returns the filters of 3, 5 and 7 taps, with zeros around, as `(3, 7)`."""
    lengths = range(3, 2 * _REACH + 2, 2)
    return np.stack(
        [np.pad(kaiser(cutoff, n), _REACH - n // 2) for n in lengths]
    ).astype("float32")


@functools.lru_cache(maxsize=64)
def _phases(cutoff):
    """Returns the weights of points around each point of a finer grid.

    Returns:
        Array of shape `(3, OVERSAMPLING, 7)`: for each filter and each place between
        two points, the weights of those from three before to three after, with the sum
        1.
    """
    places = np.arange(OVERSAMPLING)[:, None] - OVERSAMPLING * _OFFSETS
    reached = np.abs(places) <= _REACH
    weights = _filters(cutoff)[:, np.where(reached, places, 0) + _REACH] * reached
    return weights / weights.sum(axis=-1, keepdims=True)


def _row(table, side, numeric):
    """Returns the row of a table that is for maps of a side."""
    return numeric.take(table, numeric.clip((side + 1) // 8, 1, 3) - 1, axis=0)


def _matrix(places, weights, size, numeric):
    """Returns the matrix of sums of points, which a row mirrors outside.

    Args:
        places: Array of shape `(rows, taps)`: which points each row sums.
        weights: Array that broadcasts to it.
        size: The number of points.
        numeric: `numpy`, or `keras.ops` where the size is a tensor.
    """
    period = numeric.maximum(2 * size - 2, 1)
    places = places % period
    places = numeric.minimum(places, period - places)[:, :, None]
    hits = numeric.equal(places, numeric.arange(size))
    return numeric.sum(numeric.where(hits, weights[..., None], 0.0), axis=1)


def upsampling(size, cutoff: float):
    """Returns the matrix that puts a row on the finer grid, filtered.

    Args:
        size: The number of points, an integer or a scalar integer tensor.
        cutoff: That of the filter, in cycles per point of the finer grid.

    Returns:
        Matrix of shape `(OVERSAMPLING * size, size)`, whose rows sum to one.
    """
    make = _upsampling if isinstance(size, int) else _upsampling.__wrapped__
    return make(size, cutoff)


@functools.lru_cache(maxsize=256)
def _upsampling(size, cutoff):
    numeric = np if isinstance(size, int) else ops
    rows = numeric.arange(OVERSAMPLING * size)
    weights = _row(_phases(cutoff), size, numeric)
    weights = numeric.take(weights, rows % OVERSAMPLING, axis=0)
    places = (rows // OVERSAMPLING)[:, None] + _OFFSETS.astype("int32")
    return _matrix(places, weights, size, numeric)


def downsampling(size, strides: int, cutoff: float, side):
    """Returns the matrix that filters a row and keeps every so many points.

    Args:
        size: The number of points, an integer or a scalar integer tensor.
        strides: Keeps every such point.
        cutoff: That of the filter, in cycles per point.
        side: The filter is that for maps of this side; as `size`.

    Returns:
        Matrix of shape `(ceil(size / strides), size)`, whose rows sum to one.
    """
    make = _downsampling if isinstance(size, int) else _downsampling.__wrapped__
    return make(size, strides, cutoff, side)


@functools.lru_cache(maxsize=256)
def _downsampling(size, strides, cutoff, side):
    numeric = np if isinstance(size, int) else ops
    rows = numeric.arange(-(-size // strides))
    weights = _row(_filters(cutoff), side, numeric)[None]
    places = (strides * rows)[:, None] + _OFFSETS.astype("int32")
    return _matrix(places, weights, size, numeric)


def raised(x, quantile: float):
    """Adds to each map what makes its quantile zero, if that is negative.

    `x + relu(-q)`, with `q` the quantile of the points of a map.

    Args:
        x: Tensor of shape `(batch, height, width, channels)`.
        quantile: In (0, 1). Between two points it is interpolated.

    Returns:
        Tensor of the same shape.
    """
    _, height, width, channels = ops.shape(x)
    count = height * width
    points = ops.sort(ops.reshape(x, (-1, count, channels)), axis=1)
    if isinstance(count, int):
        low = math.floor(quantile * (count - 1))
        part, high = quantile * (count - 1) - low, min(low + 1, count - 1)
    else:
        place = quantile * ops.cast(count - 1, "float32")
        low = ops.cast(ops.floor(place), "int32")
        part = ops.cast(place - ops.floor(place), x.dtype)
        high = ops.minimum(low + 1, count - 1)
    low, high = (ops.take(points, place, axis=1) for place in (low, high))
    value = low + part * (high - low)
    return x + ops.relu(-value)[:, None, None]


@keras.saving.register_keras_serializable(package="layers")
class QuantileReLU(keras.layers.Layer):
    """A rectifier that changes a bounded part of the points of each map.

    A rectifier makes high frequencies where it cuts. `relu(x + relu(-q))`, with `q` the
    quantile of a map, of one example and one channel, first raises a map that is mostly
    negative, so that no more than that share of its points, and one, is cut. Gradients
    go through the quantile. For a vector, which has no neighbors, it is an ordinary
    rectifier.

    Args:
        quantile: The largest share of points that are cut, in (0, 1).

    Input shape: `(batch, height, width, channels)`, or `(batch, units)`.

    Output shape: Same as the input.

    Example:

    >>> x = keras.ops.reshape(keras.ops.array([-3.0, -2.0, -1.0]), (1, 1, 3, 1))
    >>> keras.ops.convert_to_numpy(QuantileReLU(0.5)(x)).ravel().tolist()
    [0.0, 0.0, 1.0]

    Reference:
        [Aliasing is a Driver of Adversarial Attacks](
        https://arxiv.org/abs/2212.11760) (Rodriguez-Munoz and Torralba, 2022).
    """

    def __init__(self, quantile: float = 0.4, **kwargs):
        check_channels_last(kwargs)
        super().__init__(**kwargs)
        self.quantile = _check_quantile(quantile)
        self.built = True

    def call(self, inputs):
        if len(inputs.shape) == 2:
            return ops.relu(inputs)
        return ops.relu(raised(inputs, self.quantile))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "quantile": self.quantile}


def _check_quantile(quantile):
    if not (is_number(quantile) and 0 < quantile < 1):
        raise ValueError(
            "`quantile` is the largest share of points that are cut and must be "
            f"between 0 and 1. Received: quantile={quantile}"
        )
    return quantile


@keras.saving.register_keras_serializable(package="layers")
class FilteredReLU(QuantileReLU):
    """A rectifier on a finer grid, between two low-pass filters.

    Raised as by `QuantileReLU`, a map is put on a grid of twice the points by a
    low-pass filter, rectified there, and filtered and subsampled to its own size. Both
    filters hold back from an eighth of a cycle per point of the finer grid, half of
    what the map can hold. They have 3, 5 or 7 taps, by the side of the map; the weights
    of each point sum to one, and borders are mirrored. A vector is rectified as it is.

    Args:
        quantile: As `QuantileReLU` has it; None raises nothing.

    Input shape: `(batch, height, width, channels)`, or `(batch, units)`.

    Output shape: Same as the input.

    Example:

    >>> x = keras.random.normal((2, 8, 8, 3))
    >>> tuple(FilteredReLU()(x).shape)
    (2, 8, 8, 3)

    Reference:
        [Aliasing is a Driver of Adversarial Attacks](
        https://arxiv.org/abs/2212.11760) (Rodriguez-Munoz and Torralba, 2022), after
        [Alias-Free Generative Adversarial Networks](
        https://arxiv.org/abs/2106.12423) (Karras et al., 2021).
    """

    cutoff = 1 / (4 * OVERSAMPLING)

    def __init__(self, quantile: float | None = 0.4, **kwargs):
        super().__init__(0.5 if quantile is None else quantile, **kwargs)
        self.quantile = quantile

    def call(self, inputs):
        if len(inputs.shape) == 2:
            return ops.relu(inputs)
        x = inputs if self.quantile is None else raised(inputs, self.quantile)
        sides = ops.shape(x)[1:3]
        x = resampled(x, *(upsampling(side, self.cutoff) for side in sides))
        back = (
            downsampling(OVERSAMPLING * side, OVERSAMPLING, self.cutoff, side)
            for side in sides
        )
        return resampled(ops.relu(x), *back)


@keras.saving.register_keras_serializable(package="layers")
class FilteredMaxPooling2D(keras.layers.Layer):
    """Max pooling of stride 2 on a finer grid, between two low-pass filters.

    A map is put on a grid of twice the points by a low-pass filter, the maximum is
    taken there of windows that cover the same `pool_size` points, around every point,
    and these maxima are filtered and subsampled. With `window = 2 * pool_size - 1`
    points of the finer grid, the filters hold back from `1 / (2 * window)` and `1 / 8`
    of a cycle. They have 3, 5 or 7 taps, by the side of the map that they filter; the
    weights of each point sum to one, and borders are mirrored.

    Args:
        pool_size: Side of the windows, in points of the input.

    Input shape: `(batch, height, width, channels)`, with sides of `pool_size` at least.

    Output shape: `(batch, new_height, new_width, channels)`, of which each side is
        `ceil((side - pool_size + 1) / 2)`.

    Example:

    >>> tuple(FilteredMaxPooling2D(3)(keras.ops.ones((1, 9, 8, 2))).shape)
    (1, 4, 3, 2)

    Reference:
        [Aliasing is a Driver of Adversarial Attacks](
        https://arxiv.org/abs/2212.11760) (Rodriguez-Munoz and Torralba, 2022).
    """

    def __init__(self, pool_size: int = 2, **kwargs):
        check_channels_last(kwargs)
        super().__init__(**kwargs)
        self.pool_size = check_count(pool_size, "pool_size")
        self.built = True

    def call(self, inputs):
        check_filter(self.pool_size, "pool_size", inputs.shape)
        sides = ops.shape(inputs)[1:3]
        window = OVERSAMPLING * (self.pool_size - 1) + 1
        cutoff = 1 / (2 * window)
        x = resampled(inputs, *(upsampling(side, cutoff) for side in sides))
        x = replicas.filled(
            lambda x: ops.max_pool(x, window, 1, "valid", "channels_last"), x
        )
        sides = [OVERSAMPLING * (side - self.pool_size + 1) for side in sides]
        strides = 2 * OVERSAMPLING
        return resampled(
            x, *(downsampling(side, strides, 1 / (2 * strides), side) for side in sides)
        )

    def compute_output_shape(self, input_shape):
        check_filter(self.pool_size, "pool_size", input_shape)
        batch, *sides, channels = input_shape
        sides = [None if n is None else (n - self.pool_size + 2) // 2 for n in sides]
        return (batch, *sides, channels)

    def get_config(self):
        return {**super().get_config(), "pool_size": self.pool_size}
