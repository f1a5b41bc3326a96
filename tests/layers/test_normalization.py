"""Fused batch normalization: against float64 formulas and against Keras' own layer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
from tests.helpers.checks import check_config, check_keras_file, check_mixed_precision

SHAPE = (6, 5, 3, 4)
SETTINGS = {"momentum": 0.9, "epsilon": 1e-5}


def images(seed=0, shape=SHAPE):
    rng = np.random.default_rng(seed)
    scale, shift = rng.uniform(0.5, 3, shape[-1]), rng.normal(size=shape[-1])
    return (scale * rng.normal(size=shape) + shift).astype("float32")


def randomize(layer):
    rng = np.random.default_rng(1)
    layer.set_weights([rng.uniform(0.5, 2, w.shape) for w in layer.weights])


def pair(shape=SHAPE, **arguments):
    """Returns our layer and Keras', with the same random weights."""
    both = [
        kind(**SETTINGS, **arguments)
        for kind in (layers.BatchNormalization, keras.layers.BatchNormalization)
    ]
    for layer in both:
        layer.build(shape)
        randomize(layer)
    return both


def fused(function, *args):
    graph = tf.function(function).get_concrete_function(*args).graph
    return any(node.op == "FusedBatchNormV3" for node in graph.as_graph_def().node)


def test_normalizes_by_the_batch_and_moves_the_statistics():
    layer, _ = pair()
    gamma, beta, mean, variance = (np.asarray(w, "float64") for w in layer.weights)
    x = images().astype("float64")
    outputs = layer(x.astype("float32"), training=True)
    axes = (0, 1, 2)
    m, v = x.mean(axes), x.var(axes)  # Biased, as Keras' own.
    np.testing.assert_allclose(
        outputs, gamma * (x - m) / np.sqrt(v + 1e-5) + beta, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(layer.moving_mean, 0.9 * mean + 0.1 * m, rtol=1e-5)
    np.testing.assert_allclose(
        layer.moving_variance, 0.9 * variance + 0.1 * v, rtol=1e-5
    )


def test_uses_the_moving_statistics_in_inference_and_when_frozen():
    layer, _ = pair()
    gamma, beta, mean, variance = (np.asarray(w, "float64") for w in layer.weights)
    x = images()
    expected = gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta
    before = [np.array(w) for w in layer.weights]
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)
    layer.trainable = False
    np.testing.assert_allclose(layer(x, training=True), expected, rtol=1e-4, atol=1e-5)
    for weight, old in zip(layer.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)


@pytest.mark.parametrize("arguments", [{}, {"center": False}, {"scale": False}])
@pytest.mark.parametrize("training", [True, False])
def test_has_the_gradients_of_keras(arguments, training):
    results = []
    for layer in pair(**arguments):
        x = tf.Variable(images())
        with tf.GradientTape() as tape:
            outputs = layer(x, training=training)
            loss = tf.reduce_sum(tf.sin(3 * outputs))
        weights = [w.value for w in layer.trainable_weights]
        results.append([outputs, *tape.gradient(loss, [x, *weights])])
        results[-1] += [np.array(w) for w in layer.weights]
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_keeps_float32_statistics(dtype):
    layer, _ = pair(dtype=dtype)
    wide, _ = pair()
    # Far from zero, where sums in half precision would be lost.
    x = tf.cast(images() + 50, layer.compute_dtype)
    outputs = layer(x, training=True)
    expected = wide(tf.cast(x, "float32"), training=True)
    assert outputs.dtype == layer.compute_dtype
    np.testing.assert_allclose(tf.cast(outputs, "float32"), expected, atol=0.05)
    np.testing.assert_allclose(layer.moving_mean, wide.moving_mean, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, wide.moving_variance, rtol=1e-4)


@pytest.mark.parametrize(
    "shape, arguments",
    [((6, 4), {}), ((6, 3, 4), {}), (SHAPE, {"axis": 1}), (SHAPE, {"renorm": True})],
)
def test_is_keras_own_where_the_kernel_does_not_fit(shape, arguments):
    ours, theirs = pair(shape, **arguments)
    x = images(shape=shape)
    assert not fused(lambda x: ours(x, training=False), x)
    for training in (True, False):
        np.testing.assert_array_equal(
            ours(x, training=training), theirs(x, training=training)
        )


def test_feature_maps_go_through_the_fused_kernel():
    layer, _ = pair()
    for training in (True, False):
        assert fused(lambda x, t=training: layer(x, training=t), images())


def test_keeps_the_contract_of_a_layer(tmp_path):
    layer, _ = pair()
    check_config(layer)
    check_mixed_precision(layer, images(), layer(images()))
    compiled = tf.function(lambda x: layer(x, training=True), jit_compile=True)
    np.testing.assert_allclose(
        compiled(images()), layer(images(), training=True), rtol=1e-4, atol=1e-4
    )
    inputs = keras.Input(SHAPE[1:])
    check_keras_file(keras.Model(inputs, layer(inputs)), images(), tmp_path)
