"""Separable blur filters: the only place that blurs."""

import contextlib
import contextvars
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from layers import replicas
from layers.checks import check_channels_last, check_count, check_padding
from layers.pooling import subsampled

PADDINGS = ("same", "full", "reflect", "valid")
# Whether blurs that pad are convolutions, and what rounds the taps of all blurs.
_CONVOLVED = contextvars.ContextVar("convolved", default=(False, None))


@contextlib.contextmanager
def convolved(rounded: Callable | None = None):
    """Makes each blur inside that pads with zeros one depthwise convolution.

    For graphs that are exported to LiteRT: its delegates for graphics processors take
    zeros before a pooling for no part of its windows, and on processors its depthwise
    convolutions are the faster ones. Elsewhere poolings are.

    Args:
        rounded: From a kernel to that which integers hold. With it all blurs are
            convolutions, as what a pooling of integers takes behind a padding would be
            clipped to the range of what it gives, and then averaged.
    """
    token = _CONVOLVED.set((True, rounded))
    try:
        yield
    finally:
        _CONVOLVED.reset(token)


def check_taps(taps: Sequence[float]) -> tuple[float, ...]:
    """Returns the 1-D filter as a tuple.

    Args:
        taps: The coefficients.

    Returns:
        The same, as Python numbers.

    Raises:
        ValueError: If there are none or their sum is not positive.
    """
    array = np.atleast_1d(taps)
    taps, real = tuple(array.tolist()), array.dtype.kind in "iuf"
    if not real or array.ndim > 1 or not np.isfinite(array).all() or np.sum(array) <= 0:
        raise ValueError(
            "`taps` are the coefficients of a 1-D filter with a positive sum, for "
            f"example (1, 2, 1). Received: taps={taps}"
        )
    return taps


