"""DiGN's consistency under noise, against NumPy and the limit of little noise."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from layers import random
from tests.helpers.checks import assert_mean_close
from tests.helpers.marks import few
from tests.helpers.trainings import RECIPE, dense_model, stripes
from training import objective, trainer
from training.distribution import step_keys
from training.objectives import OBJECTIVES, dign

RNG = np.random.default_rng(0)


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def kl(logits, others):
    p, q = softmax(np.float64(logits)), softmax(np.float64(others))
    return np.sum(p * np.log(p / q), axis=-1)


def linear(scale):
    """A linear network of pixels that are multiplied by a number first."""
    keras.utils.set_random_seed(0)
    images = keras.Input((4, 4, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(scale, name="scale")(images))
    x = keras.layers.BatchNormalization(momentum=0.5, name="norm")(x)
    return keras.Model(images, keras.layers.Dense(3, name="head")(x))


def test_the_divergence_is_that_of_the_formula():
    p, q = RNG.normal(size=(2, 50, 10)).astype("float32") * 3

    def divergence(logits, others):
        return objective.divergence(ops.log_softmax(logits), others)

    np.testing.assert_allclose(divergence(p, q), kl(p, q), 1e-4, 1e-6)
    np.testing.assert_allclose(divergence(p, p + 2), 0, atol=1e-6)
    assert np.all(np.asarray(divergence(p, q)) > 0)
    assert np.isfinite(divergence(p * 1e4, q * 1e4)).all()


def test_noise_has_a_deviation_of_each_image_and_the_share_of_numbers():
    shape = 400, 8, 8, 3
    keys = random.fold(3, np.arange(400))
    noise = np.asarray(dign.gaussian_noise(keys, np.zeros(shape), 1.5, 0.25, 2))
    assert noise.shape == (400, 2, 8, 8, 3)
    assert np.all(noise[:, 0] != noise[:, 1], where=noise[:, 0] != 0)
    noise = noise[:, 1]
    found = noise != 0
    assert_mean_close(found.mean(axis=(1, 2, 3)), 0.25)
    squares = np.sum(noise**2, (1, 2, 3)) / found.sum((1, 2, 3))
    assert_mean_close(squares, 1.5**2 / 3)  # That of a uniform deviation.
    assert_mean_close(squares**2, 1.5**4 / 5 * (1 + 2 / 48), z=20)
    assert squares.max() < 1.5**2 * 2
    assert_mean_close(noise.mean(axis=(1, 2, 3)), 0)
    whole = np.asarray(dign.gaussian_noise(keys, np.zeros(shape), 1.5, 1.0, 1))
    assert np.all(whole != 0)


@pytest.mark.parametrize("augmix", few([0, 12], slow=[12]))
def test_a_step_minimizes_the_loss_and_the_divergence_of_each_noise(augmix):
    """The same for pixels in other units: noise is in those of the network."""
    losses = []
    pixels = RNG.integers(0, 256, (8, *(3,) * (augmix > 0), 4, 4, 1)).astype("float32")
    labels = RNG.integers(0, 3, 8)
    for unit in (1.0, 1 / 255):
        model, images = linear(1 / 64 / unit), pixels * unit
        settings = f"dign:weight=0.5:draws=2:augmix={augmix}"
        recipe = dataclasses.replace(RECIPE, batch_size=8, objective=settings)
        trained = trainer.compile_model(model, recipe, 8)
        trained.run_eagerly = True
        trained.seed = 5
        twin = linear(1 / 64 / unit)
        first = images[:, 0] if augmix else images
        rows = images.reshape(-1, 4, 4, 1) if augmix else images
        logits = np.asarray(twin(rows, training=True))
        logits = logits.reshape(8, -1, 3)
        expected = -np.log(softmax(logits[:, 0]))[np.arange(8), labels]
        if augmix:
            probs = softmax(np.float64(logits))
            mean = np.log(probs.mean(axis=1, keepdims=True))
            terms = np.sum(probs * (np.log(probs) - mean), axis=2)
            expected = expected + 12 * terms.mean(axis=1)
        each = step_keys.StepKeys(8).next_keys(5, 8)
        noise = np.asarray(dign.gaussian_noise(each, first, 1.2, 0.2, 2))
        for draw in range(2):
            noisy = first + noise[:, draw] * 64 * unit
            other = np.asarray(twin(noisy, training=True))
            expected = expected + 0.5 / 2 * kl(logits[:, 0], other)
        logs = trained.train_on_batch(images, labels, return_dict=True)
        np.testing.assert_allclose(logs["loss"], expected.mean(), rtol=1e-4)
        losses.append(logs["loss"])
        # Three passes moved the batch statistics, those with noise too.
        for one, other in zip(
            model.get_layer("norm").non_trainable_weights,
            twin.get_layer("norm").non_trainable_weights,
            strict=True,
        ):
            np.testing.assert_allclose(one, other, rtol=1e-4, err_msg=one.path)
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_little_noise_costs_half_its_variance_times_the_trace_of_fisher():
    """Of a linear network: the Jacobian of its logits is its kernel."""
    kernel = RNG.normal(size=(16, 3)).astype("float32")
    image = RNG.normal(size=(1, 4, 4, 1)).astype("float32")
    logits = image.reshape(1, 16) @ kernel
    p = softmax(np.float64(logits))[0]
    fisher = np.diag(p) - np.outer(p, p)
    sigma, rate, count = 0.02, 0.5, 40_000
    images = np.zeros((count, 4, 4, 1), "float32")
    keys = random.fold(2, np.arange(count))
    noise = dign.gaussian_noise(keys, images, sigma, rate, 1)
    noisy = logits + np.asarray(noise).reshape(count, 16) @ kernel
    variance = rate * sigma**2 / 3
    expected = variance / 2 * np.trace(kernel @ fisher @ kernel.T)
    assert_mean_close(kl(np.repeat(logits, count, axis=0), noisy), expected)


def test_no_noise_is_the_cross_entropy_and_keys_are_those_of_images():
    model, data = dense_model(rate=0), stripes(16)
    recipe = dataclasses.replace(RECIPE, objective="dign:sigma=0")
    trained = trainer.compile_model(model, recipe, 16)
    trained.run_eagerly = True
    logits = np.asarray(dense_model(rate=0)(data.images, training=True), "float64")
    nll = -np.log(softmax(logits))[np.arange(16), data.labels].mean()
    logs = trained.train_on_batch(data.images, data.labels, return_dict=True)
    np.testing.assert_allclose(logs["loss"], nll, rtol=1e-5)
    # Of steps and rows: no two are equal, and the seed makes all of them.
    keys = step_keys.StepKeys(8)
    found = [ops.convert_to_numpy(keys.next_keys(seed, 8)) for seed in (3, 3, 4)]
    assert len(np.unique(found)) == 24
    again = step_keys.StepKeys(8)
    again.step.assign(1)
    np.testing.assert_array_equal(again.next_keys(3, 8), found[1])
    assert int(again.step) == 2


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"sigma": 12}, "units of normalized pixels: 0.2 is about 10.*sigma=12"),
        ({"sigma": -1}, r"in \[0, 10\]. Received: sigma=-1"),
        ({"rate": 0}, r"in \(0, 1\]. Received: rate=0"),
        ({"draws": 0}, "`draws` must be a positive integer"),
        ({"weight": -1}, "zero or positive, and finite. Received: weight=-1"),
        ({"augmix": float("inf")}, "Received: augmix=inf"),
    ],
)
def test_settings_out_of_their_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        OBJECTIVES["dign"](linear(1.0), RECIPE, **settings)


def test_a_network_without_normalization_is_refused():
    images = keras.Input((4, 4, 1))
    model = keras.Model(images, keras.layers.Dense(3)(keras.layers.Flatten()(images)))
    with pytest.raises(ValueError, match="The scale of the pixels is not known"):
        OBJECTIVES["dign"](model, RECIPE)


def test_mixtures_of_images_and_noise_go_together():
    """The labels of a step are probabilities, and label smoothing is on top."""
    recipe = dataclasses.replace(RECIPE, objective="dign:weight=0", label_smoothing=0.2)
    model, data = linear(1 / 64), RNG.integers(0, 256, (8, 4, 4, 1)).astype("float32")
    trained = trainer.compile_model(model, recipe, 8)
    trained.run_eagerly = True
    labels = RNG.dirichlet(np.ones(3), 8).astype("float32")
    logits = np.asarray(linear(1 / 64)(data, training=True), "float64")
    logs = np.log(softmax(logits))
    expected = -np.sum((0.8 * labels + 0.2 / 3) * logs, axis=1).mean()
    found = trained.train_on_batch(data, labels, return_dict=True)
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)
    top = labels.argmax(axis=1)
    np.testing.assert_allclose(found["accuracy"], (logs.argmax(1) == top).mean(), 1e-6)
    np.testing.assert_allclose(found["nll"], -logs[np.arange(8), top].mean(), 1e-5)
    assert objective.are_probabilities(labels, logits)
    assert not objective.are_probabilities(top, logits)
    assert not objective.are_probabilities(top[:, None], logits)
