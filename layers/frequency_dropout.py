"""Frequency dropout: random filters of feature maps, in training."""

from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from layers import random, replicas
from layers.checks import (
    check_channels_last,
    check_choice,
    check_count,
    check_filter,
    is_number,
)
from layers.streams import RandomLayer

GABOR_WAVELENGTH = 3.0  # In points, along the width.
# Of each kind of filter, how often a map is left as it is, and the range of scales.
DEFAULT_FILTERS = {
    "gaussian": (0.4, 0.2, 1.0),
    "log": (0.5, 0.2, 3.0),
    "gabor": (0.8, 0.0, 1.0),
}
_SMALLEST_SCALE = 1e-3
_LEAST_SUM = 0.1  # A filter is divided by its sum.


def _grid(size):
    """Returns squared distances from the center, and columns, as `(size, size, 1)`."""
    places = np.arange(size, dtype="float32") - size // 2
    squares = places[:, None] ** 2 + places[None] ** 2
    columns = np.broadcast_to(places[None], squares.shape)
    return squares[..., None], columns[..., None]


def _gaussian(size, scale):
    return ops.exp(-ops.divide(_grid(size)[0], 2 * ops.square(scale)))


def _laplacian_of_gaussian(size, scale):
    ratio = ops.divide(_grid(size)[0], 2 * ops.square(scale))
    return (1 - ratio) * ops.exp(-ratio)


def _normalized(function):
    def kernel(size, scale):
        values = function(size, scale)
        return values / ops.sum(values, axis=(0, 1))

    return kernel


def _gabor(size, scale):
    _, columns = _grid(size)
    wave = np.cos(2 * np.pi * columns / GABOR_WAVELENGTH)
    envelope = ops.exp(-ops.divide(np.square(columns), 2 * ops.square(scale)))
    return ops.multiply(wave, envelope)


# From a size and scales of shape `(channels,)` to kernels `(size, size, channels)`.
KERNELS = {
    "gaussian": _normalized(_gaussian),
    "log": _normalized(_laplacian_of_gaussian),
    "gabor": _gabor,
}


