"""Networks for tests: without values, or with one block in each stage."""

import functools
import math

import keras
import numpy as np
from keras import ops

import layers
import zoo
from zoo.registry import ARCHITECTURES

SMALLEST = ("resnet20", "vgg11")  # Of each family.


def new_graph(name, input_shape=(224, 224, 3), num_classes=1000):
    """A model whose weights have shapes and no values."""
    with keras.StatelessScope(initialize_variables=False):
        return zoo.build(name, input_shape, num_classes)


build_graph = functools.cache(new_graph)


def count(model):
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def shortened(row):
    """An entry of `ARCHITECTURES` with one block in each stage."""
    return functools.partial(row, depths=(1,) * len(row.keywords["depths"]))


SHORT = {name: shortened(row) for name, row in ARCHITECTURES.items()}


def some_images(shape=(32, 32, 3), size=2):
    images = np.random.default_rng(0).integers(0, 256, (size, *shape))
    return images.astype("uint8")


def draw(model, images, key=3):
    with layers.stream(key):
        return ops.convert_to_numpy(model(images, training=False))


def outputs(model, names, images):
    """What the layers of these names give."""
    tensors = [model.get_layer(name).output for name in names]
    results = keras.Model(model.input, tensors)(images, training=False)
    return [ops.convert_to_numpy(y) for y in keras.tree.flatten(results)]
