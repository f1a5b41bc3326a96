import keras
import numpy as np
import pytest

import layers
import zoo
from tests.helpers.checks import assert_mean_close
from tests.helpers.exports import RATE, call, dropout_model, exact_moments, softmax
from tests.helpers.litert_files import (
    DIFFERENCES,
    FORMATS,
    NOISE,
    each_format,
    export_as,
    run,
)
from training import data, export


def mask_model():
    """A network whose probabilities tell which of 16 values were dropped."""
    inputs = keras.Input((4, 4, 1), name="images")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Flatten()(layers.MCDropout(RATE, name="dropout")(x))
    return keras.Model(inputs, x)


WHITE = np.full((60, 4, 4, 1), 255, "uint8")


@pytest.fixture(scope="module")
def masked():
    """One pass of that network, and its masks of three images for 20 seeds."""
    posterior = zoo.posterior.MonteCarlo(mask_model(), 1)
    images = WHITE[:3].astype("float32")
    return posterior, [np.array(posterior(images, seed=s)[0]) > 0 for s in range(20)]


@each_format
def test_a_seed_draws_the_masks_of_keras_bit_for_bit(masked, label, tmp_path):
    posterior, masks = masked
    export_as(label, posterior, tmp_path / "lite", images=WHITE)
    for seed, expected in enumerate(masks):
        scalar = np.array(seed, "int32")
        probs = run(tmp_path / "lite", WHITE[:3], label, seed=scalar)
        np.testing.assert_array_equal(
            probs > np.mean(probs, -1, keepdims=True), expected
        )
    flat = [mask.tobytes() for mask in np.concatenate(masks)]
    assert len(set(flat)) == len(flat)  # No seed and no image has another's.


@pytest.fixture(scope="module")
def dropout():
    return zoo.posterior.MonteCarlo(dropout_model(), 1)


@pytest.mark.parametrize("label", ["dynamic", "int8"])
def test_eight_bits_keep_the_moments_over_all_masks(dropout, label, tmp_path):
    model = dropout.model
    export_as(label, dropout, tmp_path / "lite")
    images = np.repeat(NOISE[:2], 25, axis=0)
    samples = [
        run(tmp_path / "lite", images, label, seed=np.array(s, "int32"))
        for s in range(100)
    ]
    samples = np.reshape(samples, (-1, 2, 25, 4)).swapaxes(1, 2).reshape(-1, 2, 4)
    mean, variance = exact_moments(model, NOISE[:2].astype("float32"))
    rounding = 0.005 if label == "int8" else 0.0
    nearest = np.clip(np.mean(samples, axis=0), mean - rounding, mean + rounding)
    assert_mean_close(samples - nearest + mean, mean)
    squares = (samples - np.mean(samples, axis=0)) ** 2
    scale = np.mean(squares, axis=0) / variance
    assert np.all(np.abs(scale - 1) < 0.15 + 6 * relative_error(squares))


def relative_error(samples):
    return np.std(samples, 0) / np.mean(samples, 0) / np.sqrt(len(samples))


def load(name):
    if "." in name:
        return zoo.load(name)
    model = zoo.build(name, (28, 28, 1), 10)
    if "lldo" in name:  # Dropout of the features of the trained plain network.
        for layer in zoo.load("resnet20.fashion_mnist").layers:
            model.get_layer(layer.name).set_weights(layer.get_weights())
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, labels",
    [
        ("resnet20_mcdo.fashion_mnist", FORMATS),
        ("resnet20_smooth_mcdo.fashion_mnist", FORMATS),
        ("resnet20_lldo", FORMATS),
        ("resnet20_flipout", ["float32", "float16", "dynamic"]),
    ],
)
def test_seeds_of_real_models_draw_what_keras_draws(name, labels, tmp_path):
    test_set, model = data.load("fashion_mnist", "test"), load(name)
    images, posterior = test_set.images[:10], zoo.posterior.MonteCarlo(model, 1)
    expected = np.stack([softmax(posterior(images, seed=s)[0]) for s in range(20)])
    noise = expected - np.mean(expected, axis=0)
    for label in labels:
        export_as(label, model, tmp_path / "lite", images=test_set.images[-60:])
        seeds = [np.array(seed, "int32") for seed in range(20)]
        probs = np.stack([run(tmp_path / "lite", images, label, seed=s) for s in seeds])
        largest, mean = DIFFERENCES[label]
        assert np.max(np.abs(probs - expected)) < largest
        assert np.mean(np.abs(probs - expected)) < mean
        drawn = probs - np.mean(probs, axis=0)
        products = np.sum(drawn * noise) / np.sqrt(np.sum(drawn**2) * np.sum(noise**2))
        assert products > 0.95


def gaussian_model():
    """A network of the layers with Gaussian weights, each drawn another way."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1), name="images")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    wide = {"initial_scale": 0.3, "activation": "relu"}
    x = layers.Conv2DLocalReparameterization(4, 3, name="conv", **wide)(x)
    x = layers.DepthwiseConv2DReparameterization(3, 2, "same", 2, **wide)(x)
    x = layers.DepthwiseConv2DFlipout(2, name="depthwise", **wide)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    prior = layers.ScaleMixturePrior()
    return keras.Model(inputs, layers.DenseReparameterization(3, prior=prior)(x))


@pytest.mark.slow
def test_gaussian_weights_of_every_kind_draw_what_keras_draws(tmp_path):
    posterior = zoo.posterior.MonteCarlo(gaussian_model(), 2)
    images = NOISE[:3, :8, :8].astype("float32")
    export_as("float32", posterior, tmp_path / "lite", num_samples=2)
    export.export_saved_model(posterior, tmp_path / "saved")
    drawn = []
    for seed in (0, 7):
        samples = softmax(posterior(images, seed=seed))
        scalar = np.array(seed, "int32")
        probs = run(tmp_path / "lite", images, "float32", seed=scalar)
        np.testing.assert_allclose(probs, samples.mean(axis=0), atol=1e-5)
        served = call(
            tmp_path / "saved", "sample", images=images, num_samples=2, seed=seed
        )
        np.testing.assert_allclose(served["samples"], samples, atol=1e-5)
        drawn.append(samples)
    assert np.abs(drawn[0] - drawn[1]).max() > 1e-2
