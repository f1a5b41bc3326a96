"""The spectral bound of convolutions, against singular values of dense matrices."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from layers import SpectralConv2D
from tests.helpers import marks
from tests.helpers.checks import check_keras_file, check_layer

RNG = np.random.default_rng(0)


def built(size=(6, 7), channels=2, gain=1.0, **settings):
    """Returns a layer with random weights of float64."""
    settings = {"filters": 4, "kernel_size": 3, "use_bias": False, **settings}
    layer = SpectralConv2D(dtype="float64", **settings)
    layer.build((None, *size, channels))
    layer.kernel.assign(gain * RNG.normal(size=layer.kernel.shape))
    return layer


def matrix(layer, kernel=None):
    """Returns the convolution as a matrix, one map with a single one at a time."""
    shape = layer.singular_vector.shape[1:]
    kernel = layer.kernel if kernel is None else kernel
    maps = np.eye(np.prod(shape)).reshape(-1, *shape)
    outputs = ops.conv(
        maps,
        kernel,
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
    )
    return ops.convert_to_numpy(outputs).reshape(len(maps), -1)


def norm_of(layer):
    return np.linalg.svd(matrix(layer), compute_uv=False)[0]


def settle(layer, steps=400):
    images = np.zeros((1, *layer.singular_vector.shape[1:]))
    step = tf.function(lambda: layer(images, training=True))
    for _ in range(steps):
        step()


FORMS = [
    {"padding": padding, "strides": strides, "kernel_size": size}
    for padding, strides, size in itertools.product(
        ("valid", "same"), (1, 2), (1, 2, 3)
    )
]
FORMS += [
    {"strides": (1, 3), "kernel_size": (3, 2), "padding": "same"},
    {"strides": 3, "padding": "valid"},
    {"groups": 2, "padding": "same", "strides": 2},
    {"dilation_rate": 2, "padding": "same"},
]


@pytest.mark.parametrize("settings", marks.few(FORMS, FORMS[1:12]), ids=str)
def test_the_norm_is_the_largest_singular_value_of_the_convolution(settings):
    layer = built(**settings)
    settle(layer)
    np.testing.assert_allclose(layer.spectral_norm, norm_of(layer), rtol=1e-3)


def test_the_norm_is_not_that_of_the_kernel_as_a_matrix():
    layer, twice = (built(padding="same", num_iterations=n) for n in (1, 2))
    twice.kernel.assign(layer.kernel)
    settle(layer, 4)
    settle(twice, 2)
    np.testing.assert_allclose(layer.spectral_norm, twice.spectral_norm, rtol=1e-9)
    settle(layer)
    flat = np.linalg.svd(np.reshape(layer.kernel, (-1, 4)), compute_uv=False)[0]
    assert float(layer.spectral_norm) > 1.2 * flat


def test_one_step_a_call_reaches_the_bound():
    layer = built(gain=3.0, max_norm=2.0, padding="same")
    assert norm_of(layer) > 8
    settle(layer)
    x = RNG.normal(size=(5, 6, 7, 2))
    factor = 2.0 / norm_of(layer)
    expected = ops.conv(x, factor * layer.kernel, padding="same")
    for training in (True, False):
        np.testing.assert_allclose(layer(x, training=training), expected, rtol=1e-3)
    bounded = matrix(layer, factor * layer.kernel)
    np.testing.assert_allclose(np.linalg.svd(bounded, compute_uv=False)[0], 2.0)


def test_a_kernel_below_the_bound_stays_as_it_is():
    layer = built(gain=0.1, max_norm=10.0)
    x = RNG.normal(size=(5, 6, 7, 2))
    settle(layer, 20)
    for training in (True, False):
        outputs = layer(x, training=training)
        np.testing.assert_array_equal(outputs, ops.conv(x, layer.kernel))


def values(layer):
    return [ops.convert_to_numpy(weight).copy() for weight in layer.weights]


def assert_unchanged(layer, before):
    for weight, value in zip(layer.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value, err_msg=weight.path)


def test_inference_and_a_frozen_layer_change_nothing():
    layer, x = built(gain=3.0), RNG.normal(size=(2, 6, 7, 2))
    plain = ops.conv(x, layer.kernel)
    before = values(layer)
    np.testing.assert_array_equal(layer(x), plain)  # Nothing was trained yet.
    assert_unchanged(layer, before)
    kernel = ops.convert_to_numpy(layer.kernel)
    layer(x, training=True)
    np.testing.assert_array_equal(layer.kernel, kernel)  # That is for the optimizer.
    moved = values(layer)
    assert float(layer.spectral_norm) > 0
    layer(x, training=False)
    layer.trainable = False
    layer(x, training=True)
    assert_unchanged(layer, moved)


def test_gradients_go_through_the_factor():
    layer, x = built(gain=3.0, max_norm=2.0), RNG.normal(size=(3, 6, 7, 2))
    settle(layer, 2000)
    target = RNG.normal(size=layer(x).shape)

    def loss(kernel):
        norm = np.linalg.svd(matrix(layer, kernel), compute_uv=False)[0]
        outputs = ops.conv(x, kernel * 2.0 / norm)
        return float(ops.sum(outputs * target))

    with tf.GradientTape() as tape:
        value = ops.sum(layer(x, training=True) * target)
    gradient = tape.gradient(value, layer.trainable_variables[0]).numpy()
    kernel, step = ops.convert_to_numpy(layer.kernel), 1e-5
    for place in [(0, 0, 0, 0), (1, 2, 1, 3), (2, 1, 0, 2)]:
        shift = np.zeros_like(kernel)
        shift[place] = step
        slope = (loss(kernel + shift) - loss(kernel - shift)) / (2 * step)
        np.testing.assert_allclose(gradient[place], slope, rtol=1e-3)


def test_a_kernel_of_zeros_has_finite_gradients_and_can_grow():
    layer, x = built(), RNG.normal(size=(1, 6, 7, 2))
    layer.kernel.assign(np.zeros(layer.kernel.shape))
    with tf.GradientTape() as tape:
        value = ops.sum(layer(x, training=True))
    assert np.isfinite(tape.gradient(value, layer.trainable_variables[0])).all()
    layer.kernel.assign(RNG.normal(size=layer.kernel.shape))
    settle(layer, 300)
    np.testing.assert_allclose(layer.spectral_norm, norm_of(layer), rtol=1e-3)


def test_it_keeps_the_contract_of_a_layer():
    layer = SpectralConv2D(3, 3, 2, "same", max_norm=0.5, activation="relu")
    layer.build((2, 8, 9, 4))
    for _ in range(3):
        layer(np.zeros((2, 8, 9, 4), "float32"), training=True)
    check_layer(layer, (2, 8, 9, 4))


def test_models_keep_their_bound_in_files(tmp_path):
    images = keras.Input((8, 8, 2))
    layer = SpectralConv2D(3, 3, max_norm=0.5)
    model = keras.Model(images, layer(images))
    x = RNG.normal(size=(2, 8, 8, 2)).astype("float32")
    for _ in range(5):
        model(x, training=True)
    assert float(layer.spectral_norm) > 0.5
    check_keras_file(model, x, tmp_path)
    restored = keras.models.load_model(tmp_path / "model.keras").layers[-1]
    assert_unchanged(restored, values(layer))


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), "6", True, None])
def test_a_bound_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match=f"max_norm={value}"):
        SpectralConv2D(3, 3, max_norm=value)
