"""Samples of the weights against the networks that have them."""

import keras
import numpy as np
import pytest

from tests.helpers.networks import IMAGES, as_numpy, network
from zoo.posterior import WeightSamples


def plain(seed):
    """A network without batch normalization."""
    images = keras.Input((8, 8, 1), name="images")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 128, -1)(images))
    x = keras.layers.Dense(4, activation="relu", name="hidden")(x)
    model = keras.Model(images, keras.layers.Dense(3, name="head")(x), name="plain")
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(rng.normal(size=variable.shape))
    return model


@pytest.mark.parametrize("size, chosen", [(7, range(7)), (3, (0, 2, 4)), (1, (0,))])
def test_samples_are_networks_that_are_evenly_spread(size, chosen, tmp_path):
    draws = [plain(seed) for seed in range(7)]
    posterior = WeightSamples.from_models(draws, num_samples=size)
    assert posterior.is_adapted
    assert not posterior.draws
    expected = [as_numpy(draws[number](IMAGES)) for number in chosen]
    samples = as_numpy(posterior(IMAGES))
    np.testing.assert_allclose(samples, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(posterior(IMAGES, seed=3), samples)
    for number, member in zip(chosen, posterior.members(), strict=True):
        for own, other in zip(member.weights, draws[number].weights, strict=True):
            np.testing.assert_array_equal(own, other)
    if size == 3:
        images = keras.Input((8, 8, 1))
        keras.Model(images, posterior(images)).save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(again(IMAGES), samples)


def test_more_samples_than_draws_are_refused():
    posterior = WeightSamples(plain(0), num_samples=3)
    with pytest.raises(ValueError, match="no snapshots of a training: call its"):
        posterior.weights_of(0)
    with pytest.raises(ValueError, match="There are 2 draws.*num_samples=3"):
        posterior.collect([plain(1), plain(2)])


def test_batch_statistics_are_measured_where_there_are_some():
    posterior = WeightSamples.from_models([network(), network(seed=1)], num_samples=2)
    assert not posterior.is_adapted
    posterior.adapt(IMAGES, np.arange(7) % 3)
    model = network(seed=1)
    norm = next(la for la in model.layers if hasattr(la, "moving_mean"))
    norm.momentum = 0.0
    model(IMAGES, training=True)
    sample = as_numpy(posterior(IMAGES))[1]
    np.testing.assert_allclose(sample, as_numpy(model(IMAGES)), 1e-4, 1e-4)
