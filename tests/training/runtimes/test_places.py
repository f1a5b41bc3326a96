"""Which names are those of files that runtimes run, or of models on servers."""

import pathlib

import pytest

from training.cli import names
from training.runtimes import places


@pytest.mark.parametrize(
    "place, name",
    [
        ("runs/a.b/resnet20.cifar10.tflite", "resnet20.cifar10.tflite"),
        ("/elsewhere/resnet20.cifar10.tflite", "resnet20.cifar10.tflite"),
        ("my-model.onnx", "my-model.onnx"),
        ("runs/network/model.xml", "network.xml"),
        ("runs/other.xml", "other.xml"),
        ("grpc://localhost:8500/mine", "mine.grpc"),
        ("http://host:8501/v1/models/mine.cifar10", "mine.cifar10.http"),
        ("https://host/v1/models/mine/versions/3", "mine.3.https"),
        ("resnet20.cifar10", None),
        ("theirs.keras", None),
        ("weights.safetensors", None),
        ("https://host/published/resnet20", None),
        ("http://host:8501/v1/models/mine:predict", None),
        ("gs://bucket/v1/models/mine", None),
    ],
)
def test_names_are_the_same_on_every_machine(place, name):
    assert places.is_place(place) == (name is not None)
    if name is not None:
        assert places.name_of(place) == name


def test_folders_are_what_they_hold(tmp_path, monkeypatch):
    assert not places.is_place(str(tmp_path))
    for file, kind in places.IN_FOLDERS.items():
        folder = tmp_path / kind
        folder.mkdir()
        (folder / file).touch()
        assert places.is_place(str(folder))
        assert places.name_of(str(folder)) == kind
    monkeypatch.chdir(tmp_path / "openvino")
    assert places.name_of("model.xml") == "openvino.xml"


def test_every_row_of_the_table_has_a_module():
    folder = pathlib.Path(places.__file__).parent
    modules = {*places.OPENERS.values(), *places.IN_FOLDERS.values()}
    for module in modules:
        assert "def open_network(" in (folder / f"{module}.py").read_text()
    others = {"__init__", "network", "places", "streams"}
    assert {path.stem for path in folder.glob("*.py")} == modules | others


def test_commands_take_them_for_no_misspelled_names():
    names.check(["missing.tflite", "a.onnx@temperature", "grpc://host:1/mine"])
    with pytest.raises(ValueError, match="Unknown architecture"):
        names.check(["missing.tflit"])
