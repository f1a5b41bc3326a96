"""VGG with batch normalization: https://arxiv.org/abs/1409.1556.

Simonyan and Zisserman (2015); every convolution is without bias, since a normalization
follows it, and the classifier is a global average pooling by default.
"""

import functools

import keras

from zoo.blocks import classify, conv_norm, max_pool, preprocess, relu
from zoo.parts import Parts


def vgg(
    parts: Parts,
    input_shape: tuple[int, int, int],
    num_classes: int,
    normalization: tuple,
    depths: tuple[int, ...],
) -> keras.Model:
    """Builds a VGG.

    Args:
        parts: The layers to build it from.
        input_shape: `(height, width, channels)`; sides of 16 at least.
        num_classes: The number of logits.
        normalization: Mean and variance of the pixels per channel.
        depths: The number of convolutions per stage.

    Returns:
        A functional model from images to logits.
    """
    images, x = preprocess(input_shape, normalization)
    for stage, (depth, filters) in enumerate(zip(depths, FILTERS, strict=True), 1):
        if stage > 1:
            x = max_pool(x, parts, 2, f"stage{stage}_pool")
        for block in range(1, depth + 1):
            name = f"stage{stage}_block{block}"
            conv = parts.conv if (stage, block) == (1, 1) else parts.inner_conv
            x = relu(conv_norm(x, parts, filters, 3, 1, name, conv), name)
            x = parts.dropout(name=f"{name}_dropout")(x)
        x = parts.smooth(name=f"stage{stage}_smooth")(x)
    return keras.Model(images, classify(x, parts, num_classes))


FILTERS = (64, 128, 256, 512, 512)
ARCHITECTURES = {
    "vgg11": functools.partial(vgg, depths=(1, 1, 2, 2, 2)),
    "vgg13": functools.partial(vgg, depths=(2, 2, 2, 2, 2)),
    "vgg16": functools.partial(vgg, depths=(2, 2, 3, 3, 3)),
    "vgg19": functools.partial(vgg, depths=(2, 2, 4, 4, 4)),
}
