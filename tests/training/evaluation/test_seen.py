"""Whether weights have seen what a temperature is fitted to."""

import dataclasses
import json
import warnings

import numpy as np
import pytest

from tests.helpers import cifar_layouts
from training import data
from training.data import cifar_files
from training.evaluation import command, seen, sweep
from zoo.presets import index

COUNT = 8
NAME = "resnet20.cifar10"


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    for split in ("train", "test"):
        monkeypatch.setitem(cifar_files.LAYOUTS["cifar10"][0].counts, split, COUNT)
    cifar_layouts.write(tmp_path / "data", "cifar10", COUNT)
    return str(tmp_path / "data")


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Makes a training folder, and a preset, of weights that saw so much."""

    def make(dataset="cifar10", **facts):
        record = {"dataset": dataset, "seen": facts}
        folder = tmp_path / "work"
        folder.mkdir(exist_ok=True)
        (folder / "recipe.json").write_text(json.dumps(record))
        known = index.find("resnet20.fashion_mnist")
        preset = dataclasses.replace(known, name=NAME, data=dataset, seen=facts)
        monkeypatch.setattr(index, "find", lambda *_: preset)
        text = index.dumps([preset])
        (tmp_path / "published").mkdir(exist_ok=True)
        (tmp_path / "published" / "preset.json").write_text(text)
        places = None, folder, folder / "model.safetensors", tmp_path / "published"
        return [place and str(place) for place in places]

    return make


def says(weights, dataset, split, name=NAME):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        seen.warn(name, weights, dataset, split)
    return [str(warning.message) for warning in caught]


def test_weights_that_were_trained_on_these_images_warn(trained, data_dir):
    held_out = data.load("cifar10", "validation", data_dir)
    for weights in trained(images=40, held_out=0):
        (text,) = says(weights, held_out, "validation")
        assert f"'{NAME}' saw all 40 training images" in text
        assert "too low" in text
    # They saw some of them.
    for weights in trained(images=38, held_out=2):
        assert says(weights, held_out, "validation")
    for weights in trained():
        assert "no record" in says(weights, held_out, "validation")[0]


def test_weights_that_did_not_see_them_are_silent(trained, data_dir):
    held_out = data.load("cifar10", "validation", data_dir)
    for weights in trained(images=36, held_out=4):
        assert not says(weights, held_out, "validation")
        assert says(weights, data.load("cifar10", "train", data_dir), "train")
        assert not says(weights, data.load("cifar10", "test", data_dir), "test")
    for weights in trained("cifar100", images=40, held_out=0):
        assert not says(weights, held_out, "validation")
    assert not says(None, held_out, "validation", "theirs.keras")


def test_each_member_of_an_ensemble_counts(trained, data_dir):
    held_out = data.load("cifar10", "validation", data_dir)
    trained(images=40, held_out=0)
    assert len(says(None, held_out, "validation", f"{NAME}+{NAME}")) == 2


def test_an_evaluation_fits_temperatures_to_the_validation_set(
    trained, data_dir, tmp_path, monkeypatch
):
    given = {}
    monkeypatch.setattr(command, "_choose", choose := _chosen("cifar10"))
    monkeypatch.setattr(command, "write", lambda *_: [])
    monkeypatch.setattr(
        sweep, "evaluate_all", lambda *_, **options: given.update(options) or []
    )
    settings = command.Settings(
        [NAME], str(tmp_path / "out"), data_dir=data_dir, calibrate="validation"
    )
    trained(images=36, held_out=4)
    command.run(settings)
    found = given["calibration"]
    assert (found.name, len(found)) == ("cifar10_validation", 4)
    expected = data.load("cifar10", "validation", data_dir)
    np.testing.assert_array_equal(found.images, expected.images)
    trained(images=40, held_out=0)
    with pytest.warns(UserWarning, match="validation images of 'cifar10_validation'"):
        command.run(settings)
    trained(images=36, held_out=4)
    with pytest.warns(UserWarning, match="train images of 'cifar10_train/5'"):
        command.run(dataclasses.replace(settings, calibrate="5"))
    assert len(given["calibration"]) == 5
    assert choose.asked == ["validation", "validation", "5"]


def _chosen(name):
    def choose(settings):
        choose.asked.append(settings.calibrate)
        return {}, [name], [], settings.calibrate, ()

    choose.asked = []
    return choose
