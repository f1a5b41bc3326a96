"""Subsampling in the frequency domain, as two small matrices."""

import functools

import keras
import numpy as np
from keras import ops

from layers.checks import check_channels_last, check_count


def resampled(x, rows, columns):
    """Multiplies maps by a matrix along their height, and by one along their width.

    Args:
        x: Tensor of shape `(batch, height, width, channels)`.
        rows: Matrix of shape `(new_height, height)`.
        columns: Matrix of shape `(new_width, width)`.

    Returns:
        Tensor of shape `(batch, new_height, new_width, channels)`.
    """
    _, height, width, channels = ops.shape(x)
    rows, columns = ops.cast(rows, x.dtype), ops.cast(columns, x.dtype)
    new_height, new_width = ops.shape(rows)[0], ops.shape(columns)[0]
    # The width first, and as one batch: a third faster on a CPU than the other way.
    x = ops.matmul(columns, ops.reshape(x, (-1, width, channels)))
    x = ops.matmul(rows, ops.reshape(x, (-1, height, new_width * channels)))
    return ops.reshape(x, (-1, new_height, new_width, channels))


def low_cut(size, strides: int):
    """Returns the matrix that subsamples a row by its lowest frequencies alone.

    With `count = ceil(size / strides)` it is the discrete Fourier transform of the row,
    its frequencies from `-count / 2` to `count / 2`, both included, and the transform
    back to `count` points:

        matrix[i, n] = sum(weight[k] * cos(2 * pi * k * (i / count - n / size))) / size

    over `k = 0, ..., count // 2`, with `weight[k] = 2`, but 1 for `k = 0` and for
    `k = count / 2`. Its rows sum to one at every size. That the frequencies are as many
    on both sides of zero keeps the matrix real, and constants what they are.

    Args:
        size: The number of points, an integer or a scalar integer tensor.
        strides: How many times fewer points the result has.

    Returns:
        Matrix of shape `(count, size)`, in float32.
    """
    make = _low_cut if isinstance(size, int) else _low_cut.__wrapped__
    return make(size, strides)


@functools.lru_cache(maxsize=256)
def _low_cut(size, strides):
    numeric = np if isinstance(size, int) else ops
    count = -(-size // strides)
    waves = numeric.arange(count // 2 + 1)
    single = numeric.logical_or(
        numeric.equal(waves, 0), numeric.equal(2 * waves, count)
    )
    weights = numeric.where(single, 1.0, 2.0)
    before, after = _angles(size, waves, numeric), _angles(count, waves, numeric)
    matrix = sum(
        numeric.matmul(wave(after) * weights, numeric.transpose(wave(before)))
        for wave in (numeric.cos, numeric.sin)
    )
    if numeric is np:
        return (matrix / size).astype("float32")
    return matrix / ops.cast(size, "float32")


def _angles(count, waves, numeric):
    """Returns `2 * pi * k * n / count` for points `n` and waves `k`."""
    steps = numeric.arange(count)[:, None] * waves % count  # Whole, so exact.
    if numeric is np:
        return 2 * np.pi * steps / count
    return ops.cast(steps, "float32") * (2 * np.pi) / ops.cast(count, "float32")


@keras.saving.register_keras_serializable(package="layers")
class FLCPooling2D(keras.layers.Layer):
    """Subsamples by frequency low-cut pooling: without any aliasing.

    The layer keeps the low frequencies of a map that a map of the smaller size can
    hold, unchanged, and nothing of the others. A map without the others is subsampled
    exactly, `x[:, ::2, ::2]`. Constants stay what they are, and a shift of the input by
    a stride, with what leaves the map coming in at the other side, shifts the output by
    one point. There is no parameter to choose.

    It is computed as `rows @ x @ columns.T`, with the two matrices of
    `layers.frequency.low_cut`, so there is no Fourier transform in a graph or an
    export. Where a side is no multiple of the strides, outputs lie at equal distances,
    slightly less than the strides. The authors' code crops the spectrum of a side that
    is even and no multiple of four off its center, and so gives a constant the mean
    zero there; this layer agrees with it at multiples of four, but in the one frequency
    that is the highest in both directions.

    Place it *before* the layer that had the stride, and in place of a max pooling.

    Args:
        strides: How many times smaller the sides become.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(batch, ceil(height / strides), ceil(width / strides), channels)`.

    Example:

    >>> x = keras.ops.ones((1, 14, 14, 3))  # 14 is no multiple of 4.
    >>> y = FLCPooling2D()(x)
    >>> tuple(y.shape), bool(keras.ops.max(keras.ops.abs(y - 1)) < 1e-6)
    ((1, 7, 7, 3), True)

    Reference:
        [FrequencyLowCut Pooling - Plug & Play against Catastrophic Overfitting](
        https://arxiv.org/abs/2204.00491) (Grabinski et al., 2022).
    """

    def __init__(self, strides: int = 2, **kwargs):
        check_channels_last(kwargs)
        super().__init__(**kwargs)
        self.strides = check_count(strides, "strides")
        self.built = True

    def call(self, inputs):
        sides = ops.shape(inputs)[1:3]
        return resampled(inputs, *(low_cut(side, self.strides) for side in sides))

    def compute_output_shape(self, input_shape):
        batch, *sides, channels = input_shape
        sides = [None if n is None else -(-n // self.strides) for n in sides]
        return (batch, *sides, channels)

    def get_config(self):
        return {**super().get_config(), "strides": self.strides}