@keras.saving.register_keras_serializable(package="layers")
class FrequencyDropout(RandomLayer):
    """Filters each map by a random filter in training; the identity in inference.

    A network then cannot rely on frequencies of one kind. For each channel a kind of
    filter is drawn, all kinds equally often, and then whether the map stays as it is,
    and the scale `s` of the filter, uniform in the range of its kind. With `r` the
    distance from the center of the kernel and `c` that along the width,

        "gaussian"  exp(-r**2 / (2 * s**2))
        "log"       (1 - r**2 / (2 * s**2)) * exp(-r**2 / (2 * s**2))
        "gabor"     exp(-c**2 / (2 * s**2)) * cos(2 * pi * c / 3)

    the first two divided by their sums, and zeros around the map. All examples of a
    batch have the same filters, and each step has others. The authors draw one kind for
    all maps, once in an epoch, and their code filters in evaluations too; here these
    are deterministic.

    Place it behind a convolution, before its normalization.

    Args:
        kernel_size: Side of the filters, odd. Where a Laplacian of a Gaussian sums to
            nearly zero, as it does from 5 on, it cannot be divided by its sum.
        filters: Of each kind of filter that is drawn the probability that a map stays
            as it is, and the smallest and the largest scale, in points. By default the
            published ones for images of 32 x 32 pixels: `"gaussian": (0.4, 0.2, 1.0)`,
            `"log": (0.5, 0.2, 3.0)` and `"gabor": (0.8, 0.0, 1.0)`.
        seed: Makes the filters reproducible; see `layers.RandomLayer`.

    Input shape: `(batch, height, width, channels)`, with sides of `kernel_size` at
        least.

    Output shape: Same as the input.

    Example:

    >>> layer, x = FrequencyDropout(seed=0), keras.random.normal((2, 8, 8, 4))
    >>> bool(keras.ops.all(layer(x) == x))
    True
    >>> bool(keras.ops.all(layer(x, training=True) == x))
    False

    Reference:
        [Frequency Dropout: Feature-Level Regularization via Randomized Filtering](
        https://arxiv.org/abs/2209.09844) (Islam and Glocker, 2022).
    """

    stochastic = False

    def __init__(
        self,
        kernel_size: int = 3,
        filters: Mapping[str, tuple[float, float, float]] | None = None,
        seed: int | None = None,
        **kwargs,
    ):
        check_channels_last(kwargs)
        super().__init__(seed, **kwargs)
        self.kernel_size = _check_kernel_size(kernel_size)
        self.filters = _check_filters(
            DEFAULT_FILTERS if filters is None else filters, self.kernel_size
        )
        self.built = True

    def call(self, inputs, training=False):
        check_filter(self.kernel_size, "kernel_size", inputs.shape)
        if not training:
            return inputs
        kernels = ops.cast(self.draw_kernels(inputs.shape[-1]), inputs.dtype)

        def convolve(x):
            return ops.depthwise_conv(
                x, kernels[..., None], padding="same", data_format="channels_last"
            )

        return replicas.filled(convolve, inputs)

    def draw_kernels(self, channels: int):
        """Draws a filter for each channel.

        Args:
            channels: The number of channels.

        Returns:
            Tensor of shape `(kernel_size, kernel_size, channels)`, in float32.
        """
        drawn = random.uniform(self.next_key(), (3, channels))
        kind, kept, place = drawn[0], drawn[1], drawn[2]
        size, count = self.kernel_size, len(self.filters)
        center = (_grid(size)[0] == 0).astype("float32")
        kernels = ops.multiply(center, ops.ones_like(place))
        for number, (name, row) in enumerate(self.filters.items()):
            rate, low, high = row
            scale = ops.maximum(low + (high - low) * place, _SMALLEST_SCALE)
            is_it = ops.equal(ops.floor(kind * count), number)
            filtered = ops.logical_and(is_it, kept >= rate)
            kernels = ops.where(filtered, KERNELS[name](size, scale), kernels)
        return kernels

    def compute_output_shape(self, input_shape):
        check_filter(self.kernel_size, "kernel_size", input_shape)
        return input_shape

    def get_config(self):
        filters = {name: list(row) for name, row in self.filters.items()}
        config = {"kernel_size": self.kernel_size, "filters": filters}
        return {**super().get_config(), **config}


def _check_kernel_size(kernel_size):
    if check_count(kernel_size, "kernel_size") % 2 == 0:
        raise ValueError(
            "`kernel_size` must be odd, so that a filter has a center. Received: "
            f"kernel_size={kernel_size}"
        )
    return int(kernel_size)


def _check_filters(filters, kernel_size):
    if not isinstance(filters, Mapping) or not filters:
        raise ValueError(
            "`filters` are a rate and two scales for each kind, such as "
            f'{{"gaussian": (0.4, 0.2, 1.0)}}. Received: filters={filters}'
        )
    for name, row in filters.items():
        check_choice(name, "filters", KERNELS)
        if not _is_row(row):
            raise ValueError(
                "`filters` have for each kind the probability that a map stays as it "
                "is, in [0, 1], and the smallest and the largest scale, positive and "
                f"finite. Received: filters={filters}"
            )
    if "log" in filters:
        _check_sums(*filters["log"][1:], kernel_size)
    return {name: tuple(map(float, row)) for name, row in filters.items()}


def _is_row(row):
    if not isinstance(row, (tuple, list)) or len(row) != 3:
        return False
    if not all(is_number(value) and np.isfinite(value) for value in row):
        return False
    rate, low, high = row
    return 0 <= rate <= 1 and 0 <= low <= high and high > 0


def _check_sums(low, high, kernel_size):
    """Raises a ValueError where a Laplacian of a Gaussian sums to nearly zero."""
    scales = np.maximum(np.linspace(low, high, 256), _SMALLEST_SCALE)
    ratio = _grid(kernel_size)[0] / (2 * scales**2)
    least = ((1 - ratio) * np.exp(-ratio)).sum(axis=(0, 1)).min()
    if least < _LEAST_SUM:
        raise ValueError(
            "A Laplacian of a Gaussian is divided by its sum, which nearly vanishes at "
            "some of these scales; take other scales or a smaller `kernel_size`. "
            f"Received: kernel_size={kernel_size}, scales from {low} to {high}"
        )