def _amounts(num_taps: int, padding: str) -> tuple[int, int]:
    extra = num_taps - 1
    if padding == "full":
        return extra, extra
    return (0, 0) if padding == "valid" else (extra // 2, extra - extra // 2)


def _reflect(x, amounts: tuple[int, int]):
    """Reflects without repeating the border, also where a map is smaller than that."""
    sizes = ops.shape(x)[1:3]  # Tensors where TensorFlow does not know them yet.
    if all(s is None or isinstance(s, int) and s > max(amounts) for s in sizes):
        return ops.pad(x, ((0, 0), amounts, amounts, (0, 0)), mode="reflect")
    for axis, size in enumerate(sizes, 1):
        period = ops.maximum(2 * size - 2, 1)
        row = ops.arange(-amounts[0], size + amounts[1], dtype="int32") % period
        x = ops.take(x, ops.minimum(row, period - row), axis=axis)
    return x


def _is_binomial(taps: tuple[float, ...]) -> bool:
    row = np.ones(1)
    for _ in taps[1:]:
        row = np.convolve(row, (1, 1))
    return bool(np.allclose(taps, row * taps[0]))


def _pool(x, size: int, strides: int = 1):
    return ops.average_pool(x, size, strides, "valid", "channels_last")


def _filter(x, taps: tuple[float, ...], strides: int):
    # A pooling is several times cheaper than a depthwise convolution, and a binomial
    # filter is a chain of averages of two.
    if _CONVOLVED.get()[1]:
        return _convolve(x, taps, strides, "valid")
    if len(set(taps)) == 1:
        return _pool(x, len(taps), strides)
    if _is_binomial(taps):
        for _ in taps[2:]:
            x = _pool(x, 2)
        return _pool(x, 2, strides)
    return _convolve(x, taps, strides, "valid")


def _convolve(x, taps: tuple[float, ...], strides: int, padding: str):
    kernel = np.outer(taps, taps) / sum(taps) ** 2
    kernel = np.repeat(kernel[:, :, None, None], x.shape[-1], axis=2)
    if rounded := _CONVOLVED.get()[1]:
        kernel = rounded(kernel)
    kernel = ops.cast(kernel, x.dtype)

    def convolve(x):
        return ops.depthwise_conv(
            x, kernel, strides, padding, data_format="channels_last"
        )

    return replicas.filled(convolve, x)


def blur(x, taps: Sequence[float] = (1, 1), padding: str = "same", strides: int = 1):
    """Convolves every channel with `outer(taps, taps) / sum(taps)**2`.

    Args:
        x: Tensor of shape `(batch, height, width, channels)`.
        taps: The 1-D filter, of `m` coefficients.
        padding: `"same"` keeps the size with `(m - 1) // 2` zeros before and
            `m // 2` after; `"full"` has `m - 1` zeros on each side, so the size grows
            by `m - 1`; in both, zeros count. `"reflect"` has the amounts of `"same"`
            and mirrors the map; `"valid"` has no padding.
        strides: Keeps every such row and column.

    Returns:
        The blurred tensor.
    """
    taps = check_taps(taps)
    amounts = _amounts(len(taps), check_padding(padding, PADDINGS))
    if padding == "reflect":
        x = replicas.filled(lambda rows: _reflect(rows, amounts), x)
    elif any(amounts) and _CONVOLVED.get()[0]:
        # With its own zeros, where they are as many.
        if padding == "same" and strides == 1:
            return _convolve(x, taps, strides, padding)
        x = ops.pad(x, ((0, 0), amounts, amounts, (0, 0)))
        return _convolve(x, taps, strides, "valid")
    elif any(amounts):
        x = ops.pad(x, ((0, 0), amounts, amounts, (0, 0)))
    return _filter(x, taps, strides) if len(taps) > 1 else subsampled(x, strides)


def sums(x, taps: tuple[float, ...], padding: str, transposed: bool = False):
    """Computes `blur` by sums of shifted maps, which XLA fuses with what is around.

    Args:
        x: Tensor of shape `(batch, height, width, channels)`.
        taps: Coefficients of the 1-D filter of `blur`.
        padding: `"same"`, `"full"` or `"valid"`.
        transposed: Whether to compute the transposed map of the blur, which takes a
            gradient of its outputs to that of its inputs.

    Returns:
        The blurred tensor.
    """
    extra, amounts = len(taps) - 1, _amounts(len(taps), padding)
    if transposed:
        taps, amounts = taps[::-1], tuple(extra - amount for amount in amounts)
    x = ops.pad(x, ((0, 0), amounts, amounts, (0, 0)))
    height, width = (size - extra for size in x.shape[1:3])
    weights = [tap / sum(taps) for tap in taps]
    x = sum(weight * x[:, i : i + height] for i, weight in enumerate(weights))
    return sum(weight * x[:, :, i : i + width] for i, weight in enumerate(weights))


def blurred_size(size: int | None, num_taps: int, padding: str, strides: int = 1):
    """Returns the height or width after `blur`, or None where it is not known."""
    if size is None:
        return None
    return (size + sum(_amounts(num_taps, padding)) - num_taps) // strides + 1


@keras.saving.register_keras_serializable(package="layers")
class BlurPool2D(keras.layers.Layer):
    """Subsamples after a low-pass filter, so that shifts of the input do less.

    Place it where a stride was, behind the same layer with stride 1.

    Args:
        taps: The 1-D binomial filter; even filters suit even maps.
        strides: Keeps every such row and column.
        padding: `"reflect"`, as published, or `"same"`, with zeros.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(batch, ceil(height / strides), ceil(width / strides), channels)`.

    Example:

    >>> BlurPool2D()(keras.ops.ones((1, 8, 8, 3))).shape
    TensorShape([1, 4, 4, 3])

    Reference:
        [Making Convolutional Networks Shift-Invariant Again](
        https://arxiv.org/abs/1904.11486) (Zhang, 2019).
    """

    def __init__(
        self,
        taps: Sequence[float] = (1, 3, 3, 1),
        strides: int = 2,
        padding: str = "reflect",
        **kwargs,
    ):
        check_channels_last(kwargs)
        super().__init__(**kwargs)
        self.taps = check_taps(taps)
        self.strides = check_count(strides, "strides")
        self.padding = check_padding(padding, ("reflect", "same"))
        self.built = True

    def call(self, inputs):
        return blur(inputs, self.taps, self.padding, self.strides)

    def compute_output_shape(self, input_shape):
        batch, *size, channels = input_shape
        size = [
            blurred_size(n, len(self.taps), self.padding, self.strides) for n in size
        ]
        return (batch, *size, channels)

    def get_config(self):
        config = {"taps": self.taps, "strides": self.strides, "padding": self.padding}
        return {**super().get_config(), **config}
