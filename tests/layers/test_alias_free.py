"""Rectifiers and max poolings on a finer grid, against loops over the definitions."""

import functools

import keras
import numpy as np
import pytest
import scipy.signal
import tensorflow as tf

from layers import FilteredMaxPooling2D, FilteredReLU, QuantileReLU, alias_free
from tests.helpers import marks
from tests.helpers.checks import check_layer

SIDES = [1, 2, 3, 8, 15, 23, 30]


def some_maps(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def taps_of(cutoff, side):
    """A filter by SciPy, whose length is that of the published code."""
    length = int(np.clip(2 * ((side + 1) // 8) + 1, 3, 7))
    taps = scipy.signal.firwin(length, cutoff, width=1 - 2 * cutoff, fs=1)
    return taps / taps.sum()


def upsampled(row, cutoff):
    """Zeros between points, filtered; over what becomes of ones."""
    side = len(row)
    taps = taps_of(cutoff, side)
    mirrored = np.pad(row, 3, "reflect")
    fine, ones = np.zeros((2, 2 * len(mirrored)))
    fine[::2], ones[::2] = mirrored, 1
    fine, ones = (np.convolve(x, taps, "same") for x in (fine, ones))
    return (fine / ones)[6 : 6 + 2 * side]


def downsampled(row, strides, cutoff, side):
    mirrored = np.pad(row, 3, "reflect")
    return np.convolve(mirrored, taps_of(cutoff, side), "same")[3:-3][::strides]


def along(x, function):
    for axis in (1, 2):
        x = np.apply_along_axis(function, axis, x)
    return x


@pytest.mark.parametrize("cutoff", [1 / 4, 1 / 6, 1 / 8, 1 / 10])
def test_filters_are_those_of_scipy(cutoff):
    for side in SIDES:
        found = alias_free.kaiser(cutoff, alias_free.num_taps(side))
        np.testing.assert_allclose(found, taps_of(cutoff, side), atol=1e-12)
    np.testing.assert_array_equal(alias_free.kaiser(0.5, 3), [0, 1, 0])


@pytest.mark.parametrize("side", SIDES)
def test_matrices_filter_what_is_mirrored_and_keep_constants(side):
    row = np.random.default_rng(side).normal(size=side)
    up = alias_free.upsampling(side, 1 / 8)
    np.testing.assert_allclose(up @ row, upsampled(row, 1 / 8), atol=1e-5)
    down = alias_free.downsampling(side, 3, 1 / 6, side)
    expected = downsampled(row, 3, 1 / 6, side)
    np.testing.assert_allclose(down @ row, expected, atol=1e-5)
    for matrix in (up, down):
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("quantile", marks.few([0.4, 0.05, 0.9], [0.05, 0.9]))
def test_a_quantile_is_that_of_numpy_and_bounds_the_share_that_is_cut(quantile):
    x = some_maps(3, 5, 7, 4) - np.linspace(-2, 2, 4, dtype="float32")
    shift = np.maximum(-np.quantile(x, quantile, axis=(1, 2), keepdims=True), 0)
    layer = QuantileReLU(quantile)
    compiled = tf.function(layer, [tf.TensorSpec((None, None, None, 4))])
    for y in (layer(x), compiled(x)):
        np.testing.assert_allclose(y, np.maximum(x + shift, 0), atol=1e-5)
    cut = np.mean(np.asarray(layer(x)) == 0, axis=(1, 2))
    assert np.all(cut <= quantile + 1 / 35)
    assert np.any(cut > quantile / 2)
    positive = np.abs(x)
    np.testing.assert_array_equal(layer(positive), positive)
    gradient = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(gradient)
        total = tf.reduce_sum(layer(gradient))
    # A map that is raised is the same if a constant is added to it.
    sums = np.sum(tape.gradient(total, gradient), axis=(1, 2))
    expected = np.where(shift[:, 0, 0] > 0, 0, np.sum(x > 0, axis=(1, 2)))
    np.testing.assert_allclose(sums, expected, atol=1e-4)


@pytest.mark.parametrize("quantile", [None, 0.4])
def test_a_filtered_rectifier_is_one_between_two_filters(quantile):
    for sides in ((8, 15), (2, 23), (1, 3)):
        x = some_maps(2, *sides, 3) - 0.5
        raised = np.asarray(x, "float64")
        if quantile is not None:
            q = np.quantile(raised, quantile, axis=(1, 2), keepdims=True)
            raised += np.maximum(-q, 0)
        fine = along(raised, lambda row: upsampled(row, 1 / 8))
        expected = along(
            np.maximum(fine, 0),
            lambda row: downsampled(row, 2, 1 / 8, len(row) // 2),
        )
        found = FilteredReLU(quantile)(x)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    constant = np.full((1, 6, 7, 2), 3, "float32")
    np.testing.assert_allclose(FilteredReLU(quantile)(constant), constant, atol=1e-5)


@pytest.mark.parametrize("pool_size", marks.few([2, 3], [2]))
def test_a_filtered_max_pooling_is_one_between_two_filters(pool_size):
    for sides in ((8, 15), (3, 24)):
        x = some_maps(2, *sides, 3)
        window = 2 * pool_size - 1
        fine = along(
            np.asarray(x, "float64"), functools.partial(upsampled, cutoff=0.5 / window)
        )
        view = np.lib.stride_tricks.sliding_window_view(fine, (window, window), (1, 2))
        expected = along(
            view.max(axis=(-2, -1)), lambda row: downsampled(row, 4, 1 / 8, len(row))
        )
        found = FilteredMaxPooling2D(pool_size)(x)
        assert found.shape[1:3] == tuple((n - pool_size + 2) // 2 for n in sides)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    constant = np.full((1, 6, 7, 2), -3, "float32")
    pooled = FilteredMaxPooling2D(pool_size)(constant)
    np.testing.assert_allclose(pooled, -3, atol=1e-5)


def test_vectors_are_rectified_as_they_are():
    x = some_maps(3, 5)
    for layer in (QuantileReLU(), FilteredReLU()):
        np.testing.assert_array_equal(layer(x), np.maximum(x, 0))


EACH = [FilteredReLU(), QuantileReLU(0.3), FilteredMaxPooling2D(3)]


@pytest.mark.parametrize("layer", marks.few(EACH, EACH[1:]))
def test_keeps_the_contract(layer):
    check_layer(layer, (2, 6, 9, 3))


def test_other_arguments_and_maps_are_refused():
    for quantile in (0, 1, -0.1, float("nan"), "0.4"):
        for kind in (QuantileReLU, FilteredReLU):
            with pytest.raises(ValueError, match=f"share.*quantile={quantile}"):
                kind(quantile)
    with pytest.raises(ValueError, match="`quantile` is the largest"):
        QuantileReLU(None)
    with pytest.raises(ValueError, match="`pool_size` must be.*pool_size=0"):
        FilteredMaxPooling2D(0)
    with pytest.raises(ValueError, match="larger than its map.*pool_size=3, maps of 2"):
        FilteredMaxPooling2D(3)(np.zeros((1, 2, 8, 1), "float32"))
    with pytest.raises(ValueError, match="larger than its map"):
        FilteredMaxPooling2D(3)(keras.Input((8, 2, 1)))
