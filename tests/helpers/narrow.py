"""Narrow networks of each family, with statistics, for what rewrites networks."""

import functools

import keras
import numpy as np

import zoo
from zoo import registry

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


def images(count=3, seed=1):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *SHAPE)).astype("uint8")
