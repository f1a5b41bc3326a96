"""The convolution of predictions, in each of its forms."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
from layers import compilation
from tests.helpers import marks
from tests.helpers.checks import check_config, check_keras_file

# Kernel, strides, padding, height, width, channels, filters; the error of bfloat16.
CASES = {
    "wide maps": (3, 1, "same", 8, 7, 16, 8, 0.01),
    "winograd": (3, 1, "same", 4, 4, 512, 520, 0.02),
    "winograd, odd": (3, 1, "same", 3, 4, 512, 512, 0.02),
    "one point": (3, 1, "same", 1, 1, 64, 8, 0.01),
    "product": (1, 1, "same", 2, 2, 64, 32, 0.01),
    "product with strides": (1, 2, "valid", 4, 3, 64, 32, 0.01),
    "product of patches": (3, 2, "valid", 6, 5, 32, 8, 0.01),
    "uneven strides": ((3, 1), (2, 1), "valid", 5, 2, 32, 8, 0.01),
}


@pytest.mark.parametrize("case", marks.few(CASES, ["winograd"]))
def test_each_form_is_the_convolution_of_keras_up_to_rounding(case):
    kernel, strides, padding, height, width, channels, filters, error = CASES[case]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, height, width, channels))
    x = tf.cast(tf.cast(x, "bfloat16"), "float32")
    plain = keras.layers.Conv2D(filters, kernel, strides, padding)
    plain.build(x.shape)
    weights = [rng.normal(size=w.shape, scale=0.1) for w in plain.weights]
    half = layers.FusedConv2D(filters, kernel, strides, padding, dtype="bfloat16")
    half.build(x.shape)
    half.set_weights(weights)
    plain.set_weights([tf.cast(w, "float32").numpy() for w in half.weights])

    @tf.function(autograph=False)
    def fused(x):
        with compilation.fused():
            return half(x)

    expected = plain(x).numpy()
    for outputs in (fused(x), half(x)):
        assert outputs.dtype == "bfloat16"
        found = tf.cast(outputs, "float32").numpy()
        assert np.abs(found - expected).max() < error * np.abs(expected).max()
    full = layers.FusedConv2D(filters, kernel, strides, padding)
    full.build(x.shape)
    full.set_weights(plain.get_weights())
    np.testing.assert_allclose(full(x), expected, rtol=1e-4, atol=1e-4)


def test_small_maps_take_the_forms_that_are_for_them():
    def kinds(channels, filters, side, dtype="bfloat16"):
        layer = layers.FusedConv2D(filters, 3, padding="same", dtype=dtype)
        layer.build((2, side, side, channels))

        @tf.function(autograph=False)
        def run(x):
            with compilation.fused():
                return layer(x)

        x = tf.zeros((2, side, side, channels), dtype)
        graph = run.get_concrete_function(x).graph
        return {node.op for node in graph.as_graph_def().node}

    assert "BatchMatMulV2" in kinds(512, 512, 4)
    assert "Conv2D" not in kinds(512, 512, 4)
    assert "Conv2D" in kinds(512, 256, 4) & kinds(512, 512, 5)
    assert "Conv2D" in kinds(512, 512, 4, "float32")
    assert "MatMul" in kinds(64, 64, 2)


def test_it_is_saved_and_loads_as_keras_convolution_does(tmp_path):
    layer = layers.FusedConv2D(4, 3, activation="relu")
    check_config(layer)
    model = keras.Sequential([keras.Input((5, 5, 2)), layer])
    x = np.random.default_rng(0).normal(size=(3, 5, 5, 2)).astype("float32")
    check_keras_file(model, x, tmp_path)
    assert np.min(model(x)) == 0 < np.max(model(x))
