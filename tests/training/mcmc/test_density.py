"""The log density of a network's weights against NumPy, and its gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
from layers import priors
from training.bayesian.priors import ModelPrior
from training.mcmc import LogDensity

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (8, 4, 4, 1)).astype("uint8")
LABELS = RNG.integers(0, 3, 8)


def network(*others):
    images = keras.Input((4, 4, 1), name="images")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
    x = keras.layers.Dense(5, activation="tanh", name="hidden")(x)
    for layer in others:
        x = layer(x)
    return keras.Model(images, keras.layers.Dense(3, name="head")(x), name="small")


def density(batch_size=3, prior="laplace:scale=0.3"):
    model = network()
    return LogDensity(model, ModelPrior(prior, model), IMAGES, LABELS, batch_size)


def oracle(standard):
    """The log density in float64, up to the constant of the prior."""
    kernel, bias, last, shift = np.split(0.3 * standard, np.cumsum([80, 5, 15]))
    x = np.tanh(IMAGES.reshape(8, 16) / 255 @ kernel.reshape(16, 5) + bias)
    logits = x @ last.reshape(5, 3) + shift
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logs[np.arange(8), LABELS].sum() - np.abs(standard).sum()


@pytest.mark.parametrize("batch_size", [3, 4, 100])
def test_it_is_that_of_all_images_whatever_fits_into_memory(batch_size):
    found, standard = density(batch_size), RNG.normal(size=103)
    point = tf.Variable(standard)
    with tf.GradientTape() as tape:
        value = found(point)
    expected = oracle(standard)
    constant = 103 * np.log(2)
    np.testing.assert_allclose(float(value) + constant, expected, rtol=1e-6)
    gradient = tape.gradient(value, point).numpy()
    for place in (0, 50, 84, 90, 102):  # Of each variable.
        step = np.eye(103)[place] * 1e-5
        slope = (oracle(standard + step) - oracle(standard - step)) / 2e-5
        np.testing.assert_allclose(gradient[place], slope, rtol=1e-4, atol=1e-5)
    found.assign(point)
    np.testing.assert_allclose(
        found.model.get_layer("head").bias, 0.3 * standard[-3:], rtol=1e-6
    )


class Broken(priors.GaussianPrior):
    def standard_log_prob(self, standard):
        return super().standard_log_prob(standard) * float("nan")


def test_a_density_that_is_not_finite_is_said_to_be(monkeypatch):
    start = tf.constant(RNG.normal(size=103))
    density().check(start, 0)
    with pytest.raises(
        ValueError, match="likelihood must be finite where chain 2.*nan"
    ):
        density(prior="gaussian:scale=1e200").check(start, 2)
    broken = density()
    monkeypatch.setattr(broken.prior, "_other", Broken())
    with pytest.raises(ValueError, match="prior of 'hidden/kernel'.*chain 0.*nan"):
        broken.check(start, 0)


@pytest.mark.parametrize(
    "layer, name",
    [
        (layers.MCDropout(0.5, name="draws"), "do not draw.*small, with draws"),
        (keras.layers.BatchNormalization(name="norm"), "batch normalization.*norm"),
    ],
)
def test_a_network_whose_likelihood_is_no_function_of_weights_is_refused(layer, name):
    model = network(layer)
    prior = ModelPrior("gaussian", model)
    with pytest.raises(ValueError, match=name):
        LogDensity(model, prior, IMAGES, LABELS)
    with pytest.raises(ValueError, match="8 images, 7 labels"):
        LogDensity(network(), prior, IMAGES, LABELS[1:])
