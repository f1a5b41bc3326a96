"""Logits and labels of every pixel, from a training to the metrics.

A network whose logits do not depend on where a pixel is must be a classifier of pixels:
the oracle is the same network on images of one pixel each.
"""

import dataclasses

import keras
import numpy as np
import pytest

import layers
from tests.helpers.trainings import RECIPE, without_time
from training import metrics, trainer
from training.data import ImageData
from training.evaluation import evaluate, predictions, sampling
from training.metrics.keras_metrics import Classification
from zoo import posterior, predictive

SIZE, COUNT = 4, 24
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (COUNT, SIZE, SIZE, 1)).astype("uint8")
LABELS = (IMAGES[..., 0] > 100).astype("int32") + (IMAGES[..., 0] > 200)
RECIPE = dataclasses.replace(RECIPE, batch_size=8, augmentations=(), learning_rate=0.5)


def network(size=SIZE, rate=0.0):
    """A classifier of pixels, for images of any size."""
    keras.utils.set_random_seed(0)
    images = x = keras.Input((size, size, 1), name="images")
    x = keras.layers.Rescaling(1 / 128, -1, name="normalize")(x)
    x = keras.layers.Conv2D(8, 1, activation="relu", name="conv")(x)
    x = layers.MCDropout(rate, name="dropout")(x)
    x = keras.layers.Conv2D(3, 1, name="head")(x)
    x = keras.layers.Reshape((3,))(x) if size == 1 else x
    return keras.Model(images, x, name="pixels")


def as_pixels(array):
    """Returns every pixel as an example of its own."""
    return array.reshape(-1, *array.shape[3:])


def single_pixels():
    return IMAGES.reshape(-1, 1, 1, 1), LABELS.reshape(-1)


@pytest.fixture(scope="module")
def data():
    return ImageData("maps", IMAGES, LABELS, ("a", "b", "c"))


def test_a_posterior_of_maps_is_that_of_their_pixels():
    maps, pixels = network(), network(1)
    for kind in (
        lambda m: posterior.MonteCarlo(m, 2),
        lambda m: posterior.DeepEnsemble([m, m]),
        lambda m: posterior.Temperature(m, 2.0),
    ):
        samples = np.asarray(kind(maps).predict(IMAGES, batch_size=7))
        expected = np.asarray(kind(pixels).predict(single_pixels()[0]))
        assert samples.shape[1:] == (COUNT, SIZE, SIZE, 3)
        found = samples.reshape(len(samples), -1, 3)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        for name in ("probs", "entropy", "mutual_information", "variation_ratio"):
            quantity = getattr(predictive, name)
            found, whole = np.asarray(quantity(samples)), quantity(expected)
            assert found.shape[:3] == IMAGES.shape[:3]
            np.testing.assert_allclose(as_pixels(found), whole, atol=1e-5)


def test_samples_of_a_map_differ_and_do_not_depend_on_the_batch():
    run = posterior.MonteCarlo(network(rate=0.5), 5)
    samples = run.predict(IMAGES, batch_size=COUNT, seed=3)
    assert np.ptp(samples, axis=0).max() > 0.1
    np.testing.assert_allclose(run.predict(IMAGES, 5, seed=3), samples, atol=1e-5)
    assert run(IMAGES[:0], seed=3).shape == (5, 0, SIZE, SIZE, 3)


def test_a_temperature_of_maps_is_that_of_their_pixels():
    maps, pixels = (posterior.Temperature(network(size)) for size in (SIZE, 1))
    predicted = np.argmax(maps.predict(IMAGES)[0], axis=-1)
    labels = np.where(RNG.random(predicted.shape) < 0.7, predicted, LABELS)
    maps.adapt(IMAGES, labels)
    pixels.adapt(single_pixels()[0], labels.reshape(-1))
    assert abs(float(maps.temperature) - 1) > 0.01
    np.testing.assert_allclose(maps.temperature, pixels.temperature, rtol=1e-5)


