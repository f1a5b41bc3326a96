import pytest

from tests.helpers.exports import dropout_model
from training.export import formats


@pytest.mark.parametrize(
    "kind, options, message",
    [
        (
            "saved_model",
            {"quantization": "int8"},
            "`--quantization` is for `--format=t",
        ),
        ("serving", {"overwrite": True}, "adds a version and overwrites none"),
        ("serving", {"input_dtype": "uint8"}, "`--input_dtype` is for `--format=tfl"),
        ("onnx", {"quantization": "int8"}, "`--quantization` is for `--format=tfl"),
        ("tflite", {"calibration_count": 9}, "is for `--calibration`"),
        ("tflite", {"quantization": "int8"}, "`calibration`, some hundred images"),
    ],
)
def test_options_belong_to_their_format(kind, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        formats.export_as(kind, dropout_model(), str(tmp_path / "output"), options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name, expected",
    [
        ("resnet20_mcdo.cifar10", "resnet20_mcdo"),
        ("resnet20.cifar10@laplace:predictive=bridge", "resnet20"),
        ("resnet20.cifar10+vgg11.cifar10@temperature", "resnet20-vgg11"),
        ("resnet20.cifar10*3", "resnet20"),
        ("resnet20*3", "resnet20"),
        ("runs/me@home/model.keras@temperature", "model"),
        ("runs/a.keras+runs/b.keras", "a-b"),
        ("hf://owner/name@v1", "name"),
    ],
)
def test_a_server_has_the_name_without_tags(name, expected, monkeypatch):
    monkeypatch.setattr(formats.serving, "export_version", lambda *_, name: name)
    assert formats.export_as("serving", None, "served", {}, name) == expected


def test_a_data_set_has_the_size_of_the_model(monkeypatch, tmp_path):
    asked, given, images = [], {}, object()
    monkeypatch.setattr(
        formats.litert, "calibration_images", lambda *a: asked.append(a) or images
    )
    monkeypatch.setattr(
        formats.litert, "export_tflite", lambda *a, **options: given.update(options)
    )
    options = {"quantization": "int8", "calibration": "folder", "calibration_count": 7}
    formats.export_as(
        "tflite", dropout_model(), str(tmp_path / "lite"), options, data_dir="data"
    )
    assert asked == [("folder", 7, (16, 16), "data")]
    assert given == {"quantization": "int8", "calibration": images}
