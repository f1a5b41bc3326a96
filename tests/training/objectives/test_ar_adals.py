"""Adaptive label smoothing in bins, against slow versions of its own."""

import dataclasses

import keras
import numpy as np
import pytest
import safetensors.numpy

from tests.helpers.trainings import RECIPE, dense_model, stripes
from training import objectives, trainer
from training.objectives import ar_adals
from zoo.presets import weight_file

RNG = np.random.default_rng(0)


def recipe(text="ar_adals", **changes):
    return dataclasses.replace(RECIPE, objective=text, augmentations=(), **changes)


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def test_the_loss_is_that_of_labels_which_sum_to_one():
    logits = RNG.normal(size=(12, 5)).astype("float32") * 3
    labels = RNG.integers(0, 5, 12)
    smoothing = np.r_[0.0, 0.8, RNG.uniform(0, 0.8, 10)]
    targets = np.full((12, 5), smoothing[:, None] / 5)
    targets[np.arange(12), labels] += 1 - smoothing
    np.testing.assert_allclose(targets.sum(axis=1), 1)
    expected = -np.sum(targets * np.log(softmax(logits.astype("float64"))), axis=1)
    found = ar_adals.cross_entropy(logits, labels, smoothing.astype("float32"))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    plain = keras.losses.sparse_categorical_crossentropy(labels, logits, True)
    np.testing.assert_allclose(found[0], plain[0], rtol=1e-6)


def slow_update(smoothing, members, confidence, right, rate, largest):
    """Bin by bin and image by image."""
    new = []
    for number, value in enumerate(smoothing):
        own = [i for i, member in enumerate(members) if member == number]
        mean = sum(confidence[i] for i in own) / len(own)
        accuracy = sum(1 for i in own if right[i]) / len(own)
        new.append(min(max(value + rate * (mean - accuracy), 0.0), largest))
    return new


def test_each_bin_follows_its_own_images():
    members = RNG.permutation(np.arange(40) % 4)
    confidence, right = RNG.uniform(0.2, 1, 40), RNG.uniform(size=40) < 0.6
    confidence[members == 3], right[members == 3] = 0.75, np.arange(10) < 7.5
    before = np.array([0.0, 0.3, 0.75, 0.1], "float32")
    for rate in (0.0, 0.005, 1.0, 50.0):
        given = members, confidence, right, rate, 0.8
        found = ar_adals.adapted(before, *given)
        np.testing.assert_allclose(found, slow_update(before, *given), rtol=1e-5)
    # As sure as it is right: nothing changes.
    confidence[members == 3] = right[members == 3].mean()
    found = ar_adals.adapted(before, members, confidence, right, 1.0, 0.8)
    assert found[3] == pytest.approx(0.1, rel=1e-6)
    # One bin is an adaptive smoothing of all images.
    one = ar_adals.adapted(
        np.float32([0.2]), np.zeros(40, int), confidence, right, 0.5, 1
    )
    excess = confidence.mean() - right.mean()
    assert one[0] == pytest.approx(0.2 + 0.5 * excess, rel=1e-5)


def test_bins_are_of_equal_size_and_in_the_order_of_the_values():
    for count, size in ((3, 10), (10, 10), (4, 37)):
        values = RNG.normal(size=size)
        found = ar_adals.equal_bins(values, count)
        sizes = np.bincount(found, minlength=count)
        assert sizes.max() - sizes.min() <= 1
        assert (np.diff(found[np.argsort(values)]) >= 0).all()


def test_a_training_smooths_by_the_validation_images_of_each_bin(tmp_path):
    """Its rows are those of a slow version, from the weights after each epoch."""
    data, validation = stripes(48), stripes(30)
    noise = np.random.default_rng(1).normal(0, 70, validation.images.shape)
    images = np.clip(validation.images + noise, 0, 255).astype("uint8")
    validation = dataclasses.replace(validation, images=images)
    own = recipe("ar_adals:bins=3:rate=2:begins=1", epochs=4, snapshots=4)
    rows = trainer.train(dense_model(rate=0.0), own, data, tmp_path, validation)
    arrays = safetensors.numpy.load_file(tmp_path / "checkpoint.safetensors")
    state = {name.rpartition("/")[2]: value for name, value in arrays.items()}
    members = state["validation_bins"]
    assert np.bincount(members).tolist() == [10, 10, 10]
    assert np.bincount(state["bins"]).tolist() == [16, 16, 16]
    assert "label_smoothing_0" not in rows[0]
    smoothing, model = [0.0] * 3, dense_model(rate=0.0)
    for row in rows[1:]:
        path = tmp_path / "snapshots" / f"epoch_{row['epoch']:05}.safetensors"
        weight_file.load_weights(model, path)
        probs = softmax(np.asarray(model(validation.images), "float64"))
        right = probs.argmax(axis=1) == validation.labels
        smoothing = slow_update(smoothing, members, probs.max(axis=1), right, 2, 0.5)
        found = [row[f"label_smoothing_{r}"] for r in range(3)]
        np.testing.assert_allclose(found, smoothing, rtol=1e-4, atol=1e-6)
    assert max(smoothing) > 0.01
    np.testing.assert_allclose(state["label_smoothing"], smoothing, 1e-4, 1e-6)


def test_a_step_smooths_the_label_of_each_image_by_its_bin():
    model, data = dense_model(rate=0.0), stripes(24)
    trained = trainer.compile_model(model, recipe("ar_adals:bins=3"), 24)
    trained.objective.adapt(data, stripes(9))
    smoothing, members, _ = trained.objective.variables
    smoothing.assign([0.0, 0.2, 0.45])
    own = RNG.permutation(np.arange(24) % 3)
    members.assign(own)
    numbers = RNG.permutation(24)[:16].astype("uint32")
    images, labels = data.images[numbers], data.labels[numbers]
    logits = np.asarray(model(images, training=True), "float64")
    targets = np.array([0.0, 0.2, 0.45])[own[numbers]][:, None] / 2
    targets = targets + (1 - 2 * targets) * np.eye(2)[labels]
    expected = -np.mean(np.sum(targets * np.log(softmax(logits)), axis=1))
    logs = trained.train_on_batch(images, (labels, numbers), return_dict=True)
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-4)


def test_what_has_no_bins_is_refused():
    model = dense_model(rate=0.0)
    for text, smoothing, message in (
        ("ar_adals", 0.1, "smooths labels by itself.*label_smoothing=0.1"),
        ("ar_adals:bins=0", 0.0, "bins"),
        ("ar_adals:rate=-1", 0.0, "rate=-1"),
        ("ar_adals:begins=3", 0.0, "begins=3, epochs=3"),
    ):
        own = recipe(text, label_smoothing=smoothing)
        with pytest.raises(ValueError, match=message):
            objectives.read(text)(model, own)
    found = objectives.read("ar_adals")(model, recipe())
    for sets in ((stripes(), None), (stripes(8), stripes(20))):
        with pytest.raises(ValueError, match="into 10 bins each. Received: "):
            found.adapt(*sets)
