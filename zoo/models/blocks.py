"""Graph fragments that the families share."""

import functools
from collections.abc import Callable, Iterator

import keras
from keras import ops

from layers.pooling import subsampled
from zoo.models.parts import Parts

SMALL_SIDE = 64  # Images below this side get a stem that does not subsample.


def is_small(input_shape) -> bool:
    """Returns whether images of that shape get the stem without strides."""
    sides = [side for side in input_shape[:2] if side is not None]
    return bool(sides) and min(sides) < SMALL_SIDE


def convolve(
    x,
    parts: Parts,
    filters: int,
    kernel_size: int,
    strides: int,
    name: str,
    conv: Callable | None = None,
    groups: int = 1,
):
    """Adds a convolution.

    One with a stride pads symmetrically, as in PyTorch; the "same" padding of
    TensorFlow pads one side and gives other logits.

    Args:
        x: Feature map.
        parts: The layers to build it from.
        filters: Number of output channels.
        kernel_size: Odd side of the kernel.
        strides: Keeps every such row and column.
        name: Prefix of the name `{name}_conv`.
        conv: Constructor in place of `parts.conv`.
        groups: The number of groups of channels that do not see each other.

    Returns:
        The feature map.
    """
    padding = "same"
    if strides > 1:
        padding = "valid"
        if kernel_size > 1:
            pad = keras.layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")
            x = pad(x)
    settings = {"groups": groups} if groups > 1 else {}
    conv = functools.partial(conv or parts.conv, padding=padding, **settings)
    return conv(filters, kernel_size, strides, name=f"{name}_conv")(x)


def conv_norm(
    x,
    parts: Parts,
    filters: int,
    kernel_size: int,
    strides: int,
    name: str,
    conv: Callable | None = None,
    groups: int = 1,
):
    """Adds a convolution and its normalization, `{name}_norm`; see `convolve`."""
    x = convolve(x, parts, filters, kernel_size, strides, name, conv, groups)
    return parts.norm(name=f"{name}_norm")(x)


def norm_activate(x, parts: Parts, name: str):
    """Adds a normalization and an activation."""
    return activate(parts.norm(name=f"{name}_norm")(x), parts, name)


def activate(x, parts: Parts, name: str):
    """Adds an activation, a layer of its own so that it has a name."""
    return parts.activation(name=f"{name}_relu")(x)


def own_strides(layer: Callable | None, strides: int) -> int:
    """Returns the strides that are left beside a layer that may subsample."""
    return strides if layer is None else 1


def downsample(x, layer: Callable | None, strides: int, name: str):
    """Subsamples with a part that took the strides of another layer."""
    if layer is None or strides == 1:
        return x
    return layer(strides=strides, name=f"{name}_downsample")(x)


def zero_padded(x, parts: Parts, filters: int, strides: int, name: str):
    """Adds a shortcut without weights: subsampling, and channels of zeros.

    It is option A of He et al. (2016), https://arxiv.org/abs/1512.03385. Where channels
    have several parts, the zeros are behind each of them.
    """
    x = downsample(x, parts.skip_downsample, strides, name)
    inner = own_strides(parts.skip_downsample, strides)
    x, count = subsampled(x, inner), parts.num_parts
    widths = [(0, 0), (0, 0), (0, 0), (0, (filters - x.shape[-1]) // count)]
    if count == 1:
        return ops.pad(x, widths)
    parted = ops.split(x, count, axis=-1)
    return ops.concatenate([ops.pad(part, widths) for part in parted], axis=-1)


def residual_blocks(stage: int, depth: int) -> Iterator[tuple[int, str]]:
    """Yields strides and name of each residual block of a stage.

    The first block of each stage but the first one subsamples.
    """
    for block in range(1, depth + 1):
        yield 2 if block == 1 and stage > 1 else 1, f"stage{stage}_block{block}"


def preprocess(input_shape, normalization):
    """Returns the input `images` and the normalized images.

    Args:
        input_shape: `(height, width, channels)`.
        normalization: Mean and variance of the pixels per channel, in units of
            `[0, 255]`.
    """
    mean, variance = normalization
    images = keras.Input(input_shape, name="images")
    normalize = keras.layers.Normalization(
        mean=list(mean), variance=list(variance), name="normalize"
    )
    return images, normalize(images)


def classify(x, parts: Parts, num_classes: int):
    """Adds the classifier: pooled features, then the head that gives logits."""
    return parts.head(num_classes, name="head")(parts.pool(x))
