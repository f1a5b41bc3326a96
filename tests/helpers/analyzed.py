"""Small networks whose parts are known, and images for them."""

import keras
import numpy as np

import layers
from training.data import ImageData

SHAPE = (8, 8, 2)


def images(count=12, shape=SHAPE, num_classes=3, seed=0):
    """Returns a data set of noise."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, *shape), "uint8")
    labels = rng.integers(0, num_classes, count)
    return ImageData("noise", pixels, labels, tuple("abc"[:num_classes]))


def residual(rate=0.0, shape=SHAPE, seed=0, branch=True, name="small"):
    """Returns stem, residual block, smoothing, block with a projection, and head.

    Args:
        rate: That of dropout in the first block; with 0 nothing draws.
        shape: That of the images.
        seed: Seed of the weights.
        branch: Whether the first block has one.
        name: Its name.
    """
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(shape, name="images")
    x = keras.layers.Rescaling(1 / 64, -2, name="normalize")(inputs)
    x = stem = conv(x, 4, 1, "stem")
    x = conv(x, 4, 1, "one")
    if rate:
        x = layers.MCDropout(rate, name="one_dropout")(x)
    x = keras.layers.Conv2D(4, 3, padding="same", name="one_2")(x)
    x = keras.layers.Add(name="one_add")([stem, x]) if branch else stem
    x = keras.layers.ReLU(name="one_out")(x)
    x = short = layers.SpatialSmoothing(name="smooth")(x)
    x = conv(x, 6, 2, "two")
    short = keras.layers.Conv2D(6, 1, 2, name="two_skip")(short)
    x = keras.layers.Add(name="two_add")([x, short])
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(x), name=name)


def conv(x, filters, strides, name):
    """Adds a convolution and an activation."""
    layer = keras.layers.Conv2D(filters, 3, strides, padding="same", name=name)
    return keras.layers.ReLU(name=f"{name}_relu")(layer(x))


def chain(shape=SHAPE, num_classes=3):
    """Returns a network of a single feature map, that of the normalized images."""
    inputs = keras.Input(shape, name="images")
    x = keras.layers.Rescaling(1 / 64, name="normalize")(inputs)
    x = keras.layers.Flatten(name="flatten")(x)
    return keras.Model(inputs, keras.layers.Dense(num_classes, name="head")(x))
