import json
import os
import pathlib
import shutil
import sys

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

import zoo
from tests.helpers import processes
from training import data
from training.data import fingerprint
from training.publishing import publish_training
from zoo import finding
from zoo.presets import index, weight_file

ROOT = pathlib.Path(zoo.__file__).parent.parent
RECORD = {
    "model": "resnet20",
    "dataset": "fashion_mnist",
    "recipe": "fashion_mnist",
    "settings": {"epochs": 1},
    "seed": 0,
    "command": "zoo-train --workdir=runs/x",
    "commit": "0123abc",
    "classes": ["cat", "dog", "cow"],
}
ROW = {"model": "resnet20", "dataset": "fashion_mnist", "num_samples": 1, "seed": 0}
ROW |= {"metric": "nll", "value": 0.25, "num_examples": 9}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the packages, which the command may change."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("layers", "zoo", "training"):
        ignore = shutil.ignore_patterns("assets", "pretrained", "presets.json")
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    return folder


def write_images(folder):
    """Writes small pictures of each class."""
    rng = np.random.default_rng(0)
    for name in RECORD["classes"]:
        (folder / name).mkdir(parents=True)
        for number in range(12):  # Some of them are test images.
            pixels = rng.integers(0, 256, (16, 16, 3)).astype("uint8")
            PIL.Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def execute(checkout, *args):
    command = [sys.executable, "-m", "training.cli.publish", *args]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    options = {"cwd": checkout, "env": environment}
    return processes.run(command, **options)


def test_a_training_becomes_a_folder_and_then_a_model_of_the_package(
    checkout, tmp_path, monkeypatch
):
    keras.utils.set_random_seed(0)
    model = zoo.build("resnet20", (16, 16, 3), 3)
    run, output = tmp_path / "run", tmp_path / "published"
    weight_file.save_weights(model, run / "model.safetensors")
    (run / "recipe.json").write_text(json.dumps(RECORD))
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROW) + "\n")

    result = execute(
        checkout,
        "--model=resnet20",
        f"--weights={run}",
        f"--results={tmp_path / 'rows.jsonl'}",
        f"--output={output}",
        f"--dataset={write_images(tmp_path / 'pictures')}",
    )
    assert result.returncode == 0, result.stderr
    assert "resnet20.fashion_mnist: weights, preset, card" in result.stdout
    assert "Rounding: dtype float16, dataset pictures, images" in result.stdout
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype("float32")
    rounded = zoo.load("resnet20.fashion_mnist", weights=output)
    logits = rounded(images, training=False)
    np.testing.assert_allclose(logits, model(images, training=False), 0.05, 0.05)
    expected = tf.nn.softmax(logits)
    served = tf.saved_model.load(output / "saved_model")
    probs = served.signatures["serving_default"](images=images)["probabilities"]
    np.testing.assert_allclose(probs, expected, rtol=1e-4, atol=1e-4)

    result = execute(checkout, f"--package={output}")
    assert result.returncode == 0, result.stderr
    assert "resnet20.fashion_mnist: 0.55 MB in pretrained/" in result.stdout
    monkeypatch.setattr(index, "FOLDER", checkout / "zoo" / "presets")
    assert zoo.list_models(pretrained=True) == ["resnet20.fashion_mnist"]
    loaded = zoo.load("resnet20")
    np.testing.assert_array_equal(loaded(images, training=False), logits)
    preset = index.with_results(finding.find("resnet20").preset)
    assert preset.results[0]["value"] == 0.25


def test_wrong_flags_are_one_line(checkout):
    result = execute(checkout, "--model=resnet20", "--weights=x")
    assert result.returncode == 1
    assert "Give --model, --weights and --output, or --package." in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture
def record(tmp_path):
    """That of a training on own pictures in a folder called as another data set."""
    pictures = write_images(tmp_path / "fashion_mnist")
    test = data.load(str(pictures), "test", image_size=(16, 16))
    of_data = {"path": str(pictures), "data_dir": None}
    return {**RECORD, "data": {**of_data, "test": fingerprint.of_data(test)}}


def test_the_test_images_of_a_training_are_found_from_any_folder(
    record, tmp_path, monkeypatch
):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = publish_training._test_images(record, None, None, (16, 16))
    assert (found.name, found.classes) == ("fashion_mnist", ("cat", "cow", "dog"))
    shutil.rmtree(record["data"]["path"])
    with pytest.raises(FileNotFoundError, match="by `--dataset` and `--data_dir`"):
        publish_training._test_images(record, None, None, (16, 16))


def test_other_test_images_are_refused_unless_they_are_asked_for(record, tmp_path):
    record["data"]["test"] = "12"
    with pytest.raises(ValueError, match="are not those of the training any more"):
        publish_training._test_images(record, None, None, (16, 16))
    pictures = record["data"]["path"]
    assert len(publish_training._test_images(record, pictures, None, (16, 16)))


def test_own_pictures_do_not_take_the_name_of_packaged_weights(record):
    spec = zoo.parse("resnet20")
    with pytest.raises(ValueError, match="give a tag, such as resnet20.mine"):
        publish_training._tagged(spec, record)
    del record["data"]
    named = zoo.parse("resnet20.fashion_mnist")
    assert publish_training._tagged(spec, record) == named
    assert publish_training._tagged(named, record) is named


@pytest.mark.parametrize(
    ("name", "weights"),
    [("a+b", "run"), ("a+b@temperature", "run"), ("a", "run+other")],
)
def test_an_ensemble_is_published_by_its_members(name, weights, tmp_path):
    weights = "+".join(str(tmp_path / part) for part in weights.split("+"))
    with pytest.raises(ValueError, match=r"publish each member.*Received: model=a"):
        publish_training.publish_training(name, weights, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_may_have_a_plus_in_its_name(tmp_path):
    (tmp_path / "a+b").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no '.*a\+b/recipe.json'"):
        publish_training.publish_training(
            "resnet20", tmp_path / "a+b", tmp_path / "out"
        )
