import json

import pytest

import zoo
from tests.helpers.publications import make_preset
from zoo import finding
from zoo.presets import index, model_config, weight_file
from zoo.storage import files

SHAPE = (16, 16, 1)
NORMALIZATION = ((70.0,), (8000.0,))


ROW = {"dataset": "d", "num_samples": 1, "metric": "nll", "value": 0.25}
ROW |= {"num_examples": 9, "seed": 0}


def test_presets_are_read_as_they_were_added(own_folder):
    first = make_preset("resnet20.b", results=(ROW, ROW), layers={"X": {"rate": 0.3}})
    second = make_preset("resnet20.a", seed=3, settings={"epochs": 2}, url="http://x")
    index.add(first)
    index.add(second)
    assert index.read() == {"resnet20.b": first, "resnet20.a": second}
    assert list(index.read()) == ["resnet20.b", "resnet20.a"]


def test_a_preset_takes_the_place_of_one_of_its_name(own_folder):
    for name in ("a", "b"):
        index.add(make_preset(f"resnet20.{name}"))
    index.add(make_preset("resnet20.a", seed=5))
    assert [(p.tag, p.seed) for p in index.read().values()] == [("a", 5), ("b", None)]


def test_the_file_has_a_line_for_each_row_of_results(own_folder):
    index.add(make_preset("resnet20.a", results=(ROW, ROW)))
    index.add(make_preset("resnet20.b"))
    lines = (own_folder / "presets.json").read_text().splitlines()
    assert not [line for line in lines if '"metric": "nll"' in line]
    assert '    "classes": [ "cat", "dog" ],' in lines
    lines = (own_folder / "results" / "resnet20.a.json").read_text().splitlines()
    assert len([line for line in lines if '"metric": "nll"' in line]) == 2
    assert not any(preset.results for preset in index.read(results=False).values())


@pytest.mark.parametrize("change, word", [({"speed": 1}, "speed"), ({}, "sha256")])
def test_entries_of_another_version_are_named(own_folder, change, word):
    entry = {**make_preset("resnet20.a").to_json(), **change}
    if word == "sha256":
        del entry["sha256"]
    (own_folder / "presets.json").write_text(json.dumps({"resnet20.a": entry}))
    with pytest.raises(ValueError, match=f"'resnet20.a' of .*presets.json.*'{word}'"):
        index.read()


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
    path = finding.locate(preset)
    files.check(path, preset.sha256, preset.size)
    model = zoo.load(preset.name)
    assert model.name == preset.name
    assert model.input_shape[1:] == preset.input_shape
    assert model.output_shape[-1] == preset.num_classes == len(preset.classes)
    assert weight_file.read_shapes(path).keys() == weight_file.variables(model).keys()
    for field in ("data", "data_license", "recipe", "command", "commit", "results"):
        assert getattr(preset, field), field
