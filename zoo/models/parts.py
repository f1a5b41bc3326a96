"""The parts of a network: layer constructors that methods replace."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import keras
from keras import ops

import layers


def convolution(*args, groups: int = 1, **settings):
    """Returns a convolution without a bias, of one group by default."""
    settings = {"use_bias": False, "kernel_initializer": "he_normal", **settings}
    if groups == 1:
        return keras.layers.Conv2D(*args, **settings)
    return layers.GroupedConv2D(*args, groups=groups, **settings)


def pooled(x, layer: Callable = keras.layers.GlobalAveragePooling2D):
    """Adds a global pooling."""
    return layer(name="pool")(x)


def bordered(x, padding: int):
    """Adds a border to maps that are pooled by their maxima.

    It has values that are in the windows anyway: never the largest by themselves, as
    zeros would be among negative features.

    Args:
        x: Feature map.
        padding: Rows and columns on each side.

    Returns:
        The larger feature map.
    """
    if not padding:
        return x
    border = (padding, padding)
    return ops.pad(x, ((0, 0), border, border, (0, 0)), "symmetric")


def max_pooled(
    x, pool_size: int, name: str, padding: int = 0, downsample: Callable | None = None
):
    """Adds a max-pooling of stride 2 with so much padding on each side.

    Args:
        x: Feature map.
        pool_size: Side of the windows.
        name: Name of the layer.
        padding: Rows and columns on each side.
        downsample: Subsamples behind the pooling, which then has stride 1.

    Returns:
        The smaller feature map.
    """
    x = bordered(x, padding)
    strides = 2 if downsample is None else 1
    x = keras.layers.MaxPooling2D(pool_size, strides, name=name)(x)
    return downsample(strides=2, name=f"{name}_downsample")(x) if downsample else x


def strided(x, conv: Callable, kernel_size: int, strides: int, name: str):
    """Adds a convolution with a stride, which subsamples by itself."""
    return conv(x, strides)


def average_pooled(x, pool_size: int, name: str, padding: int = 0):
    """Adds an average of 2x2 windows; arguments as `max_pooled` has them."""
    return keras.layers.AveragePooling2D(2, name=name)(x)


def averaging(strides: int, name: str):
    """Returns an average pooling; where a side is odd, of what is there."""
    return keras.layers.AveragePooling2D(strides, padding="same", name=name)


def hidden_layers(x, hidden: Callable):
    """Adds the hidden layers of a perceptron."""
    return hidden(x, name="hidden")


@dataclasses.dataclass(frozen=True)
class Parts:
    """Constructors of the replaceable layers of a network.

    A family (`zoo/models/resnet.py`) decides *where* layers go and knows no method; a
    method (`zoo/models/methods.py`) decides *which* layers go there and knows no
    family. Each part is called as its comment says, plus `name`.
    """

    # conv(filters, kernel_size, strides, padding): every other convolution; in a family
    # without normalization with use_bias=True.
    conv: Callable = convolution
    # first_conv(filters, kernel_size, strides, padding): the one that sees the pixels.
    # None is like every other.
    first_conv: Callable | None = None
    # inner_conv(filters, kernel_size, strides, padding): the second convolution of
    # every residual branch; in a chain of convolutions, all but the first. ResNeXt adds
    # the argument groups.
    inner_conv: Callable = convolution
    # strided(feature_map, conv, kernel_size, strides): every convolution with a stride;
    # a graph fragment, in which conv(feature_map, strides) adds the convolution.
    strided: Callable = strided
    # conv_filter(): behind every convolution but those of shortcuts, before its
    # normalization; of maps as large as before. None adds nothing.
    conv_filter: Callable | None = None
    # norm(): behind every convolution; before it in a pre-activation network.
    norm: Callable = functools.partial(
        layers.BatchNormalization, momentum=0.9, epsilon=1e-5
    )
    # activation(): behind every normalization, but the last of a branch that is added,
    # and behind the sum.
    activation: Callable = keras.layers.ReLU
    # dropout(): in every residual branch, before its last convolution; in a chain of
    # convolutions, behind each of them.
    dropout: Callable = keras.layers.Identity
    # downsample(strides): behind each convolution that then has stride 1. None leaves
    # the strides where they are.
    downsample: Callable | None = None
    # skip_downsample(strides): before the projection of a shortcut, or before channels
    # of zeros, likewise.
    skip_downsample: Callable | None = None
    # shortcut(feature_map, parts, filters, strides): past a block with other channels,
    # a graph fragment. None leaves it to the family.
    shortcut: Callable | None = None
    # max_pool(feature_map, pool_size, padding=0): to half the size, in stems and
    # between the stages of a chain; a graph fragment.
    max_pool: Callable = max_pooled
    # average_pool(feature_map, pool_size): to half the size, in LeNet; likewise.
    average_pool: Callable = average_pooled
    # attention(filters, num_heads, key_dim, window_size): at the end of a residual
    # branch, in place of its convolutions of 3x3, in blocks at the ends of stages. None
    # has no such blocks, and chains take nothing else.
    attention: Callable | None = None
    # smooth(): at the end of every stage, before the next one subsamples; in a
    # pre-activation ResNet, not of the last.
    smooth: Callable = keras.layers.Identity
    # pool(feature_map): from the last feature map to features, one vector per image;
    # a graph fragment, which names its own layers.
    pool: Callable = pooled
    # head(num_classes): from features to logits.
    head: Callable = keras.layers.Dense
    # trunk(inputs, hidden): from normalized inputs to features, in a perceptron; a
    # graph fragment, in which hidden(inputs, name) adds hidden layers.
    trunk: Callable = hidden_layers
    # output(loc, scale): of a regressor, from the two numbers of the head to the mean
    # and the standard deviation of targets that have these.
    output: Callable = layers.GaussianOutput
    # How many times as many channels all feature maps have.
    widen: int = 1
    # In how many parts of equal size, which do not see each other, these are.
    num_parts: int = 1


Method = Callable[[Parts], Parts]


def combine(methods: Mapping[str, Method]) -> Parts:
    """Applies methods to the default parts.

    Args:
        methods: Methods by name.

    Returns:
        The default parts with the replacements of all methods.

    Raises:
        ValueError: If two methods replace the same part.
    """
    parts, owners = Parts(), {}
    for name, method in methods.items():
        replaced = method(parts)
        for field in (f.name for f in dataclasses.fields(Parts)):
            if getattr(replaced, field) is getattr(parts, field):
                continue
            if field in owners:
                raise ValueError(
                    f"Methods '{owners[field]}' and '{name}' both replace the "
                    f"`{field}` layers, so they cannot be combined. "
                    f"Received: methods={list(methods)}"
                )
            owners[field] = name
        parts = replaced
    return parts
