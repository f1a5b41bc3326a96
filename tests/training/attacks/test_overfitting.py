"""Catastrophic overfitting is noticed, by figures, and by nothing else."""

import logging

import keras
import numpy as np
import pytest

from tests.helpers.trainings import stripes
from training.attacks import overfitting

COLLAPSE = [(0.2, 0.0), (0.5, 0.4), (0.55, 0.42), (0.85, 0.03)]


def course(accuracies, monkeypatch):
    """Returns what is noticed in each epoch of a training with these accuracies."""
    watch = overfitting.RobustAccuracy(8.0, 16)
    watch.adapt(None, stripes(20))
    values = iter(np.array(accuracies, "float32"))
    monkeypatch.setattr(watch, "_measured", lambda model: next(values))
    watch.begin_epoch(None, 0)
    rows = []
    for epoch in range(len(accuracies) - 1):
        if epoch:
            watch.begin_epoch(None, epoch)  # Measures once, before the training.
        rows.append(watch.end_epoch(None, epoch))
    return [row["catastrophic_overfitting"] for row in rows], watch


@pytest.mark.parametrize(
    "accuracies, noticed",
    [
        (COLLAPSE, [0, 0, 1]),
        # In the first epoch already, of a network that withstood nothing.
        ([(0.15, 0.0), (0.8, 0.01)], [1]),
        # Never robust; robust more and more; robust to nothing any more.
        ([(0.3, 0.0), (0.35, 0.01), (0.4, 0.02)], [0, 0]),
        ([(0.1, 0.1), (0.3, 0.25), (0.5, 0.4), (0.6, 0.41)], [0, 0, 0]),
        ([(0.5, 0.4), (0.1, 0.02), (0.1, 0.1)], [0, 0]),
    ],
)
def test_it_is_noticed_where_the_weak_attack_alone_is_withstood(
    accuracies, noticed, monkeypatch
):
    assert course(accuracies, monkeypatch)[0] == noticed


def test_the_warning_has_the_figures_of_now_and_of_the_best(monkeypatch, caplog):
    with caplog.at_level(logging.WARNING, logger="absl"):
        _, watch = course(COLLAPSE, monkeypatch)
    (record,) = caplog.records
    text = record.getMessage()
    assert "overfitting in epoch 3: of 20 validation images, 85.0 %" in text
    assert "3.0 % after 5 steps of PGD; it was 50.0 % and 40.0 %" in text
    np.testing.assert_allclose(watch.variables[0], [0.5, 0.4])


def test_accuracies_are_those_of_the_attacks_on_a_linear_network():
    keras.utils.set_random_seed(0)
    images = keras.Input((12, 12, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 64, -2)(images))
    model = keras.Model(images, keras.layers.Dense(2, name="head")(x))
    data = stripes(45)
    kernel, bias = (np.asarray(w, "float64") for w in model.get_layer("head").weights)
    weights = (kernel[:, 1] - kernel[:, 0]) * np.where(data.labels, 1, -1)[:, None]
    x, found = data.images.reshape(45, -1).astype("float64"), []
    for epsilon in (1.0, 16.0):
        worst = np.clip(x - epsilon * np.sign(weights), 0, 255) / 64 - 2
        lead = (worst * weights).sum(axis=1)
        lead += (bias[1] - bias[0]) * np.where(data.labels, 1, -1)
        expected = np.mean(lead > 0)
        watch = overfitting.RobustAccuracy(epsilon, 16)
        watch.adapt(data, data)
        row = watch.end_epoch(model, 0)
        assert row["val_fgsm_accuracy"] == pytest.approx(expected)
        # A step reaches the border; five of a quarter, from most starts.
        assert row["val_pgd_accuracy"] >= expected
        found.append(row["val_pgd_accuracy"])
    assert found[0] > found[-1]


def test_nothing_is_measured_without_a_validation_set():
    watch = overfitting.RobustAccuracy(8.0, 16)
    watch.adapt(stripes(20), None)
    watch.begin_epoch(None, 0)
    assert watch.end_epoch(None, 0) == {}
    np.testing.assert_array_equal(watch.variables[0], [1, 0])
