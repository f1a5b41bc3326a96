import dataclasses
import json

import keras
import numpy as np
import pytest
from keras import ops

import layers
import zoo
from tests.helpers import calls, marks
from tests.helpers.publications import publish_preset
from zoo import finding
from zoo.catalog import COMBINATIONS
from zoo.models.methods import METHODS
from zoo.presets import index, weight_file
from zoo.registry import ARCHITECTURES
from zoo.storage import files


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(index, "FOLDER", folder)
        names = ["resnet20_mcdo.first", "resnet20_mcdo.second", "resnet20.plain"]
        models = {name: publish_preset(folder, name) for name in names}
        models["resnet18.large"] = publish_preset(folder, "resnet18.large", (64, 64, 1))
    return folder, models


@pytest.fixture
def models(package, monkeypatch):
    folder, models = package
    monkeypatch.setattr(index, "FOLDER", folder)
    return models


def logits(model, size=16, channels=1):
    shape = (2, size, size, channels)
    images = np.random.default_rng(0).integers(0, 256, shape).astype("uint8")
    with layers.stream(3):
        return ops.convert_to_numpy(model(images, training=False))


@pytest.mark.parametrize(
    "name, expected",
    [
        ("resnet20_mcdo.first", "resnet20_mcdo.first"),
        ("resnet20_mcdo.second", "resnet20_mcdo.second"),
        ("resnet20_mcdo", "resnet20_mcdo.first"),
        ("resnet20", "resnet20.plain"),
    ],
)
def test_a_name_gives_the_function_that_was_published(models, name, expected):
    loaded = zoo.load(name)
    assert loaded.name == expected
    assert isinstance(loaded, keras.Model)
    np.testing.assert_array_equal(logits(loaded), logits(models[expected]))


def test_loading_reads_top_to_bottom(models):
    with calls.recorded() as found:
        zoo.load("resnet20_mcdo.second@temperature")
    modules = "finding", "registry", "compressed", "presets.weight_file"
    modules += ("presets.posterior_file",)
    assert calls.rooms(found, "zoo.loading") == [f"zoo.{name}" for name in modules]
    modules = "storage.urls", "registry", "presets.index", "storage.download"
    assert calls.rooms(found, "zoo.finding") == [f"zoo.{name}" for name in modules]


@pytest.mark.parametrize("end", ["", ".second", "@temperature"])
@pytest.mark.parametrize("source", marks.few(["name", "file", "url"], ["file", "url"]))
def test_a_name_is_parsed_once(models, tmp_path, end, source, monkeypatch):
    name, weights = f"resnet20_mcdo{end}", None
    if source != "name":
        weights = tmp_path / "model.safetensors"
        weight_file.save_weights(models["resnet20_mcdo.first"], weights)
    if source == "url":
        monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
        preset = finding.read(weights, name).preset
        preset = dataclasses.replace(preset, sha256=files.sha256(weights))
        (tmp_path / "preset.json").write_text(index.dumps([preset]))
        name, weights = f"file://{tmp_path}{end.removeprefix('.second')}", None
    with calls.recorded() as found:
        zoo.load(name, weights=weights)
    expected = preset.name if source == "url" else name
    assert calls.texts(found, "parse") == [expected]


def test_other_classes_put_a_new_head_on_the_body(models):
    loaded = zoo.load("resnet20_mcdo", num_classes=7)
    assert loaded.name == "resnet20_mcdo"
    assert loaded.output_shape == (None, 7)
    source = weight_file.variables(models["resnet20_mcdo.first"])
    for name, variable in weight_file.variables(loaded).items():
        if not name.startswith("head/"):
            np.testing.assert_array_equal(variable, source[name])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    loaded.compile("sgd", loss, run_eagerly=True)
    before = ops.convert_to_numpy(loaded.get_layer("stem_conv").kernel)
    loaded.fit(np.zeros((2, 16, 16, 1)), np.zeros(2), verbose=0)
    assert np.abs(loaded.get_layer("stem_conv").kernel - before).max() > 0


def test_the_same_number_of_classes_keeps_the_head(models):
    loaded = zoo.load("resnet20", num_classes=4)
    np.testing.assert_array_equal(logits(loaded), logits(models["resnet20.plain"]))


def test_a_gaussian_head_is_exchanged_too(tmp_path):
    model = zoo.build("resnet20_flipout", (16, 16, 1), 4)
    weight_file.save_weights(model, tmp_path / "file")
    loaded = zoo.load("resnet20_flipout", num_classes=3, weights=tmp_path / "file")
    assert loaded.output_shape == (None, 3)


@pytest.mark.parametrize("shape", [(24, 20, 1), (80, 80, 1), (None, None, 1)])
def test_images_of_another_size_have_the_same_weights(models, shape):
    loaded = zoo.load("resnet20", input_shape=shape)
    assert loaded.input_shape == (None, *shape)
    expected = weight_file.variables(models["resnet20.plain"])
    for name, variable in weight_file.variables(loaded).items():
        np.testing.assert_array_equal(variable, expected[name])


def test_images_with_other_channels_are_refused(models):
    with pytest.raises(
        ValueError, match=r"'resnet20.plain' .* 1 channel.*\(16, 16, 3\)"
    ):
        zoo.load("resnet20", input_shape=(16, 16, 3))


def test_images_that_need_another_stem_are_refused(models):
    zoo.load("resnet18", input_shape=(72, 64, 1))
    message = (
        r"'resnet18.large' was trained on .*\(64, 64, 1\).* all sides of 64 or more"
    )
    with pytest.raises(ValueError, match=message):
        zoo.load("resnet18", input_shape=(32, 32, 1))


