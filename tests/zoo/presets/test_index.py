import json

import pytest

import zoo
from zoo import presets
from zoo.presets import index, model_config, weight_file
from zoo.storage import files

SHAPE = (16, 16, 1)
NORMALIZATION = ((70.0,), (8000.0,))


def make_preset(name, **fields):
    values = {
        "sha256": "0" * 64,
        "size": 7,
        "input_shape": SHAPE,
        "num_classes": 2,
        "mean": (70.0,),
        "variance": (8000.0,),
        "classes": ("cat", "dog"),
    }
    return presets.Preset(name, **{**values, **fields})


ROW = {"dataset": "d", "num_samples": 1, "metric": "nll", "value": 0.25}
ROW |= {"num_examples": 9, "seed": 0}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty stand-in for the package's own folder."""
    monkeypatch.setattr(index, "FOLDER", tmp_path)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    return tmp_path


def test_presets_are_read_as_they_were_added(folder):
    first = make_preset("resnet20.b", results=(ROW, ROW), layers={"X": {"rate": 0.3}})
    second = make_preset("resnet20.a", seed=3, settings={"epochs": 2}, url="http://x")
    index.add(first)
    index.add(second)
    assert index.read() == {"resnet20.b": first, "resnet20.a": second}
    assert list(index.read()) == ["resnet20.b", "resnet20.a"]


def test_a_preset_takes_the_place_of_one_of_its_name(folder):
    for name in ("a", "b"):
        index.add(make_preset(f"resnet20.{name}"))
    index.add(make_preset("resnet20.a", seed=5))
    assert [(p.tag, p.seed) for p in index.read().values()] == [("a", 5), ("b", None)]


def test_the_file_has_a_line_for_each_row_of_results(folder):
    index.add(make_preset("resnet20.a", results=(ROW, ROW)))
    index.add(make_preset("resnet20.b"))
    lines = (folder / "presets.json").read_text().splitlines()
    assert not [line for line in lines if '"metric": "nll"' in line]
    assert '    "classes": [ "cat", "dog" ],' in lines
    lines = (folder / "results" / "resnet20.a.json").read_text().splitlines()
    assert len([line for line in lines if '"metric": "nll"' in line]) == 2
    assert not any(preset.results for preset in index.read(results=False).values())


def test_without_a_tag_the_first_one_listed_is_meant(folder):
    for name in ("resnet20_mcdo.x", "resnet20.b", "resnet20.a"):
        index.add(make_preset(name))
    assert index.find("resnet20").name == "resnet20.b"
    assert index.find("resnet20.a").name == "resnet20.a"


@pytest.mark.parametrize(
    "name, message",
    [
        (
            "resnet50_smooth",
            r"some: resnet20_smooth.fmnist, .*`zoo.build\('resnet",
        ),
        (
            "resnet20.imagenet",
            r"weights for 'resnet20.imagenet'.*: resnet20.fmnist\.",
        ),
        ("vgg11.cifar", r"some: vgg16.cifar, "),
    ],
)
def test_names_without_weights_offer_the_nearest(folder, name, message):
    for stem in ("resnet20", "resnet20_mcdo", "resnet20_smooth", "vgg16_mcdo"):
        index.add(make_preset(f"{stem}.fmnist"))
    index.add(make_preset("vgg16.cifar"))
    with pytest.raises(ValueError, match=message):
        index.find(name)


def test_without_any_weights_the_error_says_so(folder):
    with pytest.raises(ValueError, match="No weights are published yet.*zoo.build"):
        index.find("resnet20")


@pytest.mark.parametrize("change, word", [({"speed": 1}, "speed"), ({}, "sha256")])
def test_entries_of_another_version_are_named(folder, change, word):
    entry = {**make_preset("resnet20.a").to_json(), **change}
    if word == "sha256":
        del entry["sha256"]
    (folder / "presets.json").write_text(json.dumps({"resnet20.a": entry}))
    with pytest.raises(ValueError, match=f"'resnet20.a' of .*presets.json.*'{word}'"):
        index.read()


