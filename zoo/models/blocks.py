"""Graph fragments that the families share."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

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
    settings = {"groups": groups} if groups > 1 else {}
    make = functools.partial(conv or parts.conv, **settings, name=f"{name}_conv")

    def add(x, strides):
        padding = "same"
        if strides > 1:
            padding = "valid"
            if kernel_size > 1:
                pad = keras.layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")
                x = pad(x)
        return make(filters, kernel_size, strides, padding=padding)(x)

    return convolved(x, parts, add, kernel_size, strides, name)


def convolved(
    x, parts: Parts, conv: Callable, kernel_size: int, strides: int, name: str
):
    """Adds a convolution, with what parts have around one with a stride, and behind.

    Args:
        x: Feature map.
        parts: The layers to build it from.
        conv: From a feature map and strides to that behind the convolution.
        kernel_size: Side of the kernel.
        strides: How many times smaller the sides become.
        name: Prefix of the names of layers.

    Returns:
        The feature map.
    """
    if strides == 1:
        x = conv(x, 1)
    else:
        x = parts.strided(x, conv, kernel_size, strides, name=name)
    if parts.conv_filter is None:
        return x
    return parts.conv_filter(name=f"{name}_filter")(x)


def of_shortcuts(parts: Parts) -> Parts:
    """Returns the parts that shortcuts are built from: no filters behind them."""
    return dataclasses.replace(parts, conv_filter=None)


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


# Blocks with attention from the last stage on; those of Alter-ResNet-50, and of
# Alter-ResNet-18 where a stage has two blocks.
_MOST = 2, 3, 1
_KEY_DIM = 64  # The most channels of a key in one head.


def attention_blocks(
    parts: Parts, depths: Sequence[int], width: int, small: bool
) -> dict[str, dict]:
    """Returns which residual blocks have attention, and its settings.

    From the last block of a stage on, every other one has it: two of the last stage,
    three of the one before, one of that before, and none of the first stage, as far as
    there are two blocks for each. So a block with attention never subsamples. Queries,
    keys and values have three times the channels of the branch, in heads of up to 64:
    6, 12 and 24 heads in the stages behind the first of a network for ImageNet.

    Args:
        parts: The layers to build from.
        depths: The number of blocks per stage.
        width: The number of channels inside of branches of the first stage.
        small: Whether windows have sides of 4 points, for small images, or of 7.

    Returns:
        Arguments of `parts.attention` by the name of the block.

    Raises:
        ValueError: If channels have parts, which attention would mix.

    Reference:
        [How Do Vision Transformers Work?](https://arxiv.org/abs/2202.06709) (Park and
        Kim, 2022), section 4.
    """
    if parts.attention is None:
        return {}
    if parts.num_parts > 1:
        raise ValueError(
            "Attention looks at all channels, and these are those of members that do "
            "not see each other; 'msa' and 'packed' cannot be combined. Received: "
            f"num_parts={parts.num_parts}"
        )
    key_dim, last, found = min(width, _KEY_DIM), len(depths), {}
    for stage, most in zip(range(last, 1, -1), _MOST, strict=False):
        settings = {
            "num_heads": 3 * width * 2 ** (stage - 1) // key_dim,
            "key_dim": key_dim,
            "window_size": 4 if small else 7,
        }
        depth = depths[stage - 1]
        for i in range(min(most, depth // 2)):
            found[f"stage{stage}_block{depth - 2 * i}"] = settings
    return found


def refuse_attention(parts: Parts, family: str) -> None:
    """Raises a ValueError where a chain of layers would have attention."""
    if parts.attention is not None:
        raise ValueError(
            "Attention is in residual blocks at the ends of stages, and this network "
            "has none; take a ResNet, such as 'resnet20_msa', or leave out the method "
            f"'msa'. Received: a network of the family '{family}'"
        )


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
