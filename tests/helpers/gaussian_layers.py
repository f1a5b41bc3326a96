"""Layers with Gaussian weights, of every shape."""

import keras
import numpy as np

from layers import Conv2DFlipout, DenseFlipout, DepthwiseConv2DFlipout, stream

STRIDED = {"filters": 2, "kernel_size": (2, 3), "strides": 2, "padding": "same"}
CASES = {
    "dense": (DenseFlipout, {"units": 3}, (4, 6)),
    "sequence": (DenseFlipout, {"units": 3}, (3, 4, 5)),
    "conv": (Conv2DFlipout, {"filters": 2, "kernel_size": 3}, (3, 4, 5, 2)),
    "strided": (Conv2DFlipout, STRIDED, (3, 5, 6, 2)),
    "groups": (Conv2DFlipout, {**STRIDED, "filters": 4, "groups": 2}, (3, 3, 3, 4)),
    "depthwise": (
        DepthwiseConv2DFlipout,
        {"kernel_size": (2, 3), "depth_multiplier": 2, "padding": "same"},
        (3, 3, 3, 2),
    ),
}


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def draw(layer, x, key=7):
    with stream(key):
        return np.array(layer(x))


def twin(layer, kernel, x):
    """Returns the outputs of Keras' own layer with that kernel and no bias."""
    names = {"units", "filters", "kernel_size", "strides", "padding", "groups"}
    names |= {"depth_multiplier", "dilation_rate"}
    config = {name: v for name, v in layer.get_config().items() if name in names}
    kinds = {
        "units": "Dense",
        "filters": "Conv2D",
        "depth_multiplier": "DepthwiseConv2D",
    }
    kind = getattr(keras.layers, *(kinds[name] for name in kinds if name in config))
    other = kind(**config, use_bias=False)
    other.build(x.shape)
    other.set_weights([kernel])
    return np.asarray(other(x))


def random_scales(layer):
    """Gives every weight a standard deviation of its own, and returns them."""
    scale = 0.2 + np.random.default_rng(1).random(layer.kernel.shape)
    layer.kernel_rho.assign(np.log(np.expm1(scale)))
    return scale.astype("float32")
