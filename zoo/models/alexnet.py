"""AlexNet: https://arxiv.org/abs/1404.5997.

Krizhevsky (2014), the variant for one device, as in torchvision: convolutions with
biases and no normalization. The classifier is a global average pooling by default, and
`mlp` pools to 7x7 as for every family, where torchvision pools to 6x6.
"""

import functools

import keras

from zoo.models.blocks import (
    activate,
    classify,
    convolve,
    convolved,
    is_small,
    preprocess,
    refuse_attention,
)
from zoo.models.parts import Parts


def _first(x, parts, filters, name, small):
    """Adds the first convolution, which only pads 2 and so shortens the sides."""
    conv = functools.partial(
        parts.first_conv or parts.conv, use_bias=True, name=f"{name}_conv"
    )
    size, strides = (3, 1) if small else (11, 4)

    def add(x, strides):
        if strides == 1:
            return conv(filters, size, 1, padding="same")(x)
        x = keras.layers.ZeroPadding2D(2, name=f"{name}_pad")(x)
        return conv(filters, size, strides, padding="valid")(x)

    return convolved(x, parts, add, size, strides, name)


def alexnet(
    parts: Parts,
    input_shape: tuple[int, int, int],
    num_classes: int,
    normalization: tuple,
    depths: tuple[int, ...],
) -> keras.Model:
    """Builds an AlexNet.

    Images with a side below 64 get a first convolution of 3x3 that does not subsample.

    Args:
        parts: The layers to build it from.
        input_shape: `(height, width, channels)`.
        num_classes: The number of logits.
        normalization: Mean and variance of the pixels per channel.
        depths: The number of convolutions per stage.

    Returns:
        A functional model from images to logits.
    """
    refuse_attention(parts, "alexnet")
    inner = functools.partial(parts.inner_conv, use_bias=True)
    images, x = preprocess(input_shape, normalization)
    for stage, (depth, sizes) in enumerate(zip(depths, SIZES, strict=True), 1):
        if stage > 1:
            x = parts.max_pool(x, 3, name=f"stage{stage}_pool")
        for block, (width, kernel_size) in enumerate(sizes[:depth], 1):
            name, filters = f"stage{stage}_block{block}", width * parts.widen
            if stage == 1:
                x = _first(x, parts, filters, name, is_small(input_shape))
            else:
                x = convolve(x, parts, filters, kernel_size, 1, name, inner)
            x = parts.dropout(name=f"{name}_dropout")(activate(x, parts, name))
        x = parts.smooth(name=f"stage{stage}_smooth")(x)
    return keras.Model(images, classify(x, parts, num_classes))


# Filters and side of the kernel of each convolution, by stage.
SIZES = (((64, 11),), ((192, 5),), ((384, 3), (256, 3), (256, 3)))
ARCHITECTURES = {"alexnet": functools.partial(alexnet, depths=(1, 1, 3))}
