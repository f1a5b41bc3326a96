"""The score that says how far to trust a prediction, as each posterior declares it."""

import keras
import pytest

import layers
from tests.helpers.networks import network
from zoo.posterior import SWAG, DeepEnsemble, Density, Laplace, MonteCarlo, Temperature


def kernels():
    """A network whose logits are logarithms of kernels."""
    images = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
    return keras.Model(images, layers.ClassCentroids(3)(x))


def nested():
    images = keras.Input((8, 8, 1))
    return keras.Model(images, kernels()(images))


def density(*names):
    return Density(network(), names)


MADE = {
    "entropy": [
        lambda: MonteCarlo(network()),
        lambda: Laplace(network()),
        lambda: Temperature(network()),
        lambda: DeepEnsemble([network(), kernels()]),
        lambda: DeepEnsemble([density("density"), density("density")]),
    ],
    "max_logit": [
        lambda: MonteCarlo(kernels()),
        lambda: MonteCarlo(nested()),
        lambda: SWAG(kernels()),
        lambda: DeepEnsemble([kernels(), kernels()]),
    ],
    "density": [lambda: density("density", "mahalanobis")],
    "mahalanobis": [lambda: density("mahalanobis", "density")],
}


@pytest.mark.parametrize(
    "expected, make", [(name, make) for name, some in MADE.items() for make in some]
)
def test_each_posterior_declares_what_it_ranks_by(expected, make):
    assert make().ranks_by == expected
