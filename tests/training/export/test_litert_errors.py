import keras
import numpy as np
import pytest

from tests.helpers.exports import MODELS, flipout_model, tiny
from tests.helpers.litert_files import NOISE, export_as, run
from training import data, export
from training.export import litert, onnx


@pytest.mark.parametrize("name", MODELS)
def test_the_images_of_a_calibration_are_checked_and_needed(name, tmp_path):
    model, path = MODELS[name](), tmp_path / "lite"
    for options in (
        {"quantization": "int8"},
        {"quantization": "dynamic", "calibration": NOISE},
        {"calibration": NOISE},
    ):
        with pytest.raises(ValueError, match="`calibration`, some hundred images"):
            export.export_tflite(model, path, **options)
    with pytest.raises(ValueError, match=r"`calibration` must be .*\(60, 8, 16, 1\)"):
        export.export_tflite(tiny(), path, 1, "int8", calibration=NOISE[:, :8])
    with pytest.raises(ValueError, match="float32, uint8. Received: input_dtype=int8"):
        export.export_tflite(model, path, input_dtype="int8")
    assert list(tmp_path.iterdir()) == []


def test_kernels_that_are_drawn_do_not_fit_into_eight_bits(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="Flipout draws them.*layer=flipout"):
        export_as("int8", flipout_model(), tmp_path / "lite")
    # It is true: the interpreter refuses such a file.
    monkeypatch.setattr(litert, "_check_kernels", lambda model: None)
    with pytest.raises(ValueError, match="LiteRT cannot run the model.*zero_point"):
        export_as("int8", flipout_model(), tmp_path / "lite")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("function", [export.export_tflite, onnx.export_onnx])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float64"])
def test_other_precisions_are_refused(function, policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        model = tiny()
    finally:
        keras.config.set_dtype_policy("float32")
    with pytest.raises(ValueError, match="compute in float32.*compute_dtype=.*"):
        function(model, tmp_path / "output")
    assert list(tmp_path.iterdir()) == []


def test_images_of_any_size_are_taken(tmp_path):
    body = keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()
    head = keras.layers.Dense(3, activation=None)
    model = keras.Sequential([keras.Input((None, None, 1)), *body, head])
    export_as("int8", model, tmp_path / "lite")
    for shape in ((1, 20, 30, 1), (2, 40, 10, 1)):
        probs = run(tmp_path / "lite", np.ones(shape), "int8")
        assert probs.shape == (shape[0], 3)


def test_calibration_images_are_spread_over_the_training_images(monkeypatch, caplog):
    images = np.arange(12, dtype="uint8").reshape(12, 1, 1, 1)
    sets = {"train": images, "test": images[:4] + 100}

    def load(name, split, *where):
        if split not in sets:
            raise FileNotFoundError(name)
        labels = np.zeros(len(sets[split]), int)
        return data.ImageData(name, sets[split], labels, ("a",))

    monkeypatch.setattr(data, "load", load)
    assert litert.calibration_images("x", 4).ravel().tolist() == [0, 3, 6, 9]
    with pytest.raises(ValueError, match="has 12 images.*count=13"):
        litert.calibration_images("x", 13)
    with pytest.raises(ValueError, match="at least 2; .*Received: count=1"):
        litert.calibration_images("x", 1)
    with caplog.at_level("WARNING", logger="absl"):
        assert litert.calibration_images("x").ravel().tolist() == list(range(12))
    assert "takes all 12 images in place of 200" in caplog.text
    del sets["train"]
    assert litert.calibration_images("x", 2).ravel().tolist() == [100, 102]
