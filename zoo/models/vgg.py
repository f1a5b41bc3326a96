"""VGG with batch normalization: https://arxiv.org/abs/1409.1556.

Simonyan and Zisserman (2015); every convolution is without bias, since a normalization
follows it, and the classifier is a global average pooling by default. The
pre-activation form is that of the paper on spatial smoothing: a normalization and a
rectifier before each convolution, also before the first, and none behind the last.
"""

import functools

import keras

from zoo.models.blocks import (
    classify,
    convolve,
    norm_activate,
    preprocess,
    refuse_attention,
)
from zoo.models.parts import Parts


def vgg(
    parts: Parts,
    input_shape: tuple[int, int, int],
    num_classes: int,
    normalization: tuple,
    depths: tuple[int, ...],
    preactivation: bool = False,
    filters: tuple[int, ...] | None = None,
) -> keras.Model:
    """Builds a VGG.

    Args:
        parts: The layers to build it from.
        input_shape: `(height, width, channels)`; sides of 16 at least.
        num_classes: The number of logits.
        normalization: Mean and variance of the pixels per channel.
        depths: The number of convolutions per stage.
        preactivation: Whether normalization and rectifier come before the convolution.
        filters: The width of each stage; by default that of VGG.

    Returns:
        A functional model from images to logits.
    """
    refuse_attention(parts, "vgg")
    images, x = preprocess(input_shape, normalization)
    widths = FILTERS if filters is None else filters
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True), 1):
        if stage > 1:
            x = parts.max_pool(x, 2, name=f"stage{stage}_pool")
        for block in range(1, depth + 1):
            name = f"stage{stage}_block{block}"
            is_first = (stage, block) == (1, 1)
            conv = parts.first_conv if is_first else parts.inner_conv
            if preactivation:
                x = norm_activate(x, parts, name)
            x = convolve(x, parts, width * parts.widen, 3, 1, name, conv)
            if not preactivation:
                x = norm_activate(x, parts, name)
            x = parts.dropout(name=f"{name}_dropout")(x)
        x = parts.smooth(name=f"stage{stage}_smooth")(x)
    return keras.Model(images, classify(x, parts, num_classes))


FILTERS = (64, 128, 256, 512, 512)
_DEPTHS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
_PRE = functools.partial(vgg, preactivation=True)
ARCHITECTURES = {
    **{f"vgg{n}": functools.partial(vgg, depths=d) for n, d in _DEPTHS.items()},
    **{f"prevgg{n}": functools.partial(_PRE, depths=d) for n, d in _DEPTHS.items()},
}
