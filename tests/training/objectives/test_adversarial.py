"""Adversarial training against a softmax regression in NumPy."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers.trainings import RECIPE, dense_model, stripes
from training import trainer
from training.objectives import adversarial

OWN = dataclasses.replace(RECIPE, objective="adversarial")


def losses(x, labels, kernel, bias):
    """Cross-entropies, and their gradients by the pixels."""
    logits = x.reshape(len(x), -1) / 64 @ kernel + bias
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    errors = probs - np.eye(kernel.shape[1])[labels]
    gradients = (errors @ kernel.T / 64).reshape(x.shape)
    return -np.log(probs[np.arange(len(x)), labels]), gradients


def test_a_step_minimizes_both_losses():
    keras.utils.set_random_seed(0)
    images = keras.Input((12, 12, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 64)(images))
    model = keras.Model(images, keras.layers.Dense(2, name="head")(x))
    data = stripes(16)
    kernel, bias = (np.asarray(w, "float64") for w in model.get_layer("head").weights)
    x = data.images.astype("float64")
    clean, gradients = losses(x, data.labels, kernel, bias)
    aside = x + 2.55 * np.sign(gradients)
    worse, _ = losses(aside, data.labels, kernel, bias)
    assert (worse > clean + 1e-3).all()
    loss = adversarial.adversarial(model, OWN).training_loss
    found = loss(model, data.images, data.labels, model(data.images))
    np.testing.assert_allclose(found, clean + worse, rtol=1e-4)
    logs = trainer.compile_model(model, OWN, 16).train_on_batch(
        data.images, data.labels, return_dict=True
    )
    np.testing.assert_allclose(logs["loss"], np.mean(clean + worse), rtol=1e-4)
    # A step without a gradient of its own: that of the two losses by the bias.
    expected = -0.0
    moved = ops.convert_to_numpy(model.get_layer("head").bias) - bias
    for pixels in (x, aside):
        logits = pixels.reshape(16, -1) / 64 @ kernel + bias
        probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        expected += (probs - np.eye(2)[data.labels]).mean(axis=0)
    assert np.sign(moved).tolist() == np.sign(-expected).tolist()
    np.testing.assert_allclose(moved[0] / moved[1], expected[0] / expected[1], 1e-3)


def test_batch_statistics_are_those_of_the_images_as_they_are():
    data, statistics = stripes(16), []
    for recipe in (RECIPE, OWN):
        model = dense_model(rate=0.0)
        trained = trainer.compile_model(model, recipe, 16)
        trained.train_on_batch(data.images, data.labels)
        norm = model.get_layer("norm")
        statistics.append([np.asarray(norm.moving_mean), norm.moving_variance])
    np.testing.assert_allclose(statistics[1], statistics[0], rtol=1e-6)


def test_a_step_of_no_size_doubles_the_loss_and_others_are_refused():
    model, data = dense_model(rate=0.0), stripes(8)
    loss = adversarial.adversarial(model, OWN, epsilon=0.0).training_loss
    logits = model(data.images, training=True)
    clean = keras.losses.sparse_categorical_crossentropy(data.labels, logits, True)
    found = loss(model, data.images, data.labels, logits)
    np.testing.assert_allclose(found, 2 * np.asarray(clean), rtol=1e-5)
    for epsilon in (-0.1, 2.55, float("nan")):
        with pytest.raises(ValueError, match=f"Received: epsilon={epsilon}"):
            adversarial.adversarial(model, OWN, epsilon=epsilon)
