"""Networks for tests: without values, or with one block in each stage."""

import functools
import math
import re

import keras
import numpy as np
import pytest
from keras import ops

import layers
from zoo import catalog
from zoo.registry import CLASSIFIERS

# Of each family, and of each form of a family whose blocks are others.
SMALLEST = ("resnet20", "preresnet20", "vgg11", "alexnet", "lenet5", "mlp")
FORMS = ("resnext50_32x4d", "resnet18d", "preresnet50", "prevgg11")


def new_graph(name, input_shape=(224, 224, 3), num_classes=1000):
    """A model whose weights have shapes and no values."""
    return catalog.outline(name, input_shape, num_classes)


build_graph = functools.cache(new_graph)


def deep_is_slow(names, plain=False):
    """Marks deep networks whose forms the default tests have already.

    Args:
        names: Names of architectures, and their methods.
        plain: Whether those of the plain form, `resnet101`, are among them.
    """
    form = "" if plain else "(pre|wide_|resnext)"
    deep = re.compile(f"{form}.*(44|56|101|110|152|164).*|resnet1..d")
    return [
        pytest.param(name, marks=pytest.mark.slow) if deep.fullmatch(name) else name
        for name in names
    ]


def count(model):
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def shortened(row):
    """An entry of `CLASSIFIERS` with one block in each stage; bottlenecks narrow."""
    # Not narrower: a group of one channel makes the normalization before it useless.
    narrow = {"filters": 32} if row.keywords.get("bottleneck") else {}
    return functools.partial(row, depths=(1,) * len(row.keywords["depths"]), **narrow)


SHORT = {name: shortened(row) for name, row in CLASSIFIERS.items()}


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


def ends_of_stages(model):
    """The names of the last rectifier of each stage, in order."""
    ends = {}
    for layer in model.layers:
        if match := re.fullmatch(r"(stage\d)_block\d+_relu", layer.name):
            ends[match[1]] = layer.name
    return list(ends.values())
