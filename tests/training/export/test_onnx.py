"""ONNX files, where the extra `onnx` is installed, and what is said where it is not."""

import sys

import keras
import numpy as np
import pytest

import zoo
from tests.helpers.exports import IMAGES, dropout_model, softmax, tiny
from training import data
from training.export import onnx


@pytest.fixture
def runtime():
    for package in ("tf2onnx", "onnx"):
        pytest.importorskip(package)
    return pytest.importorskip("onnxruntime")


def run(runtime, path, images):
    session = runtime.InferenceSession(str(path))
    assert [value.name for value in session.get_inputs()] == ["images"]
    assert [value.name for value in session.get_outputs()] == ["probabilities"]
    return session.run(None, {"images": images})[0]


@pytest.mark.parametrize("size", [1, 5])
def test_a_file_computes_the_probabilities_of_the_model(runtime, size, tmp_path):
    model, images = tiny(), IMAGES[:size]
    report = onnx.export_onnx(model, tmp_path / "file.onnx")
    probs = run(runtime, tmp_path / "file.onnx", images)
    np.testing.assert_allclose(probs, softmax(model(images)), atol=1e-5)
    assert report["max_difference"] < report["tolerance"] == 1e-4
    assert report["bytes"] == (tmp_path / "file.onnx").stat().st_size


@pytest.mark.parametrize("name", ["resnet20", "resnet20_smooth"])
def test_real_images_have_the_probabilities_of_keras(runtime, name, tmp_path):
    model = zoo.load(f"{name}.fashion_mnist")
    images = data.load("fashion_mnist", "test").images[:100].astype("float32")
    onnx.export_onnx(model, tmp_path / "file.onnx", images=images[:8])
    probs = run(runtime, tmp_path / "file.onnx", images)
    expected = softmax(model.predict(images, verbose=0))
    np.testing.assert_allclose(probs, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["resnet18_blurpool", "alexnet", "prevgg11_smooth", "resnext50_32x4d"]
)
def test_families_are_exported(runtime, name, tmp_path):
    model = zoo.build(name, (32, 32, 3), 10)
    report = onnx.export_onnx(model, tmp_path / "file.onnx")
    assert report["max_difference"] < 1e-4


def test_what_the_converter_does_not_know_is_refused(runtime, tmp_path):
    x = keras.ops.erfinv(inputs := keras.Input((16, 16, 1)))
    x = keras.layers.Dense(2)(keras.layers.Flatten()(x))
    model = keras.Model(inputs, x)
    with pytest.raises(ValueError, match="ONNX cannot hold the model.*Erfinv"):
        onnx.export_onnx(model, tmp_path / "file.onnx")
    assert list(tmp_path.iterdir()) == []


def test_stochastic_models_are_refused_with_the_reason(tmp_path):
    with pytest.raises(ValueError, match="bitwise_xor.*Export it as saved_model"):
        onnx.export_onnx(dropout_model(), tmp_path / "file.onnx")


def test_the_line_that_installs_the_converter_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install smoothzoo\[onnx\]"):
        onnx.export_onnx(tiny(), tmp_path / "file.onnx")
    assert list(tmp_path.iterdir()) == []
