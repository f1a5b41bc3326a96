"""LeNet-5 and a perceptron: small networks whose posteriors can be sampled.

LeNet-5 is LeCun et al. (1998), http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf, with
rectifiers, all connections between the channels, and a first convolution that pads, so
that images of 28 pixels give the 400 features of the paper's 32. `mlp` has the two
hidden layers of 256 units of https://arxiv.org/abs/2106.11905. Neither has batch
normalization, and features are flattened: a place of the image has weights of its own.
Perceptrons take rows of numbers too: `mlp50` has the one hidden layer of
https://arxiv.org/abs/1502.05336 for tables, `mlp64x2` two, and `mlp1024x3` is the
network of https://arxiv.org/abs/2102.13640.
"""

import functools

import keras

from zoo.models.blocks import activate, convolved, preprocess, refuse_attention
from zoo.models.parts import Parts


def _hidden(x, parts, units, name="hidden"):
    """Adds hidden layers, with a rectifier and a dropout behind each."""
    if None in x.shape[1:]:
        raise ValueError(
            "This network flattens its features, so images must have one known size. "
            f"Received: features of shape {tuple(x.shape[1:])}"
        )
    first = "flatten" if name == "hidden" else f"{name}_flatten"
    x = keras.layers.Flatten(name=first)(x)
    for number, size in enumerate(units, 1):
        own = f"{name}_{number}"
        x = keras.layers.Dense(size, kernel_initializer="he_normal", name=own)(x)
        x = parts.dropout(name=f"{own}_dropout")(activate(x, parts, own))
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
    input_shape: tuple[int, ...],
    num_classes: int,
    normalization: tuple,
    depths: tuple[int, ...],
    units: tuple[int, ...] | None = None,
) -> keras.Model:
    """Builds a perceptron; see `zoo.models.vgg.vgg` for the arguments.

    It has no stages, so that `depths` is empty, and methods that replace convolutions
    change nothing.

    Args:
        parts: The parts; of them a perceptron has `activation`, `dropout`, `trunk` and
            `head`.
        input_shape: `(height, width, channels)`, or `(features,)` for rows of numbers.
        num_classes: The number of outputs.
        normalization: Mean and variance per channel, or per feature.
        depths: Empty.
        units: The size of each hidden layer; by default `UNITS`.
    """
    refuse_attention(parts, "perceptron")
    images, x = preprocess(input_shape, normalization)
    hidden = functools.partial(_hidden, parts=parts, units=units or UNITS)
    x = parts.trunk(x, hidden)
    return keras.Model(images, parts.head(num_classes, name="head")(x))


FILTERS, LENET_UNITS, UNITS = (6, 16), (120, 84), (256, 256)
# Those that take rows of numbers too.
PERCEPTRONS = {
    "mlp": functools.partial(perceptron, depths=()),
    "mlp50": functools.partial(perceptron, depths=(), units=(50,)),
    "mlp64x2": functools.partial(perceptron, depths=(), units=(64, 64)),
    "mlp1024x3": functools.partial(perceptron, depths=(), units=(1024, 1024, 1024)),
}
ARCHITECTURES = {"lenet5": functools.partial(lenet, depths=(1, 1)), **PERCEPTRONS}