def test_weights_are_taken_from_the_package_before_the_network(folder):
    (folder / "pretrained").mkdir()
    (folder / "pretrained" / "w").touch()
    preset = make_preset("resnet20.a", file="w", url="http://127.0.0.1:9/w")
    assert index.locate(preset) == folder / "pretrained" / "w"


def test_a_file_that_the_package_lost_is_named(folder):
    preset = make_preset("resnet20.a", file="w")
    with pytest.raises(
        FileNotFoundError, match=r"'resnet20.a' are missing.*pretrained"
    ):
        index.locate(preset)


def test_a_downloaded_file_carries_its_sum_in_its_name(folder):
    preset = make_preset("resnet20.a", url="http://127.0.0.1:9/w", sha256="12" * 32)
    with pytest.raises(ConnectionError, match=r"resnet20.a-121212121212.safetensors'"):
        index.locate(preset)


@pytest.mark.parametrize("place", ["own", None])
def test_withdrawn_weights_are_those_of_a_file_of_the_user(folder, place, monkeypatch):
    index.add(make_preset("resnet20.a", file="w", withdrawn="0123456789ab"))
    index.add(make_preset("resnet20.b", file="v"))
    if place:
        (folder / place).mkdir()
        (folder / place / "w").touch()
        monkeypatch.setenv("ZOO_WEIGHTS", str(folder / place))
        assert index.find("resnet20").name == "resnet20.a"
        assert index.locate(index.find("resnet20.a")) == folder / place / "w"
        assert zoo.list_models(pretrained=True) == ["resnet20.a", "resnet20.b"]
        return
    assert index.find("resnet20").name == "resnet20.b"
    assert zoo.list_models(pretrained=True) == ["resnet20.b"]
    with pytest.raises(ValueError, match=r"'resnet20.c'. The nearest .*: resnet20.b\."):
        index.find("resnet20.c")
    assert "withdrawn after commit 0123456789," in zoo.describe("resnet20.a")
    message = "'resnet20.a' are withdrawn.*`git show 0123456789:weights/w`.*ZOO_WEIGHTS"
    with pytest.raises(FileNotFoundError, match=message):
        zoo.load("resnet20.a")


def test_layer_settings_are_those_of_the_methods():
    model = zoo.build("resnet20_smooth_mcdo", SHAPE, 2)
    assert model_config.layer_settings(model) == {
        "MCDropout": {"rate": 0.3, "channelwise": False},
        "SpatialSmoothing": {
            "temperature": 10.0,
            "taps": [1, 1],
            "padding": "same",
            "probs": "tanh",
            "batch_norm": False,
        },
    }
    assert model_config.layer_settings(zoo.build("resnet20", SHAPE, 2)) == {}


def test_other_layer_settings_are_refused():
    model = zoo.build("resnet20_mcdo", SHAPE, 2)
    model_config.check_layers(model, {"MCDropout": {"rate": 0.3}}, "x")
    with pytest.raises(ValueError, match="'x' was trained with MCDropout of rate=0.1"):
        model_config.check_layers(model, {"MCDropout": {"rate": 0.1}}, "x")
    with pytest.raises(ValueError, match="'SpatialSmoothing|SpatialSmoothing of taps"):
        model_config.check_layers(model, {"SpatialSmoothing": {"taps": [1, 1]}}, "x")


@pytest.mark.parametrize(
    "preset",
    [p for p in index.read().values() if p.file and not p.withdrawn],
    ids=lambda p: p.name,
)
def test_packaged_presets_are_whole(preset):
    path = index.locate(preset)
    files.check(path, preset.sha256, preset.size)
    model = zoo.load(preset.name)
    assert model.name == preset.name
    assert model.input_shape[1:] == preset.input_shape
    assert model.output_shape[-1] == preset.num_classes == len(preset.classes)
    assert weight_file.read_shapes(path).keys() == weight_file.variables(model).keys()
    for field in ("data", "data_license", "recipe", "command", "commit", "results"):
        assert getattr(preset, field), field
