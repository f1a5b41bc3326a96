"""Exports of layers against aliasing: LiteRT's own operators, and equal outputs."""

import keras
import numpy as np
import pytest

import layers
import zoo
from tests.helpers import marks
from tests.helpers.exports import IMAGES, call, invoke, operators, softmax, tiny
from tests.helpers.litert_files import DIFFERENCES, export_as, pixels
from training import export
from training.export import onnx

LAYERS = {
    "low cut": lambda: [layers.FLCPooling2D()],  # Of 7 points, to 4.
    "rectifiers": lambda: [
        layers.QuantileReLU(),
        layers.FilteredReLU(),
        layers.FilteredMaxPooling2D(3),
        keras.layers.Activation("gelu"),
        layers.FrequencyDropout(),
    ],
}


@pytest.mark.parametrize("kind", marks.few(LAYERS, ["rectifiers"]))
def test_an_export_computes_what_the_network_does_by_operators_of_litert(
    kind, tmp_path
):
    model = tiny(*LAYERS[kind]())
    expected = softmax(model(IMAGES, training=False))
    lite = tmp_path / "model.tflite"
    export.export_tflite(model, lite, images=IMAGES)
    np.testing.assert_allclose(invoke(lite, images=IMAGES), expected, atol=1e-5)
    assert operators(lite)[1] == []


@pytest.mark.slow
@pytest.mark.parametrize("label", ["float16", "dynamic", "int8"])
def test_low_cut_pooling_is_quantized(label, tmp_path):
    model = tiny(layers.FLCPooling2D())
    export_as(label, model, tmp_path / "lite", images=IMAGES.astype("uint8"))
    probs = invoke(tmp_path / "lite", images=IMAGES.astype(pixels(label)))
    difference = np.abs(probs - softmax(model(IMAGES, training=False)))
    assert difference.max() < DIFFERENCES[label][0]
    assert operators(tmp_path / "lite")[1] == []


NETWORKS = pytest.mark.parametrize(
    "name", ["resnet20_flc", "resnet20_antialias_swish", "resnet20_gelu"]
)


@pytest.mark.slow
@NETWORKS
def test_networks_are_exported_to_litert_and_saved_models(name, tmp_path):
    model = zoo.build(name, (28, 28, 1), 10)
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1)).astype("float32")
    expected = softmax(model(images, training=False))
    lite, saved = tmp_path / "lite", tmp_path / "saved"
    export.export_tflite(model, lite, images=images)
    export.export_saved_model(model, saved, images=images)
    np.testing.assert_allclose(invoke(lite, images=images), expected, atol=1e-4)
    found = call(saved, images=images)["probabilities"]
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.slow
@NETWORKS
def test_networks_are_exported_to_onnx_which_compares_the_outputs(name, tmp_path):
    for package in ("onnxruntime", "tf2onnx"):
        pytest.importorskip(package)
    report = onnx.export_onnx(zoo.build(name, (28, 28, 1), 10), tmp_path / "it.onnx")
    assert report["max_difference"] < 1e-4
