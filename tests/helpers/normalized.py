"""A network with two normalizations, images for it, and its batch statistics."""

import keras
import numpy as np

import layers

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(3, [1, 5], (23, 4, 3, 2)).astype("float32") ** 2


def network(rate=0.0):
    """Two normalizations, with a nonlinear layer and noise between them."""
    norm = keras.layers.BatchNormalization
    model = keras.Sequential(
        [
            keras.Input((4, 3, 2)),
            norm(name="first"),
            keras.layers.Conv2D(4, 2, name="conv"),
            layers.MCDropout(rate, seed=1, name="dropout"),
            layers.BatchNormalization(name="second"),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    kernel = np.random.default_rng(1).normal(size=(2, 2, 2, 4))
    model.get_layer("conv").kernel.assign(kernel)
    return model


def statistics(model):
    """Returns means and variances, in the order of the names of the layers."""
    found = {
        layer.name: (layer.moving_mean, layer.moving_variance)
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    pairs = (found[name] for name in sorted(found))
    return [np.array(keras.ops.convert_to_numpy(x)) for pair in pairs for x in pair]
