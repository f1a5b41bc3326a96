"""ResNets that normalize before they convolve: https://arxiv.org/abs/1603.05027.

He et al. (2016), and the wide networks of Zagoruyko and Komodakis (2016),
https://arxiv.org/abs/1605.07146. A shortcut that changes the number of channels starts
behind the first normalization and rectifier of its block and has no normalization of
its own, as in the authors' code, timm and the paper on spatial smoothing.

The `alter_` networks of Park and Kim (2022), https://arxiv.org/abs/2202.06709, have
self-attention at the ends of stages.
"""

import dataclasses
import functools

import keras

import layers
from zoo.models.blocks import (
    attention_blocks,
    classify,
    convolve,
    downsample,
    is_small,
    norm_activate,
    of_shortcuts,
    own_strides,
    preprocess,
    residual_blocks,
)
from zoo.models.parts import Parts


def _basic_branch(x, parts, filters, strides, name):
    inner = own_strides(parts.downsample, strides)
    x = norm_activate(
        convolve(x, parts, filters, 3, inner, f"{name}_1"), parts, f"{name}_2"
    )
    x = downsample(x, parts.downsample, strides, f"{name}_1")
    x = parts.dropout(name=f"{name}_dropout")(x)
    return convolve(x, parts, filters, 3, 1, f"{name}_2", parts.inner_conv)


def _bottleneck_branch(x, parts, filters, strides, name):
    inner = own_strides(parts.downsample, strides)
    x = convolve(x, parts, filters // 4, 1, 1, f"{name}_1")
    x = norm_activate(x, parts, f"{name}_2")
    x = convolve(x, parts, filters // 4, 3, inner, f"{name}_2", parts.inner_conv)
    x = norm_activate(x, parts, f"{name}_3")
    x = downsample(x, parts.downsample, strides, f"{name}_2")
    x = parts.dropout(name=f"{name}_dropout")(x)
    return convolve(x, parts, filters, 1, 1, f"{name}_3")


def _attention_block(x, parts, filters, width, name, settings):
    skip, x = x, parts.norm(name=f"{name}_1_norm")(x)
    x = keras.layers.Activation("gelu", name=f"{name}_1_gelu")(x)
    x = convolve(x, parts, width, 1, 1, f"{name}_1", parts.inner_conv)
    x = parts.norm(name=f"{name}_2_norm")(x)
    x = parts.dropout(name=f"{name}_dropout")(x)
    x = parts.attention(filters, **settings, name=f"{name}_attention")(x)
    return keras.layers.Add(name=f"{name}_add")([skip, x])


def _projection(x, parts, filters, strides, name):
    x = downsample(x, parts.skip_downsample, strides, name)
    inner = own_strides(parts.skip_downsample, strides)
    return convolve(x, parts, filters, 1, inner, name)


def _block(x, parts, branch, filters, strides, name):
    skip, x = x, norm_activate(x, parts, f"{name}_1")
    if skip.shape[-1] != filters:
        shortcut = parts.shortcut or _projection
        # That with weights is of the normalized features.
        start = skip if parts.shortcut else x
        skips = of_shortcuts(parts)
        skip = shortcut(start, skips, filters, strides, f"{name}_skip")
    x = branch(x, parts, filters, strides, name)
    return keras.layers.Add(name=f"{name}_add")([skip, x])


def _stem(x, parts, filters, small):
    if small:
        return convolve(x, parts, filters, 3, 1, "stem", parts.first_conv)
    x = convolve(x, parts, filters, 7, 2, "stem", parts.first_conv)
    return parts.max_pool(x, 3, name="stem_pool", padding=1)


def preresnet(
    parts: Parts,
    input_shape: tuple[int, int, int],
    num_classes: int,
    normalization: tuple,
    depths: tuple[int, ...],
    filters: int = 64,
    widen: int = 1,
    bottleneck: bool = False,
    cifar: bool = False,
    attention: bool = False,
) -> keras.Model:
    """Builds a pre-activation ResNet.

    The last stage has no smoothing, as in the paper on it: the normalization behind
    the stage would follow.

    Args:
        parts: The layers to build it from.
        input_shape: `(height, width, channels)`.
        num_classes: The number of logits.
        normalization: Mean and variance of the pixels per channel.
        depths: The number of blocks per stage.
        filters: The width of the stem.
        widen: How much wider than the stem the first stage is; each other stage
            doubles it.
        bottleneck: Whether the branches are bottlenecks, with four times the filters.
        cifar: Whether the stem never subsamples.
        attention: Whether it has attention at the ends of stages without a method.

    Returns:
        A functional model from images to logits.
    """
    branch = _bottleneck_branch if bottleneck else _basic_branch
    if attention and parts.attention is None:
        parts = dataclasses.replace(parts, attention=layers.LocalAttention)
    images, x = preprocess(input_shape, normalization)
    small, filters = cifar or is_small(input_shape), filters * parts.widen
    attending = attention_blocks(parts, depths, filters * widen, small)
    x = _stem(x, parts, filters, small)
    for stage, depth in enumerate(depths, 1):
        width = 2 ** (stage - 1) * filters * widen * (4 if bottleneck else 1)
        for strides, name in residual_blocks(stage, depth):
            if name in attending:
                inner = width // 4 if bottleneck else width
                x = _attention_block(x, parts, width, inner, name, attending[name])
            else:
                x = _block(x, parts, branch, width, strides, name)
        if stage < len(depths):
            x = parts.smooth(name=f"stage{stage}_smooth")(x)
    x = norm_activate(x, parts, "pool")
    return keras.Model(images, classify(x, parts, num_classes))


_DEEP = functools.partial(preresnet, bottleneck=True)
_CIFAR = functools.partial(preresnet, filters=16, cifar=True)
_ALTER = functools.partial(preresnet, attention=True)
ARCHITECTURES = {
    "preresnet18": functools.partial(preresnet, depths=(2, 2, 2, 2)),
    "preresnet34": functools.partial(preresnet, depths=(3, 4, 6, 3)),
    "preresnet50": functools.partial(_DEEP, depths=(3, 4, 6, 3)),
    "preresnet101": functools.partial(_DEEP, depths=(3, 4, 23, 3)),
    "preresnet152": functools.partial(_DEEP, depths=(3, 8, 36, 3)),
    **{
        f"preresnet{6 * n + 2}": functools.partial(_CIFAR, depths=(n, n, n))
        for n in (3, 5, 7, 9, 18)
    },
    "preresnet164": functools.partial(_CIFAR, depths=(18, 18, 18), bottleneck=True),
    "wide_resnet28_10": functools.partial(_CIFAR, depths=(4, 4, 4), widen=10),
    "alter_resnet18": functools.partial(_ALTER, depths=(2, 2, 2, 2)),
    "alter_resnet50": functools.partial(_ALTER, depths=(3, 4, 6, 4), bottleneck=True),
}
