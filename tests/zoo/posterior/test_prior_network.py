"""The epistemic uncertainty of a Dirichlet distribution, by SciPy and by draws."""

import keras
import numpy as np
import scipy.special

import zoo
from tests.helpers.checks import assert_mean_close
from tests.helpers.networks import IMAGES, as_numpy, mc_network, network
from zoo.posterior import MonteCarlo, PriorNetwork
from zoo.posterior.prior_network import dirichlet_information


def information(logits):
    a = np.exp(np.asarray(logits, "float64"))
    total = a.sum(axis=-1, keepdims=True)
    mean, digamma = a / total, scipy.special.digamma
    terms = np.log(mean) - digamma(a + 1) + digamma(total + 1)
    return -np.sum(mean * terms, axis=-1)


def test_the_information_is_the_closed_form():
    rng = np.random.default_rng(0)
    for offset in (-2, 0, 3, 6):
        logits = rng.normal(offset, 1, size=(5, 7, 10)).astype("float32")
        found = as_numpy(dirichlet_information(logits))
        np.testing.assert_allclose(found, information(logits), rtol=1e-3, atol=2e-6)
    # Predictions that agree leave none, however unsure they are.
    assert float(dirichlet_information(np.full((1, 3), 14.0, "float32"))[0]) < 1e-5


def test_the_information_is_that_of_many_draws():
    logits = np.array([0.3, -1.0, 1.5], "float32")
    draws = np.random.default_rng(0).dirichlet(np.exp(logits), size=200_000)
    mean = np.exp(logits) / np.exp(logits).sum()
    each = np.sum(draws * np.log(np.maximum(draws, 1e-300)), axis=1)
    expected = float(dirichlet_information(logits)) + np.sum(mean * np.log(mean))
    assert_mean_close(each, expected)


def test_samples_are_those_of_the_network_and_scores_are_means_over_them():
    model = network()
    posterior = zoo.posterior.POSTERIORS["priornet"].from_models([model])
    assert type(posterior) is PriorNetwork
    assert posterior.num_samples == 1
    logits, scores = posterior.scored(IMAGES)
    np.testing.assert_allclose(logits[0], model(IMAGES), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        scores["epistemic"], information(logits[0]), rtol=1e-2, atol=1e-5
    )
    drawn = PriorNetwork(mc_network(), 4)
    for other in (drawn, drawn.with_models(lambda model: model)):
        logits, scores = other.first_scored(IMAGES.astype("float32"), 3, 0, 4)
        expected = MonteCarlo(other.model, 4)(IMAGES, seed=3)
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
        mean = information(logits).mean(axis=0)
        np.testing.assert_allclose(scores["epistemic"], mean, rtol=1e-2, atol=1e-5)
    config = keras.saving.serialize_keras_object(posterior)
    again = keras.saving.deserialize_keras_object(config)
    assert (type(again), again.num_samples) == (PriorNetwork, 1)
    assert type(posterior.settled()) is PriorNetwork
