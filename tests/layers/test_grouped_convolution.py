"""Grouped convolutions: values and derivatives are those of Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
import zoo
from layers import grouped_convolution

SETTINGS = [
    *((4, 1, "same", 1), (2, (2, 2), "valid", 1), (8, 2, "same", 1)),
    *((2, 1, "same", 2), (2, 1, "valid", (2, 1)), (1, 2, "same", 1)),
]


def arrays(groups, dtype="float32"):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(3, 9, 11, 8)).astype(dtype)
    return inputs, rng.normal(size=(3, 3, 8 // groups, 16)).astype(dtype)


@pytest.mark.parametrize(("groups", "strides", "padding", "dilation"), SETTINGS)
def test_derivatives_of_both_orders_are_those_of_keras(
    groups, strides, padding, dilation
):
    inputs = [tf.constant(x) for x in arrays(groups, "float64")]

    def derivatives(conv):
        with tf.GradientTape() as outer:
            outer.watch(inputs)
            with tf.GradientTape() as inner:
                inner.watch(inputs)
                y = conv(*inputs, strides, padding, "channels_last", dilation)
                loss = tf.reduce_sum(tf.sin(y))
            first = inner.gradient(loss, inputs)
            squares = sum(tf.reduce_sum(x * x) for x in first)
        return [y, *first, *outer.gradient(squares, inputs)]

    pairs = zip(
        derivatives(grouped_convolution.conv),
        derivatives(keras.ops.conv),
        strict=True,
    )
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("groups", [1, 4])
def test_a_layer_is_that_of_keras(groups):
    settings = {"padding": "same", "groups": groups, "activation": "relu"}
    ours = layers.GroupedConv2D(16, 3, 2, **settings)
    theirs = keras.layers.Conv2D(16, 3, 2, **settings)
    inputs, _ = arrays(groups)
    ours.build(inputs.shape)
    theirs.build(inputs.shape)
    theirs.set_weights(ours.get_weights())
    found = np.asarray(ours(inputs))
    assert found.shape == ours.compute_output_shape(inputs.shape)
    if groups > 1:
        assert ours(inputs[:0]).shape == (0, *found.shape[1:])
    np.testing.assert_allclose(found, np.asarray(theirs(inputs)), rtol=1e-5, atol=1e-6)
    assert {**ours.get_config(), "name": ""} == {**theirs.get_config(), "name": ""}


def operations_of_gradients(model):
    """Returns the kinds of operations, of which XLA compiles none."""

    @tf.function
    def gradient(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(images, training=True))
        return tape.gradient(loss, model.trainable_variables)

    images = tf.TensorSpec((4, *model.input_shape[1:]))
    graph = gradient.get_concrete_function(images).graph
    for function in graph.as_graph_def().library.function:
        assert not function.attr["_XlaMustCompile"].b, function.signature.name
    return {operation.type for operation in graph.get_operations()}


NAMES = "resnet20_packed", "resnext50_32x4d", "resnext50_32x4d_flipout"


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_of_groups_is_compiled_by_xla(name):
    """XLA takes a minute for a step of 128 images."""
    found = operations_of_gradients(zoo.build(name, (32, 32, 3), 10))
    assert {"Conv2D", "Conv2DBackpropFilter"} <= found


OTHERS = {
    "FusedConv2D": {},
    "QuantizedConv2D": {},
    "SpectralConv2D": {},
    "Conv2DBatchEnsemble": {"num_members": 2},
    "Conv2DRank1": {"num_members": 2},
    "Conv2DReparameterization": {},
    "Conv2DLocalReparameterization": {},
}


@pytest.mark.parametrize("name", OTHERS)
def test_nor_that_of_another_layer(name):
    inputs = keras.Input((6, 6, 8))
    layer = getattr(layers, name)(16, 3, groups=4, **OTHERS[name])
    found = operations_of_gradients(keras.Model(inputs, layer(inputs)))
    assert {"Conv2D", "Conv2DBackpropFilter"} <= found
