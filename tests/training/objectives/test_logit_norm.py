"""The cross-entropy of normalized logits, against NumPy and closed forms."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.trainings import RECIPE, dense_model, stripes
from training import trainer
from training.objectives import OBJECTIVES, logit_norm
from training.recipes.base import Recipe

RNG = np.random.default_rng(0)


def losses(logits, labels, label_smoothing=0.0, temperature=0.3):
    images = keras.Input((3,))
    model = keras.Model(images, keras.layers.Dense(logits.shape[-1])(images))
    recipe = Recipe("stripes", label_smoothing=label_smoothing)
    found = logit_norm.logit_norm(model, recipe, temperature)
    return found.training_loss(model, None, labels, logits)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_it_is_the_formula_of_the_paper(label_smoothing):
    logits = RNG.normal(size=(20, 5)).astype("float32") * 7
    labels = RNG.integers(0, 5, 20)
    scaled = logits.astype("float64")
    scaled /= (np.linalg.norm(scaled, axis=1, keepdims=True) + 1e-7) * 0.3
    logs = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    targets = (1 - label_smoothing) * np.eye(5)[labels] + label_smoothing / 5
    expected = -np.sum(targets * logs, axis=1)
    found = losses(tf.constant(logits), labels, label_smoothing)
    assert found.shape == (20,)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_norm_of_the_logits_makes_no_difference():
    logits, labels = RNG.normal(size=(6, 4)).astype("float32"), np.arange(6) % 4
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        found = losses(variable * 1.0, labels)
    np.testing.assert_allclose(losses(tf.constant(50 * logits), labels), found, 1e-5)
    # So the gradient is at right angles to them, and not zero.
    gradient = tape.gradient(found, variable).numpy()
    np.testing.assert_allclose(np.sum(gradient * logits, axis=1), 0, atol=2e-6)
    assert np.linalg.norm(gradient, axis=1).min() > 1e-2


@pytest.mark.parametrize("temperature, least", [(1.0, 1.41987), (0.1, None)])
def test_the_least_loss_is_the_published_bound(temperature, least):
    logits = np.full((1, 10), -1 / 9, "float32")
    logits[0, 3] = 1  # The simplex: the label as far from the others as can be.
    bound = np.log1p(9 * np.exp(-np.sqrt(10 / 9) / temperature))
    found = losses(tf.constant(logits), np.array([3]), temperature=temperature)
    np.testing.assert_allclose(found, [bound], rtol=1e-3)
    assert least is None or np.isclose(bound, least, atol=5e-6)
    others = tf.constant(RNG.normal(size=(500, 10)).astype("float32"))
    assert np.min(losses(others, np.full(500, 3), temperature=temperature)) > bound


def test_logits_of_zero_have_finite_gradients():
    zeros = tf.Variable(np.zeros((2, 4), "float32"))
    with tf.GradientTape() as tape:
        found = losses(zeros * 1.0, np.array([0, 1]))
    np.testing.assert_allclose(found, np.log(4), rtol=1e-6)
    assert np.isfinite(tape.gradient(found, zeros)).all()


def test_a_step_minimizes_it_and_an_evaluation_shows_the_cross_entropy():
    model, data = dense_model(rate=0.0), stripes(16)
    recipe = Recipe(**{**vars(RECIPE), "objective": "logit_norm"})
    assert OBJECTIVES["logit_norm"] is logit_norm.logit_norm
    trained = trainer.compile_model(model, recipe, 16)
    logits = model(data.images, training=True)
    expected = losses(logits, data.labels, temperature=0.01)
    logs = trained.train_on_batch(data.images, data.labels, return_dict=True)
    np.testing.assert_allclose(logs["loss"], np.mean(expected), rtol=1e-4)
    shown = trained.evaluate(data.images, data.labels, verbose=0, return_dict=True)
    np.testing.assert_allclose(shown["loss"], shown["nll"], rtol=1e-6)
