"""Averages of maps of any size."""

import keras
import numpy as np
import pytest

from layers import AdaptiveAveragePooling2D
from layers.pooling import subsampled
from tests.helpers.checks import check_layer


def slow(x, count):
    """A loop over the windows of PyTorch's documentation."""
    _, height, width, _ = x.shape
    rows = [
        [
            x[:, i * height // count : -(-(i + 1) * height // count)][
                :, :, j * width // count : -(-(j + 1) * width // count)
            ].mean((1, 2))
            for j in range(count)
        ]
        for i in range(count)
    ]
    return np.moveaxis(np.array(rows), 2, 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (2, 5), (7, 7), (8, 20), (15, 7)])
def test_averages_are_those_of_a_loop_eager_and_compiled(size):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype("float32")
    kinds = [AdaptiveAveragePooling2D(count) for count in (1, 3, 7)]
    expected = [slow(x, layer.output_size) for layer in kinds]
    for layer, averages in zip(kinds, expected, strict=True):
        np.testing.assert_allclose(layer(x), averages, atol=1e-6)
    for sides in (size, (None, None)):
        images = keras.Input((*sides, 3))
        model = keras.Model(images, [layer(images) for layer in kinds])
        found = model.predict(x, verbose=0)
        for values, averages in zip(found, expected, strict=True):
            np.testing.assert_allclose(values, averages, atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="is wrong on JAX")
@pytest.mark.parametrize("size", [2, 6, 7, 9])
def test_averages_are_those_of_keras_where_it_has_them(size):
    x = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype("float32")
    expected = keras.layers.AdaptiveAveragePooling2D(7)(x)
    np.testing.assert_allclose(AdaptiveAveragePooling2D(7)(x), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (2, 1, 12, 1)])
def test_keeps_the_contract(shape):
    check_layer(AdaptiveAveragePooling2D(3), shape)


@pytest.mark.parametrize("size", [0, -1, 1.5, "7", None])
def test_sizes_that_are_none_are_refused(size):
    with pytest.raises(ValueError, match="`output_size` must be"):
        AdaptiveAveragePooling2D(size)


@pytest.mark.parametrize("rows", [0, 2])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_subsampled_maps_are_slices_to_the_bit(dtype, rows):
    x = np.random.default_rng(0).normal(0, 100, (rows, 5, 8, 3)).astype("float32")
    x = keras.ops.cast(x, dtype)
    for strides in (1, 2, 3):
        found = keras.ops.cast(subsampled(x, strides), "float32")
        expected = keras.ops.cast(x[:, ::strides, ::strides], "float32")
        np.testing.assert_array_equal(found, expected)
