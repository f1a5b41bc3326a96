"""Exports of networks that know their uncertainty from one pass."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
from tests.helpers.exports import IMAGES, call, calls, invoke, operators, softmax
from training import export


def gaussian_process():
    return layers.GaussianProcess(4, 32, length_scale=1.0, name="head")


def centroids():
    return layers.ClassCentroids(4, name="head")


HEADS = {"sngp": gaussian_process, "duq": centroids}


def network(make_head):
    """Trains for an epoch, which moves what is kept for inference."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 1), name="images")
    conv = layers.SpectralConv2D(8, 3, 2, max_norm=0.5, name="conv")
    x = conv(keras.layers.Rescaling(1 / 255)(inputs))
    x = layers.BatchNormalization(name="norm")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(keras.ops.relu(x))
    model = keras.Model(inputs, make_head()(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-3), loss, run_eagerly=True)
    labels = np.arange(5) % 4
    model.fit(IMAGES, labels, callbacks=[layers.EpochEvents()], verbose=0)
    assert float(conv.spectral_norm) > 0.5
    return model


@pytest.mark.parametrize("head", ["sngp", pytest.param("duq", marks=pytest.mark.slow)])
def test_exports_compute_what_the_network_does_and_change_nothing(head, tmp_path):
    model = network(HEADS[head])
    expected = softmax(model(IMAGES, training=False))
    before = [np.array(weight) for weight in model.weights]
    saved, lite = tmp_path / "saved", tmp_path / "model.tflite"
    export.export_saved_model(model, saved)
    export.export_tflite(model, lite, images=IMAGES)
    np.testing.assert_allclose(
        call(saved, images=IMAGES)["probabilities"], expected, 1e-4
    )
    np.testing.assert_allclose(invoke(lite, images=IMAGES), expected, 1e-4)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value, err_msg=weight.path)
    function = tf.saved_model.load(saved).signatures["serving_default"]
    assert "Assign" not in str(function.graph.as_graph_def())
    # The kernel is that of an ordinary convolution: its factor is in it.
    assert operators(lite)[1] == []
    assert calls(lite)["CONV_2D"] == 1
