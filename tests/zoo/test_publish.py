import json
import re
import shutil
import subprocess

import keras
import numpy as np
import pytest
from keras import ops

import layers
import zoo
from zoo import presets, publish, weights

NAME = "resnet20_smooth_mcdo.toys"
RECORD = {
    "model": "resnet20_smooth_mcdo",
    "dataset": "toys",
    "recipe": "quick",
    "settings": {"epochs": 3, "learning_rate": 0.1, "milestones": [1, 2]},
    "seed": 5,
    "command": "zoo-train --model=x --workdir=/home/me/runs/it "
    "--weights=/home/me/runs/body/ --dataset=toys_c/fog/3 --seed=5",
    "origin": {"weights": "body", "sha256": "34" * 32, "head": "new"},
    "commit": "0123abc",
    "classes": ["cat", "dog: a", "'[x]'", "e\u00e9"],
    "versions": {"keras": "3.15", "smoothzoo": "0.1"},
}


def make_rows(model=NAME, **fields):
    row = {"model": model, "dataset": "toys", "num_examples": 9, "seed": 0, **fields}
    return [
        {**row, "num_samples": n, "metric": metric, "value": value / n, "seconds": 1.5}
        for n in (1, 10)
        for metric, value in (("nll", 0.5), ("accuracy", 0.75))
    ]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return zoo.build(NAME, (16, 16, 1), 4, ((70.0,), (8000.25,)))


def export(model, path):
    path.mkdir()
    (path / "saved_model.pb").write_bytes(b"graph")


@pytest.fixture(scope="module")
def published(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "it"
    preset = publish.publish(
        model, folder, RECORD, make_rows(), data_license="mit", export=export
    )
    return folder, preset


@pytest.fixture
def folder(published, tmp_path):
    return shutil.copytree(published[0], tmp_path / "copy")


def logits(model):
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 1)).astype("uint8")
    with layers.stream(3):
        return ops.convert_to_numpy(model(images, training=False))


def test_a_folder_has_all_that_belongs_to_a_model(published):
    folder, _ = published
    names = {str(path.relative_to(folder)) for path in folder.rglob("*.*")}
    assert names == {
        "model.safetensors",
        "preset.json",
        "README.md",
        "saved_model/saved_model.pb",
    }
    assert [path.name for path in folder.parent.iterdir()] == ["it"]


def test_the_checksums_are_those_of_every_file(published):
    folder, _ = published
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    result = subprocess.run(command, cwd=folder, capture_output=True, check=True)
    assert result.stdout.count(b": OK") == 4


def test_published_weights_load_back_as_the_same_function(model, published):
    loaded = zoo.load(NAME, weights=published[0])
    np.testing.assert_array_equal(logits(loaded), logits(model))
    assert loaded.name == NAME


def test_the_entry_says_how_the_weights_came_about(published):
    folder, preset = published
    assert presets.read_published(folder) == preset
    assert (preset.recipe, preset.epochs, preset.seed) == ("quick", 3, 5)
    assert preset.mean + preset.variance == (70.0, 8000.25)
    assert preset.classes == tuple(RECORD["classes"])
    assert preset.origin == RECORD["origin"]
    assert preset.layers["MCDropout"]["rate"] == 0.3
    expected = [row.copy() for row in make_rows()]
    for row in expected:
        del row["model"], row["seconds"]
    assert list(preset.results) == expected


def test_the_command_does_not_tell_where_the_machine_has_its_files(published):
    _, preset = published
    assert preset.command == (
        "zoo-train --model=x --workdir=runs/it --weights=body/ --dataset=toys_c/fog/3 "
        "--seed=5"
    )
    assert "/home/me" not in (published[0] / "README.md").read_text(encoding="utf-8")