def test_metrics_take_every_pixel_for_an_example():
    probs = RNG.dirichlet(np.ones(3), (COUNT, SIZE, SIZE))
    for name, metric in metrics.CLASSIFICATION.items():
        found = metric(probs, LABELS)
        expected = metric(as_pixels(probs), LABELS.reshape(-1))
        np.testing.assert_allclose(found, expected, err_msg=name)
    for given in (LABELS[:, 0], LABELS.reshape(-1), LABELS[..., None]):
        with pytest.raises(ValueError, match=r"`labels` must have the shape \(24, 4, "):
            metrics.ece(probs, given)


@pytest.mark.parametrize("by_pixel", [False, True])
def test_keras_metrics_take_every_pixel_for_an_example(by_pixel):
    probs = RNG.dirichlet(np.ones(3), (COUNT, SIZE, SIZE)).astype("float32")
    weights = RNG.integers(0, 3, COUNT).astype("float32")
    each = np.broadcast_to(weights[:, None, None], LABELS.shape)
    metric, expected = Classification("ece"), Classification("ece")
    metric.update_state(LABELS, probs, each if by_pixel else weights)
    expected.update_state(LABELS.ravel(), as_pixels(probs), each.ravel())
    np.testing.assert_allclose(metric.result(), expected.result(), rtol=1e-6)


def test_stored_predictions_of_maps_have_the_figures_of_their_pixels(data, tmp_path):
    images, labels = single_pixels()
    pixels = ImageData("pixels", images, labels, data.classes)
    maps = evaluate.evaluate(network(), data, (1,), batch_size=10, progress=False)
    expected = evaluate.evaluate(network(1), pixels, (1,), progress=False)
    of_pixels = {row["metric"]: row["value"] for row in expected}
    shared = [row for row in maps if row["metric"] in of_pixels]
    assert len(shared) > 10
    for row in shared:
        value = of_pixels[row["metric"]]
        np.testing.assert_allclose(row["value"], value, 1e-5, 1e-6)
    passes = sampling.Passes(network(), (1, 2), batch_size=10)
    stored = predictions.store(passes, data, tmp_path)
    assert stored.probs.shape == (2, COUNT, SIZE, SIZE, 3)
    np.testing.assert_array_equal(stored.labels, LABELS)
    values = [row["value"] for row in evaluate.rows(stored, sizes=(1,))]
    np.testing.assert_equal(values, [row["value"] for row in maps])


def test_trains_on_labels_of_pixels(data, tmp_path):
    rows = trainer.train(network(), RECIPE, data, tmp_path / "whole", data)
    assert rows[-1]["val_nll"] < 0.8 * rows[0]["val_nll"]
    assert rows[-1]["val_accuracy"] > 0.6
    again = trainer.train(network(), RECIPE, data, tmp_path / "whole", data)
    assert without_time(again) == without_time(rows)


def test_labels_that_do_not_fit_the_logits_are_refused(data, tmp_path):
    single = dataclasses.replace(data, labels=LABELS[:, 0, 0])
    with pytest.raises(ValueError, match=r"labels of data set 'maps' have the shape"):
        trainer.train(network(), RECIPE, single, tmp_path)
    with pytest.raises(ValueError, match=r"of shape \('images', 4, 4\). Received"):
        evaluate.evaluate(network(), single, (1,), progress=False)
    moved = dataclasses.replace(RECIPE, augmentations=("randaugment",))
    with pytest.raises(ValueError, match=r"not their labels.*=\['randaugment'\]"):
        trainer.train(network(), moved, data, tmp_path)


def test_a_model_of_maps_of_unknown_size_is_refused():
    images = keras.Input((None, None, 1))
    model = keras.Model(images, keras.layers.Conv2D(3, 1)(images))
    with pytest.raises(ValueError, match="with a known height and width"):
        posterior.MonteCarlo(model, 1)
