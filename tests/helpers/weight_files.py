"""A small network and its weights file."""

import numpy as np
from keras import ops

import zoo
from zoo.presets import weight_file

SHAPE = (16, 16, 3)


def small_model(name="resnet20", num_classes=4, input_shape=SHAPE):
    return zoo.build(name, input_shape, num_classes)


def random_weights(model):
    rng = np.random.default_rng(0)
    for variable in weight_file.variables(model).values():
        variable.assign(rng.uniform(0.5, 1.5, variable.shape))


def contents(model):
    found = weight_file.variables(model)
    return {name: ops.convert_to_numpy(value) for name, value in found.items()}