def test_the_code_of_the_card_runs(published, monkeypatch):
    folder, _ = published
    text = (folder / "README.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    monkeypatch.chdir(folder.parent)
    names = {"images": np.zeros((2, 16, 16, 1), "uint8")}
    exec(code, names)
    assert names["probs"].shape == (2, 4)


def test_a_model_without_results_has_a_card_that_says_so(model, tmp_path):
    publish.publish(model, tmp_path / "it", RECORD, data_license="mit")
    text = (tmp_path / "it" / "README.md").read_text(encoding="utf-8")
    assert "\n## Results\n\nNone were measured.\n\n## Training\n" in text
    assert "SavedModel" not in text


def test_rows_of_other_models_and_undefined_metrics_are_left_out(model, tmp_path):
    rows = make_rows("resnet20_smooth_mcdo") + make_rows("vgg11.toys")
    rows[0]["value"] = float("nan")
    preset = publish.publish(model, tmp_path / "it", RECORD, rows, data_license="mit")
    assert len(preset.results) == 3
    json.loads(
        (tmp_path / "it" / "preset.json").read_text(), parse_constant=pytest.fail
    )


@pytest.mark.parametrize(
    "change, rows, message",
    [
        (
            {"model": "resnet20"},
            (),
            "was of 'resnet20', not of 'resnet20_smoo",
        ),
        ({"classes": ["cat"]}, (), "4 logits, and the training 1 classes"),
        ({"dataset": "others"}, (), "data set 'others' is not known.*data_license"),
        ({}, make_rows("vgg11.toys"), "None of the results .* they are of vgg11.toys"),
        ({}, [{"metric": "nll"}], "row of results has no dataset"),
    ],
)
def test_what_does_not_fit_is_refused(model, tmp_path, change, rows, message):
    record = {**RECORD, **change}
    data_license = None if "dataset" in change else "mit"
    with pytest.raises(ValueError, match=message):
        publish.publish(model, tmp_path / "it", record, rows, data_license=data_license)
    assert not list(tmp_path.iterdir())


def test_a_model_without_a_tag_is_refused(tmp_path):
    model = zoo.build("resnet20_smooth_mcdo", (16, 16, 1), 4)
    with pytest.raises(ValueError, match="need a tag, for example '.*mcdo.toys'"):
        publish.publish(model, tmp_path / "it", RECORD, data_license="mit")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_publication_that_fails_leaves_the_older_one(model, folder, error):
    def fail(model, path):
        path.mkdir()
        raise error

    before = (folder / "SHA256SUMS").read_text()
    record = {**RECORD, "seed": 6}
    with pytest.raises(error):
        publish.publish(model, folder, record, data_license="mit", export=fail)
    assert (folder / "SHA256SUMS").read_text() == before
    assert list(folder.parent.iterdir()) == [folder]
    publish.publish(model, folder, record, data_license="mit")
    assert presets.read_published(folder).seed == 6
    assert not (folder / "saved_model").exists()


def test_files_of_the_user_are_not_replaced(model, tmp_path):
    (tmp_path / "thesis.tex").touch()
    for path in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(FileExistsError, match="left alone"):
            publish.publish(model, path, RECORD, data_license="mit")


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.setattr(presets, "FOLDER", tmp_path / "zoo")
    return tmp_path / "zoo"


def test_packaged_weights_load_by_their_name(model, folder, package):
    preset = publish.package(folder)
    assert sorted(path.name for path in package.rglob("*.*[!p]")) == [
        "presets.json",
        f"{NAME}.safetensors",
    ]
    loaded = zoo.load("resnet20_smooth_mcdo")
    np.testing.assert_array_equal(logits(loaded), logits(model))
    assert presets.read() == {NAME: preset}
    shutil.rmtree(folder)
    assert zoo.load(NAME).name == NAME


def test_packaging_again_replaces_the_weights(model, folder, package):
    publish.package(folder)
    publish.publish(model, folder, {**RECORD, "seed": 6}, data_license="mit")
    publish.package(folder)
    assert [preset.seed for preset in presets.read().values()] == [6]
    zoo.load(NAME)


@pytest.mark.parametrize("name", ["model.safetensors", "preset.json", "README.md"])
def test_altered_files_are_not_packaged(folder, package, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=f"{name}' was altered"):
        publish.package(folder)
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        publish.package(folder)
    assert not package.exists()


def test_a_folder_that_was_not_published_is_not_packaged(package, tmp_path):
    with pytest.raises(FileNotFoundError, match="was not published: .* SHA256SUMS"):
        publish.package(tmp_path)


def test_the_record_of_a_training_is_beside_its_weights(model, tmp_path):
    weights.save_weights(model, tmp_path / "model.safetensors")
    with pytest.raises(FileNotFoundError, match="recipe.json', which `zoo-train` writ"):
        publish.read_record(tmp_path)
    (tmp_path / "recipe.json").write_text(json.dumps(RECORD))
    assert publish.read_record(tmp_path) == RECORD
    assert publish.read_record(tmp_path / "model.safetensors") == RECORD
    (tmp_path / "recipe.json").write_text(json.dumps({"model": "resnet20"}))
    with pytest.raises(ValueError, match="recipe.json' has no field 'dataset'"):
        publish.read_record(tmp_path)


def test_rows_that_are_not_json_are_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n')
    with pytest.raises(ValueError, match="Line 2 of '.*rows.jsonl' is not JSON"):
        publish.read_rows(path)
    path.write_text('{"a": 1}\n{"a": 2}\n')
    assert publish.read_rows(path) == [{"a": 1}, {"a": 2}]
