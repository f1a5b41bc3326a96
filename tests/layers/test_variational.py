import numpy as np
import pytest
import tensorflow as tf

from layers import DenseFlipout
from layers.variational import gaussian_kl
from tests.checks import assert_mean_close


@pytest.fixture
def layer_and_samples():
    layer = DenseFlipout(3, initial_scale=0.5)
    x = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
    sample = tf.function(layer)
    samples = np.stack([sample(x) for _ in range(4000)])
    return layer, x, samples


def test_outputs_have_the_moments_of_the_weight_posterior(layer_and_samples):
    layer, x, samples = layer_and_samples
    mean = x @ layer.kernel + layer.bias
    variance = (x**2) @ np.full((6, 3), 0.5**2)
    assert_mean_close(samples, mean)
    assert_mean_close((samples - mean) ** 2, variance)


def test_perturbations_of_different_examples_are_uncorrelated(layer_and_samples):
    layer, x, samples = layer_and_samples
    centred = samples - (x @ layer.kernel + layer.bias)
    assert_mean_close(centred[:, 0] * centred[:, 1], 0.0)


@pytest.mark.parametrize("loc, scale", [(0.0, 1.0), (0.7, 0.2), (-2.0, 3.0)])
def test_kl_matches_a_monte_carlo_estimate(loc, scale):
    rng = np.random.default_rng(0)
    w = rng.normal(loc, scale, size=200_000)
    log_q = -0.5 * ((w - loc) / scale) ** 2 - np.log(scale)
    log_p = -0.5 * (w / 1.5) ** 2 - np.log(1.5)
    exact = gaussian_kl(np.float32(loc), np.float32(scale), 1.5)
    assert_mean_close(log_q - log_p, exact)
