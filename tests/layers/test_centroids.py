"""Kernels of distances to centroids, against slow loops."""

import keras
import numpy as np
import pytest

from layers import ClassCentroids
from tests.helpers.checks import assert_mean_close, check_layer

RNG = np.random.default_rng(0)


def built(**settings):
    layer = ClassCentroids(**{"units": 3, "embedding_size": 5, **settings})
    layer.build((None, 4))
    return layer


def features(count):
    return RNG.normal(size=(count, 4)).astype("float32")


def looped(layer, x):
    """Returns kernels and embeddings, one example and class at a time."""
    kernel, sums, counts = (
        np.asarray(weight, "float64")
        for weight in (layer.kernel, layer.sums, layer.counts)
    )
    kernels = np.zeros((len(x), 3))
    embeddings = np.zeros((len(x), 5, 3))
    for i, h in enumerate(x.astype("float64")):
        for c in range(3):
            embeddings[i, :, c] = h @ kernel[:, :, c]
            offset = embeddings[i, :, c] - sums[:, c] / max(counts[c], 1e-30)
            kernels[i, c] = np.exp(-np.mean(offset**2) / (2 * layer.length_scale**2))
    return kernels, embeddings


def test_logits_are_logarithms_of_the_kernels():
    layer, x = built(length_scale=0.7), features(6)
    kernels, embeddings = looped(layer, x)
    np.testing.assert_allclose(np.exp(layer(x)), kernels, rtol=1e-4)
    np.testing.assert_allclose(layer.embed(x), embeddings, rtol=1e-5, atol=1e-6)
    assert np.all(np.abs(kernels.sum(axis=1) - 1) > 1e-3)  # They are no distribution.


def test_at_the_centroid_a_kernel_is_one_and_falls_with_the_mean_of_squares():
    layer, x = built(), features(1)
    sums = np.asarray(layer.embed(x))[0] * 13
    layer.sums.assign(sums)
    np.testing.assert_allclose(layer(x), np.zeros((1, 3)), atol=1e-7)
    layer.sums.assign(sums + 0.1 * 13)  # Each of the dimensions is off by the scale.
    np.testing.assert_allclose(np.exp(layer(x)), np.full((1, 3), 0.60653), rtol=1e-4)


@pytest.mark.parametrize("momentum", [0.9, 0.0, 1.0])
def test_centroids_are_moving_averages_of_the_embeddings_of_their_class(momentum):
    layer = built(momentum=momentum)
    counts, sums = (np.array(w, "float64") for w in (layer.counts, layer.sums))
    for size in (7, 1, 4):
        x, labels = features(size), RNG.integers(0, 2, size)  # None is of class 2.
        embeddings = looped(layer, x)[1]
        counts, sums = momentum * counts, momentum * sums
        for embedding, label in zip(embeddings, labels, strict=True):
            counts[label] += 1 - momentum
            sums[:, label] += (1 - momentum) * embedding[:, label]
        layer.update(x, labels)
        np.testing.assert_allclose(layer.counts, counts, rtol=1e-5)
        np.testing.assert_allclose(layer.sums, sums, rtol=1e-4, atol=1e-5)
    centroids = sums / np.maximum(counts, 1e-30)
    np.testing.assert_allclose(layer.centroids, centroids, rtol=1e-4, atol=1e-5)
    before = np.array(layer.sums)
    layer.trainable = False
    layer.update(features(3), [0, 1, 2])
    np.testing.assert_array_equal(layer.sums, before)


def test_it_starts_as_published():
    layer = ClassCentroids(10)
    layer.build((None, 64))
    assert layer.kernel.shape == (64, 64, 10)
    kernel, centroids = np.array(layer.kernel), np.array(layer.centroids)
    for values, deviation in ((kernel, np.sqrt(2 / 640)), (centroids, 0.05)):
        assert_mean_close(values.ravel(), 0)
        assert_mean_close(values.ravel() ** 2, deviation**2)
    np.testing.assert_array_equal(layer.counts, np.full(10, 13))


def test_it_keeps_the_contract_of_a_layer():
    check_layer(built(length_scale=1.0), (6, 4))


def test_files_hold_the_centroids(tmp_path):
    inputs = keras.Input((4,))
    layer = ClassCentroids(3, kernel_initializer="ones")
    model = keras.Model(inputs, layer(inputs))
    layer.update(features(5), [0, 1, 2, 0, 1])
    model.save(tmp_path / "model.keras")
    restored = keras.models.load_model(tmp_path / "model.keras")
    x = features(3)
    np.testing.assert_array_equal(restored(x), model(x))
