import json
import re
import shutil
import subprocess

import numpy as np
import pytest

import zoo
from tests.helpers.publications import NAME, RECORD, logits, make_rows
from zoo.presets import index, weight_file
from zoo.publishing import publish, training_record


@pytest.fixture(scope="module")
def model(toy_model):
    return toy_model


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


def test_a_folder_has_all_that_belongs_to_a_model(published):
    folder, _ = published
    names = {str(path.relative_to(folder)) for path in folder.rglob("*.*")}
    assert names == {
        "model.safetensors",
        "preset.json",
        "results.jsonl",
        "README.md",
        "saved_model/saved_model.pb",
    }
    assert [path.name for path in folder.parent.iterdir()] == ["it"]


def test_the_checksums_are_those_of_every_file(published):
    folder, _ = published
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    result = subprocess.run(command, cwd=folder, capture_output=True, check=True)
    assert result.stdout.count(b": OK") == 5


def test_published_weights_load_back_as_the_same_function(model, published):
    loaded = zoo.load(NAME, weights=published[0])
    np.testing.assert_array_equal(logits(loaded), logits(model))
    assert loaded.name == NAME


def test_the_entry_says_how_the_weights_came_about(published):
    folder, preset = published
    assert index.read_published(folder) == preset
    assert (preset.recipe, preset.epochs, preset.seed) == ("quick", 3, 5)
    assert preset.mean + preset.variance == (70.0, 8000.25)
    assert preset.classes == tuple(RECORD["classes"])
    assert preset.initial_weights == RECORD["initial_weights"]
    assert preset.layers["MCDropout"]["rate"] == 0.3
    expected = [row.copy() for row in make_rows()]
    for row in expected:
        del row["model"]
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


def test_every_row_is_kept_beside_the_card(model, tmp_path):
    rows = make_rows(seconds=1.5) + make_rows("resnet20_smooth_mcdo", dataset="t_c/x/1")
    rows += make_rows("vgg11.toys") + make_rows(f"{NAME}_seed1", 2)
    rows[0]["value"] = float("nan")
    publish.publish(model, tmp_path / "it", RECORD, rows, data_license="mit")
    lines = (tmp_path / "it" / "results.jsonl").read_text().splitlines()
    expected = [row | {"model": NAME} for row in rows[:8]] + rows[12:]
    assert list(map(json.loads, lines)) == [
        expected[0] | {"value": None},
        *expected[1:],
    ]


def test_trainings_with_other_seeds_are_a_spread(model, tmp_path):
    rows = make_rows(f"{NAME}_seed1", 2) + make_rows() + make_rows(f"{NAME}_seed2", 3)
    preset = publish.publish(model, tmp_path / "it", RECORD, rows, data_license="mit")
    assert [row["value"] for row in preset.results] == [0.5, 0.75, 0.05, 0.075]
    assert {row["model"] for row in preset.others} == {f"{NAME}_seed1", f"{NAME}_seed2"}
    text = (tmp_path / "it" / "README.md").read_text(encoding="utf-8")
    # 0.5, 1 and 1.5; 0.75, 1.5 and 2.25.
    assert (
        "| `toys` | 1 | 1.0000 \u00b1 0.5000 (3) | 1.5000 \u00b1 0.7500 (3) |" in text
    )
    told = f"seed: `{NAME}`, `{NAME}_seed1`, `{NAME}_seed2`. The weights"
    assert told in " ".join(text.split())
    assert "It is one training" not in text


def test_two_values_of_one_training_are_refused(model, tmp_path):
    rows = make_rows("resnet20_smooth_mcdo") + make_rows("resnet20_smooth_mcdo", 2)
    with pytest.raises(ValueError, match=f"0.5 and 1.0.*names.*such as '{NAME}_seed1'"):
        publish.publish(model, tmp_path / "it", RECORD, rows, data_license="mit")


def test_rounded_weights_are_half_the_size(model, published, tmp_path):
    rounding = {"dtype": "float16", "images": 9}
    options = {"data_license": "mit", "rounding": rounding}
    preset = publish.publish(model, tmp_path / "it", RECORD, **options)
    assert preset.size < 0.51 * published[1].size
    assert index.read_published(tmp_path / "it").rounding == rounding
    loaded = zoo.load(NAME, weights=tmp_path / "it")
    for name, variable in weight_file.variables(loaded).items():
        value = np.asarray(weight_file.variables(model)[name]).astype("float16")
        np.testing.assert_array_equal(np.asarray(variable), value)
    text = (tmp_path / "it" / "README.md").read_text(encoding="utf-8")
    assert "in one pass: dtype float16, images 9.\n" in text


@pytest.mark.parametrize("of_data", [{"path": "/photos"}, {"data_dir": "/mine"}])
def test_the_license_of_own_images_is_not_that_of_data_of_their_name(
    model, tmp_path, of_data
):
    record = {**RECORD, "dataset": "fashion_mnist", "data": {"test": "12", **of_data}}
    with pytest.raises(ValueError, match="in the folder 'fashion_mnist' is not known"):
        publish.publish(model, tmp_path / "it", record)
    preset = publish.publish(model, tmp_path / "it", record, data_license="mine")
    assert preset.data_license == "mine"
    assert "photos" not in (tmp_path / "it" / "preset.json").read_text()
    record["data"]["test"] = training_record.CONTENTS["fashion_mnist"]
    preset = publish.publish(model, tmp_path / "it", record)
    assert preset.data_license == "mit"


def test_data_in_another_size_has_the_license_of_the_data(model, tmp_path):
    record = {**RECORD, "dataset": "fashion_mnist_size/64"}
    preset = publish.publish(model, tmp_path / "it", record)
    assert (preset.data, preset.data_license) == ("fashion_mnist_size/64", "mit")
    assert (
        training_record.default_name("resnet20", record)
        == "resnet20.fashion_mnist_seed5"
    )
    record = {**record, "dataset": "imagenet_resized/32x32", "seed": 0}
    assert (
        training_record.default_name("vgg11", record) == "vgg11.imagenet_resized_32x32"
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
    with pytest.raises(ValueError, match="need a tag, for example '.*mcdo.toys_seed5'"):
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
    assert index.read_published(folder).seed == 6
    assert not (folder / "saved_model").exists()


def test_files_of_the_user_are_not_replaced(model, tmp_path):
    (tmp_path / "thesis.tex").touch()
    for path in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(FileExistsError, match="left alone"):
            publish.publish(model, path, RECORD, data_license="mit")


def test_the_record_of_a_training_is_beside_its_weights(model, tmp_path):
    weight_file.save_weights(model, tmp_path / "model.safetensors")
    with pytest.raises(FileNotFoundError, match="recipe.json', which `zoo-train` writ"):
        training_record.read(tmp_path)
    (tmp_path / "recipe.json").write_text(json.dumps(RECORD))
    assert training_record.read(tmp_path) == RECORD
    with pytest.raises(FileNotFoundError, match="no file or folder '.*other.safeten"):
        training_record.read(tmp_path / "other.safetensors")
    assert training_record.read(tmp_path / "model.safetensors") == RECORD
    (tmp_path / "recipe.json").write_text(json.dumps({"model": "resnet20"}))
    with pytest.raises(ValueError, match="recipe.json' has no field 'dataset'"):
        training_record.read(tmp_path)
