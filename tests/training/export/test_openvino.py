"""OpenVINO files, where the extra `openvino` is installed, and what is refused."""

import json
import sys

import keras
import numpy as np
import pytest

import zoo
from tests.helpers.exports import IMAGES, call, dropout_model, softmax, tiny
from training import export
from training.export import openvino
from zoo import conformal
from zoo.posterior import DeepEnsemble, Temperature


@pytest.fixture
def runtime():
    return pytest.importorskip("openvino")


def run(runtime, path, images, precision="f32"):
    settings = {"INFERENCE_PRECISION_HINT": precision}
    network = runtime.Core().compile_model(path, "CPU", settings)
    found = network({"images": images})
    return {output.any_name: np.array(found[output]) for output in network.outputs}


POSTERIORS = {
    "model": tiny,
    "ensemble": lambda: DeepEnsemble([tiny(), tiny()]),
    "temperature": lambda: Temperature(tiny(), 2.0),
}


@pytest.mark.parametrize("name", POSTERIORS)
def test_a_file_computes_the_probabilities_of_keras(runtime, name, tmp_path):
    posterior = POSTERIORS[name]()
    report = openvino.export_openvino(posterior, tmp_path / "it")
    assert report["bytes"] == sum(p.stat().st_size for p in (tmp_path / "it").iterdir())
    outputs = keras.ops.convert_to_numpy(posterior(IMAGES))
    expected = softmax(outputs).reshape(-1, 5, 4).mean(axis=0)
    for size in (1, 5):
        found = run(runtime, tmp_path / "it" / openvino.FILE, IMAGES[:size])
        np.testing.assert_allclose(found["probabilities"], expected[:size], atol=1e-5)


def test_decisions_and_classes_travel_and_it_is_replaced(runtime, tmp_path):
    model = zoo.build("resnet20_smooth", (16, 16, 1), 4)
    model.classes = "abcd"
    decision = conformal.named("lac_90")
    probs = np.random.default_rng(0).dirichlet(np.ones(4), 300).astype("float32")
    decision.adapt(probs, np.arange(300) % 4)
    for _ in range(2):
        openvino.export_openvino(
            model, tmp_path / "it", overwrite=True, decision=decision
        )
    found = run(runtime, tmp_path / "it" / openvino.FILE, IMAGES)
    expected = keras.ops.convert_to_numpy(decision(found["probabilities"]))
    np.testing.assert_array_equal(found["prediction_set"], expected)
    network = runtime.Core().read_model(tmp_path / "it" / openvino.FILE)
    assert json.loads(network.get_rt_info("classes").astype(str)) == [*"abcd"]


def test_saved_models_can_be_converted(runtime, tmp_path):
    export.export_saved_model(tiny(), tmp_path / "saved")
    network = runtime.compile_model(runtime.convert_model(tmp_path / "saved"), "CPU")
    found = network({"images": IMAGES})
    expected = call(tmp_path / "saved", images=IMAGES)
    for output in network.outputs:
        # In bfloat16, where the processor has it.
        np.testing.assert_allclose(found[output], expected[output.any_name], atol=0.05)


def test_what_openvino_computes_wrongly_is_refused(tmp_path):
    with pytest.raises(ValueError, match="unsigned integers.*onnx, saved_model or tf"):
        openvino.export_openvino(dropout_model(), tmp_path / "it")
    quantized = tiny()
    quantized.quantize("int8", filters="head")
    with pytest.raises(ValueError, match="quantized by Keras.*--quantization.*head"):
        openvino.export_openvino(quantized, tmp_path / "it")
    with pytest.raises(ValueError, match="quantized by Keras.*--quantization.*head"):
        export.export_tflite(quantized, tmp_path / "it")
    model = zoo.build("resnet20", (16, 16, 1), 3)
    model.quantize("int8", filters="head")
    for kind in ("openvino", "litert", "onnx"):
        with pytest.raises(ValueError, match=f"--quantization.*format={kind}.*head"):
            model.export(tmp_path / "it", format=kind)
    assert list(tmp_path.iterdir()) == []


def test_the_line_that_installs_the_converter_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError, match=r"pip install smoothzoo\[openvino\]"):
        openvino.export_openvino(tiny(), tmp_path / "it")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"format": "openvino"}, "masks of no rate"),
        ({"format": "onnx"}, "opset 18"),
    ],
)
def test_an_export_of_keras_that_would_be_wrong_is_refused(settings, message, tmp_path):
    model = zoo.build("resnet20_mcdo", (16, 16, 1), 3)
    with pytest.raises(ValueError, match=message):
        model.export(tmp_path / "it", **settings)