@pytest.mark.parametrize(
    "name, message",
    [
        (
            "resnet50_smooth_mcdo",
            "nearest .*: resnet20_mcdo.first, .*`zoo.build.'resnet50",
        ),
        (
            "resnet20_mcdo.third",
            "nearest .*: resnet20_mcdo.first, resnet20_mcdo.second",
        ),
        ("resnet20_smoth", "Did you mean 'smooth'"),
    ],
)
def test_a_name_without_weights_is_a_sentence(models, name, message):
    with pytest.raises(ValueError, match=message):
        zoo.load(name)


def test_an_altered_file_is_refused(models, package):
    path = package[0] / "pretrained" / "resnet20.plain.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        with pytest.raises(
            ValueError, match=r"resnet20.plain.safetensors' was altered"
        ):
            zoo.load("resnet20")
    finally:
        path.write_bytes(content)


def test_weights_of_other_settings_are_refused(models, monkeypatch):
    preset = finding.choose(zoo.parse("resnet20_mcdo"))
    other = dataclasses.replace(preset, layers={"MCDropout": {"rate": 0.1}})
    monkeypatch.setattr(finding, "choose", lambda *args: other)
    with pytest.raises(ValueError, match="trained with MCDropout of rate=0.1"):
        zoo.load("resnet20_mcdo")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_file_of_the_user_loads_with_its_normalization(models, tmp_path, kind):
    model = models["resnet20.plain"]
    path = tmp_path / "model.safetensors"
    weight_file.save_weights(model, path)
    loaded = zoo.load("resnet20", weights=str(path if kind == "file" else tmp_path))
    assert loaded.name == "resnet20"
    np.testing.assert_array_equal(logits(loaded), logits(model))


def test_a_file_without_metadata_needs_a_shape(models, tmp_path):
    import safetensors.numpy

    path = tmp_path / "file"
    weight_file.save_weights(models["resnet20.plain"], path)
    safetensors.numpy.save_file(safetensors.numpy.load_file(path), path)
    with pytest.raises(ValueError, match="file' does not say.*give `input_shape`"):
        zoo.load("resnet20", weights=path)
    loaded = zoo.load("resnet20", input_shape=(16, 16, 1), weights=path)
    assert loaded.output_shape == (None, 4)


def test_a_file_of_another_name_loads_with_a_warning(models, tmp_path):
    path = tmp_path / "file"
    weight_file.save_weights(models["resnet20.plain"], path)
    with pytest.warns(
        UserWarning, match="weights of 'resnet20.plain'.*into 'resnet20_m"
    ):
        loaded = zoo.load("resnet20_mcdo", weights=path)
    np.testing.assert_array_equal(
        loaded.get_layer("head").kernel,
        models["resnet20.plain"].get_layer("head").kernel,
    )


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="no weights file '.*model.safetensors'"
    ):
        zoo.load("resnet20", weights=tmp_path)


def test_pretrained_models_are_listed_with_their_tags(models):
    assert zoo.list_models(pretrained=True) == sorted(models)
    assert zoo.list_models("*_mcdo*", pretrained=True) == sorted(
        name for name in models if "mcdo" in name
    )


def test_the_list_has_every_architecture_with_every_method():
    names = zoo.list_models()
    assert len(names) == len(set(names))
    assert len(names) == len(ARCHITECTURES) * (1 + len(METHODS) + len(COMBINATIONS))
    assert {"resnet50_smooth_mcdo", "vgg16_mlp", "resnet20"} <= set(names)
    assert [str(zoo.parse(name)) for name in names] == names
    assert zoo.list_models("resnet5?") == ["resnet50", "resnet56"]


def test_a_description_has_size_layers_weights_and_results(models, package):
    row = {"dataset": "toys", "num_samples": 5, "num_examples": 9, "seed": 0}
    preset = dataclasses.replace(
        finding.choose(zoo.parse("resnet20_mcdo")),
        classes=("cat", "dog"),
        results=({**row, "metric": "nll", "value": 0.25},),
    )
    entries = json.loads((package[0] / "presets.json").read_text())
    index.add(preset)
    try:
        text = zoo.describe("resnet20_mcdo")
    finally:
        (package[0] / "presets.json").write_text(json.dumps(entries))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "resnet20_mcdo.first"
    assert "images 16 x 16 x 1 in [0, 255], to 4 logits" in lines
    assert "parameters 269,044" in lines
    assert "MCDropout 9 layers, rate=0.3, channelwise=False" in lines
    assert f"in the package, sha256 {preset.sha256}" in text
    assert lines[-2:] == ["dataset passes nll", "toys 5 0.2500"]


def test_a_description_of_a_model_without_weights_says_so():
    text = zoo.describe("resnet32_smooth", (32, 32, 3), 10)
    assert "464,154" in text
    assert "none; build it" in text


@pytest.mark.parametrize("num_classes", [None, 5])
def test_loading_is_building_and_then_reading_the_weights(models, num_classes):
    name = "resnet20_mcdo.first"
    preset = finding.find(name).preset
    keras.utils.set_random_seed(3)
    loaded = zoo.load(name, num_classes=num_classes)
    keras.utils.set_random_seed(3)
    count = num_classes or preset.num_classes
    moments = preset.mean, preset.variance
    expected = zoo.build("resnet20_mcdo", preset.input_shape, count, moments)
    skip = () if num_classes is None else ("head",)
    path = finding.locate(preset)
    weight_file.load_weights(expected, path, preset.sha256, skip)
    pairs = list(zip(loaded.variables, expected.variables, strict=True))
    assert [a.path for a, _ in pairs] == [b.path for _, b in pairs]
    for found, other in pairs:
        np.testing.assert_array_equal(found, other)
