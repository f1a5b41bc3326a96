"""Adversarial augmentation: the network, the similarity, and what the steps reach."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops
from skimage.metrics import structural_similarity

from tests.helpers.trainings import RECIPE, dense_model, stripes
from training import objectives, trainer
from training.augment.image_to_image import CHANNELS, SLOPE, ImageToImage
from training.objectives import ada

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (3, 9, 11, 3)).astype("float32")


def identity(num_channels):
    """A network that gives every image back exactly."""
    network = ImageToImage(num_channels)
    mean, deviation, first, second, last, *_ = network.variables
    deviation.assign(np.ones(num_channels))
    mean.assign(np.full(num_channels, 100.0))
    kernels = np.zeros(first.shape), np.zeros(second.shape), np.zeros(last.shape)
    for channel in range(num_channels):
        for place, sign in ((2 * channel, 1), (2 * channel + 1, -1)):
            kernels[0][1, 1, channel, place] = sign
            # What is positive is kept by one of the two.
            kernels[1][1, 1, 2 * channel, place] = sign / (1 + SLOPE)
            kernels[1][1, 1, 2 * channel + 1, place] = -sign / (1 + SLOPE)
            kernels[2][1, 1, place, channel] = sign / (1 + SLOPE)
    for variable, value in zip((first, second, last), kernels, strict=True):
        variable.assign(value)
    return network


def test_a_network_that_is_not_changed_and_gives_images_back_augments_nothing():
    network = identity(3)
    zeros = np.zeros((3, network.num_changes), "float32")
    found = network(IMAGES, zeros)
    np.testing.assert_allclose(found, IMAGES, atol=1e-3)
    np.testing.assert_allclose(ada.similar(IMAGES, found, 1.0), IMAGES, atol=1e-3)
    # A shift of the last layer is one of its channel, of each image by itself.
    zeros[1, -2] = 20.0
    moved = np.asarray(network(IMAGES, zeros)) - IMAGES
    np.testing.assert_allclose(moved[0], 0, atol=1e-3)
    free = IMAGES[1, ..., 1] < 230
    np.testing.assert_allclose(moved[1, ..., 1][free], 20, atol=1e-3)


def test_a_fitted_network_gives_images_back():
    images = stripes(60).images
    smooth = images // 2 + np.roll(images, 1, axis=2) // 2
    network = ImageToImage(1)
    ratio = network.fit(smooth[:40])
    zeros = np.zeros((20, network.num_changes), "float32")
    errors = np.asarray(network(smooth[40:], zeros)) - smooth[40:]
    found = 20 * np.log10(255 / np.sqrt((errors**2).mean(axis=(1, 2, 3))))
    assert ratio > 25  # Of noise, which is the hardest.
    assert abs(found.mean() - ratio) < 3
    # Features have mean 0 and variance 1, so sizes of changes mean the same.
    kernels = [np.asarray(v) for v in network.variables]
    again = ImageToImage(1)
    again.fit(smooth[:40])
    for value, other in zip(kernels, again.variables, strict=True):
        np.testing.assert_array_equal(value, other)
    mean, deviation, kernel, _, _, bias, *_ = network.variables
    x = (smooth[:40].astype("float32") - np.asarray(mean)) / np.asarray(deviation)
    features = np.asarray(ops.conv(x, kernel.value, padding="same") + bias.value)
    np.testing.assert_allclose(features.mean((0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(features.std((0, 1, 2)), 1, rtol=1e-3)
    assert features.shape[-1] == CHANNELS


def test_the_similarity_is_that_of_scikit_image_and_is_kept():
    others = np.clip(IMAGES + RNG.normal(0, 60, IMAGES.shape), 0, 255).astype("f4")
    found = ada.structural_similarity(IMAGES, others)
    settings = {"win_size": 7, "use_sample_covariance": False, "data_range": 255}
    for image, other, value in zip(IMAGES, others, found, strict=True):
        expected = structural_similarity(image, other, channel_axis=-1, **settings)
        assert float(value) == pytest.approx(expected, abs=1e-4)
    least = float(np.max(found)) + 0.1
    mixed = np.asarray(ada.similar(IMAGES, others, least))
    reached = np.asarray(ada.structural_similarity(IMAGES, mixed))
    assert (reached >= least).all()
    assert (reached < least + 0.1).all()
    lower = ada.similar(IMAGES, others, float(np.min(found)) - 0.01)
    np.testing.assert_allclose(lower, others, atol=1e-3)


def test_steps_stay_in_the_radius_and_make_the_loss_larger():
    model, data = dense_model(rate=0.0), stripes(32)
    network, losses = ImageToImage(1), []
    network.fit(data.images)
    for steps in (0, 3):
        changes = ada.ascended(network, model, data.images, data.labels, 5, 0.3, steps)
        for part in network.split(changes):
            sizes = np.sqrt(np.mean(np.square(part), axis=-1))
            assert (sizes < 0.3 * (1 + 1e-4)).all()
            if not steps:
                np.testing.assert_allclose(sizes, 0.3, rtol=1e-4)
        logits = model(network(data.images, changes))
        losses.append(
            keras.losses.sparse_categorical_crossentropy(data.labels, logits, True)
        )
    assert np.mean(np.asarray(losses[1]) > np.asarray(losses[0])) > 0.9


@pytest.mark.slow
def test_a_training_with_it_learns(tmp_path):
    own = dataclasses.replace(RECIPE, objective="ada:radius=0.2", augmentations=())
    model, data = dense_model(rate=0.0), stripes()
    rows = trainer.train(model, own, data, tmp_path, stripes(40))
    assert rows[-1]["loss"] < rows[0]["loss"]
    found = objectives.read("ada:similarity=1:steps=0")(model, own)
    found.adapt(data, None)
    found.begin_epoch(model, 0)
    one = found.moved(model, data.images[:4], data.labels[:4], 3)
    np.testing.assert_allclose(one, data.images[:4], atol=1e-3)


@pytest.mark.parametrize("bad", ["radius=-1", "steps=-1", "steps=1.5", "similarity=2"])
def test_settings_out_of_their_ranges_are_refused(bad):
    with pytest.raises(ValueError, match=f"Received: {bad}"):
        objectives.read(f"ada:{bad}")(dense_model(), RECIPE)
