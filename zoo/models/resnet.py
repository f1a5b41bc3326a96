"""ResNet v1.5 (He et al., 2016): https://arxiv.org/abs/1512.03385.

The stride of a bottleneck is in its 3x3 convolution, as in torchvision and timm.
ResNeXt (Xie et al., 2017, https://arxiv.org/abs/1611.05431) groups the channels of that
convolution, and the wide networks of Zagoruyko and Komodakis (2016),
https://arxiv.org/abs/1605.07146, have more of them. The `d` networks of He et al.
(2019), https://arxiv.org/abs/1812.01187, have three convolutions in their stem and
average before the projection of a shortcut.
"""

import functools

import keras

from zoo.models.blocks import (
    activate,
    attention_blocks,
    classify,
    conv_norm,
    downsample,
    is_small,
    of_shortcuts,
    own_strides,
    preprocess,
    residual_blocks,
    zero_padded,
)
from zoo.models.parts import Parts, averaging


def _basic_branch(x, parts, filters, strides, name):
    inner = own_strides(parts.downsample, strides)
    x = conv_norm(x, parts, filters, 3, inner, f"{name}_1")
    x = activate(x, parts, f"{name}_1")
    x = downsample(x, parts.downsample, strides, f"{name}_1")
    x = parts.dropout(name=f"{name}_dropout")(x)
    return conv_norm(x, parts, filters, 3, 1, f"{name}_2", parts.inner_conv)


def _bottleneck_branch(x, parts, filters, strides, name, widen, groups):
    width, inner = widen * filters // 4, own_strides(parts.downsample, strides)
    x = activate(conv_norm(x, parts, width, 1, 1, f"{name}_1"), parts, f"{name}_1")
    x = conv_norm(x, parts, width, 3, inner, f"{name}_2", parts.inner_conv, groups)
    x = activate(x, parts, f"{name}_2")
    x = downsample(x, parts.downsample, strides, f"{name}_2")
    x = parts.dropout(name=f"{name}_dropout")(x)
    return conv_norm(x, parts, filters, 1, 1, f"{name}_3")


def _attention_branch(x, parts, filters, width, name, settings):
    x = conv_norm(x, parts, width, 1, 1, f"{name}_1", parts.inner_conv)
    x = keras.layers.Activation("gelu", name=f"{name}_1_gelu")(x)
    x = parts.dropout(name=f"{name}_dropout")(x)
    x = parts.attention(filters, **settings, name=f"{name}_attention")(x)
    return parts.norm(name=f"{name}_2_norm")(x)


def _projection(x, parts, filters, strides, name, layer=None):
    layer = parts.skip_downsample or layer
    x = downsample(x, layer, strides, name)
    return conv_norm(x, parts, filters, 1, own_strides(layer, strides), name)


def _stem(x, parts, filters, small, deep):
    size, strides = (3, 1) if small else (7, 2)
    if deep:
        for i, width in enumerate((filters // 2, filters // 2, filters), 1):
            conv = parts.first_conv if i == 1 else None
            inner = strides if i == 1 else 1
            x = conv_norm(x, parts, width, 3, inner, f"stem_{i}", conv)
            x = activate(x, parts, f"stem_{i}")
    else:
        x = conv_norm(x, parts, filters, size, strides, "stem", parts.first_conv)
        x = activate(x, parts, "stem")
    return x if small else parts.max_pool(x, 3, name="stem_pool", padding=1)


def resnet(
    parts: Parts,
    input_shape: tuple[int, int, int],
    num_classes: int,
    normalization: tuple,
    depths: tuple[int, ...],
    filters: int = 64,
    bottleneck: bool = False,
    widen: int = 1,
    groups: int = 1,
    cifar: bool = False,
    deep: bool = False,
) -> keras.Model:
    """Builds a ResNet.

    Args:
        parts: The layers to build it from.
        input_shape: `(height, width, channels)`.
        num_classes: The number of logits.
        normalization: Mean and variance of the pixels per channel.
        depths: The number of blocks per stage.
        filters: The width of the stem; each stage doubles it.
        bottleneck: Whether the branches are bottlenecks, with four times the filters.
        widen: How much wider than usual bottlenecks are inside.
        groups: The number of groups of channels in the 3x3 of a bottleneck.
        cifar: Whether it is a CIFAR network of section 4.2 of the paper: no
            subsampling in the stem, and shortcuts without weights.
        deep: Whether the stem is three convolutions, and a shortcut averages before its
            projection.

    Returns:
        A functional model from images to logits.
    """
    branch = _basic_branch
    if bottleneck:
        branch = functools.partial(_bottleneck_branch, widen=widen, groups=groups)
    average = functools.partial(_projection, layer=averaging)
    shortcut = zero_padded if cifar else average if deep else _projection
    shortcut = parts.shortcut or shortcut
    images, x = preprocess(input_shape, normalization)
    filters, skips = filters * parts.widen, of_shortcuts(parts)
    small = cifar or is_small(input_shape)
    attending = attention_blocks(parts, depths, filters, small)
    x = _stem(x, parts, filters, small, deep)
    for stage, depth in enumerate(depths, 1):
        width = 2 ** (stage - 1) * filters * (4 if bottleneck else 1)
        for strides, name in residual_blocks(stage, depth):
            skip = x
            if skip.shape[-1] != width:
                skip = shortcut(x, skips, width, strides, f"{name}_skip")
            if name in attending:
                inner = width // 4 if bottleneck else width
                x = _attention_branch(x, parts, width, inner, name, attending[name])
            else:
                x = branch(x, parts, width, strides, name)
            x = keras.layers.Add(name=f"{name}_add")([skip, x])
            x = activate(x, parts, name)
        x = parts.smooth(name=f"stage{stage}_smooth")(x)
    return keras.Model(images, classify(x, parts, num_classes))


_DEEP = functools.partial(resnet, bottleneck=True)
_TABLE = {
    "resnet18": functools.partial(resnet, depths=(2, 2, 2, 2)),
    "resnet34": functools.partial(resnet, depths=(3, 4, 6, 3)),
    "resnet50": functools.partial(_DEEP, depths=(3, 4, 6, 3)),
    "resnet101": functools.partial(_DEEP, depths=(3, 4, 23, 3)),
    "resnet152": functools.partial(_DEEP, depths=(3, 8, 36, 3)),
}
ARCHITECTURES = {
    **_TABLE,
    **{f"{k}d": functools.partial(row, deep=True) for k, row in _TABLE.items()},
    "resnext50_32x4d": functools.partial(
        _DEEP, depths=(3, 4, 6, 3), widen=2, groups=32
    ),
    "resnext101_32x8d": functools.partial(
        _DEEP, depths=(3, 4, 23, 3), widen=4, groups=32
    ),
    "wide_resnet50_2": functools.partial(_DEEP, depths=(3, 4, 6, 3), widen=2),
    "wide_resnet101_2": functools.partial(_DEEP, depths=(3, 4, 23, 3), widen=2),
    **{
        f"resnet{6 * n + 2}": functools.partial(
            resnet, depths=(n, n, n), filters=16, cifar=True
        )
        for n in (3, 5, 7, 9, 18)
    },
}
