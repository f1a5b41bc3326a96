"""Narrow networks of each family, with statistics, for what rewrites networks."""

import functools

import keras
import numpy as np

import zoo
from zoo import registry, rewriting

SHAPE = (16, 16, 1)
SETTINGS = {
    "preresnet20": {"depths": (1, 1)},
    "resnet18": {"depths": (1, 1), "filters": 8},
    "resnet18d": {"depths": (1, 1), "filters": 8},
    "resnet20": {"depths": (1, 1, 1), "filters": 8},
    "resnet50": {"depths": (1, 1), "filters": 8},
}


def shortened(monkeypatch):
    """Makes one narrow block in each of a few stages of some families."""
    rows = {
        name: functools.partial(registry.ARCHITECTURES[name], **settings)
        for name, settings in SETTINGS.items()
    }
    monkeypatch.setattr(registry, "ARCHITECTURES", registry.ARCHITECTURES | rows)


def built(name, seed=0):
    """A network with random scales, statistics and biases."""
    keras.utils.set_random_seed(seed)
    model, rng = zoo.build(name, SHAPE, 4), np.random.default_rng(seed)
    for variable in model.variables:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif variable.name in ("beta", "moving_mean", "bias"):
            variable.assign(rng.normal(0, 0.3, variable.shape))
    return model


def mask(channels, kept):
    """Makes the channels zero that are not left, by weights that are zero."""
    gone = set()
    for name, is_left in kept.items():
        gone.update(channels.roots(channels.made[name][~is_left]))
        if (layer := channels.layers[name]) is not None:
            _multiply((layer.kernel, layer.bias), is_left)
    for layer, numbers in channels.taken.items():
        if type(layer) in rewriting.NORMALIZATIONS:
            is_left = [root not in gone for root in channels.roots(numbers)]
            _multiply((layer.gamma, layer.beta, layer.moving_mean), is_left)


def _multiply(weights, is_left):
    for weight in weights:
        if weight is not None:
            weight.assign(weight * np.asarray(is_left, weight.dtype))


def images(count=3, seed=1):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *SHAPE)).astype("uint8")
