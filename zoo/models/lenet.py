"""LeNet-5 and a perceptron: small networks whose posteriors can be sampled.

LeNet-5 is LeCun et al. (1998), http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf, with
rectifiers, all connections between the channels, and a first convolution that pads, so
that images of 28 pixels give the 400 features of the paper's 32. `mlp` has the two
hidden layers of 256 units of https://arxiv.org/abs/2106.11905. Neither has batch
normalization, and features are flattened: a place of the image has weights of its own.
"""

import functools

import keras

from zoo.models.blocks import activate, convolved, preprocess, refuse_attention
from zoo.models.parts import Parts


def _hidden(x, parts, units):
    """Adds hidden layers, with a rectifier and a dropout behind each."""
    if None in x.shape[1:]:
        raise ValueError(
            "This network flattens its features, so images must have one known size. "
            f"Received: features of shape {tuple(x.shape[1:])}"
        )
    x = keras.layers.Flatten(name="flatten")(x)
    for number, size in enumerate(units, 1):
        name = f"hidden_{number}"
        x = keras.layers.Dense(size, kernel_initializer="he_normal", name=name)(x)
        x = parts.dropout(name=f"{name}_dropout")(activate(x, parts, name))
    return x


def lenet(
    parts: Parts,
    input_shape: tuple[int, int, int],
    num_classes: int,
    normalization: tuple,
    depths: tuple[int, ...],
) -> keras.Model:
    """Builds a LeNet; see `zoo.models.vgg.vgg` for the arguments."""
    refuse_attention(parts, "lenet")
    images, x = preprocess(input_shape, normalization)
    for stage, (depth, filters) in enumerate(zip(depths, FILTERS, strict=False), 1):
        if stage > 1:
            x = parts.average_pool(x, 2, name=f"stage{stage}_pool")
        for block in range(1, depth + 1):
            name, first = f"stage{stage}_block{block}", (stage, block) == (1, 1)
            first_conv = parts.first_conv or parts.conv
            conv = first_conv if first else parts.inner_conv
            padding = "same" if first else "valid"
            conv = functools.partial(conv, padding=padding, use_bias=True)
            layer = conv(filters, 5, 1, name=f"{name}_conv")
            x = convolved(x, parts, lambda x, _, layer=layer: layer(x), 5, 1, name)
            x = activate(x, parts, name)
            x = parts.dropout(name=f"{name}_dropout")(x)
        x = parts.smooth(name=f"stage{stage}_smooth")(x)
    x = parts.average_pool(x, 2, name="pool")
    x = _hidden(x, parts, LENET_UNITS)
    return keras.Model(images, parts.head(num_classes, name="head")(x))


def perceptron(
    parts: Parts,
    input_shape: tuple[int, int, int],
    num_classes: int,
    normalization: tuple,
    depths: tuple[int, ...],
) -> keras.Model:
    """Builds a perceptron; see `zoo.models.vgg.vgg` for the arguments.

    It has no stages, so that `depths` is empty, and methods that replace convolutions
    change nothing.
    """
    refuse_attention(parts, "perceptron")
    images, x = preprocess(input_shape, normalization)
    x = _hidden(x, parts, UNITS)
    return keras.Model(images, parts.head(num_classes, name="head")(x))


FILTERS, LENET_UNITS, UNITS = (6, 16), (120, 84), (256, 256)
ARCHITECTURES = {
    "lenet5": functools.partial(lenet, depths=(1, 1)),
    "mlp": functools.partial(perceptron, depths=()),
}
