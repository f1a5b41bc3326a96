"""Uncertainty away from the data, on points of two dimensions."""

import keras
import numpy as np
import pytest

import layers

RNG = np.random.default_rng(0)


def two_moons(count):
    """Two half circles that reach into each other, as points and labels."""
    labels = np.arange(count) % 2
    angles = np.pi * RNG.uniform(size=count) + np.pi * labels
    points = np.stack([np.cos(angles) + labels, np.sin(angles) + 0.4 * labels], 1)
    return (points + RNG.normal(0, 0.1, points.shape)).astype("float32"), labels


def network(head):
    """A residual network of bounded layers on points, which are maps of one pixel."""
    keras.utils.set_random_seed(0)
    points = keras.Input((2,))
    x = keras.layers.Reshape((1, 1, 2))(points)
    x = layers.SpectralConv2D(64, 1, max_norm=0.95)(x)
    for _ in range(4):
        branch = layers.SpectralConv2D(64, 1, max_norm=0.95, activation="relu")(x)
        x = keras.layers.Add()([x, branch])
    return keras.Model(points, head(keras.layers.Flatten()(x)))


def away(points):
    """Points on a circle around, twice as far as any of the data."""
    angles = np.linspace(0, 2 * np.pi, 40)
    center = points.mean(axis=0)
    radius = 2 * np.linalg.norm(points - center, axis=1).max()
    return (center + radius * np.stack([np.cos(angles), np.sin(angles)], 1)).astype(
        "f4"
    )


@pytest.mark.slow
def test_a_gaussian_process_is_unsure_away_from_the_data():
    head = layers.GaussianProcess(2, 512, length_scale=1.0, mean_field_factor=np.pi / 8)
    model, (points, labels) = network(head), two_moons(500)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    events = layers.EpochEvents()
    model.fit(points, labels, 64, epochs=30, callbacks=[events], verbose=0)
    features = keras.Model(model.input, head.input)
    test, truth = two_moons(400)
    near, far = (np.asarray(head.variance(features(x))) for x in (test, away(points)))
    assert np.mean(np.argmax(model(test), 1) == truth) > 0.97
    assert np.quantile(far, 0.1) > 10 * np.quantile(near, 0.9)
    sure, unsure = (
        np.asarray(keras.ops.softmax(model(x))).max(axis=1)
        for x in (test, away(points))
    )
    assert np.median(sure) > 0.9
    assert unsure.max() < 0.75
    # Without the variance it is as sure of what it has never seen.
    head.mean_field_factor = 0
    blind = np.asarray(keras.ops.softmax(model(away(points)))).max(axis=1)
    assert np.median(blind) > np.median(unsure) + 0.1
