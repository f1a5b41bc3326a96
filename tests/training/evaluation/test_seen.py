"""Whether weights have seen what a temperature is fitted to."""

import dataclasses
import json
import warnings

import keras
import numpy as np
import pytest
from PIL import Image

import zoo
from tests.helpers import cifar_layouts
from training import data
from training.corruptions import table
from training.data import ImageData, identities
from training.data.readers import cifar_files
from training.evaluation import adaptation, command, seen, sweep
from zoo import finding
from zoo.posterior import Laplace, Temperature
from zoo.presets import index, training_images, weight_file

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

    def make(dataset="cifar10", **seen_images):
        record = {"dataset": dataset, "seen": seen_images}
        folder = tmp_path / "work"
        folder.mkdir(exist_ok=True)
        (folder / "recipe.json").write_text(json.dumps(record))
        known = finding.find("resnet20.fashion_mnist").preset
        preset = dataclasses.replace(known, name=NAME, data=dataset, seen=seen_images)
        monkeypatch.setattr(finding, "choose", lambda *_: preset)
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
        assert "comes out too sure" in text
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


def test_an_evaluation_gives_training_images_to_what_is_fitted_to_them(
    trained, data_dir, tmp_path, monkeypatch
):
    given, model = {}, zoo.build("resnet20", (32, 32, 3), 3)
    models = {NAME: model, f"{NAME}@laplace": Laplace(model)}
    chosen = models, ["cifar10_c/fog/3", "cifar10"], [], None, (), False
    monkeypatch.setattr(command, "_choose", lambda _: chosen)
    monkeypatch.setattr(command, "write", lambda *_: [])
    monkeypatch.setattr(
        sweep, "evaluate_all", lambda *_, **options: given.update(options) or []
    )
    trained(images=40, held_out=0)  # No warning: these images it may know.
    command.run(command.Settings([NAME], str(tmp_path / "out"), data_dir=data_dir))
    expected = data.load("cifar10", "train", data_dir)
    assert given["calibration"] is None
    assert given["train"].name == f"cifar10_train/{len(expected)}"
    np.testing.assert_array_equal(given["train"].images, expected.images)
    models[NAME] = Temperature(model)
    assert command._needed(models) == ("train", "validation")
    found, _ = adaptation.images("cifar10", "train", data_dir)
    posterior = Laplace(model, prior_precision=1.0)
    first = adaptation.adapt(posterior, NAME, None, "cifar10", data_dir=data_dir)
    assert first.name == found.name
    assert posterior.is_adapted


def leaking(name="d", count=6):
    """Random images; those of every set start alike."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8)
    labels = np.arange(count) % 2
    return ImageData(name, pixels, labels, ("a", "b"))


@pytest.fixture
def recorded(tmp_path):
    """The folder of a training that saw the first, third and another image."""
    record = {"dataset": "d", "seen": {"images": 9, "held_out": 3}}
    record["input_shape"] = [16, 16, 3]
    (tmp_path / "recipe.json").write_text(json.dumps(record))
    images = identities.of_pixels(leaking().images[[0, 2]])
    training_images.write(
        tmp_path / training_images.FILE, np.append(images, np.uint64(7))
    )
    return str(tmp_path)


def test_images_of_the_training_are_found_whatever_their_set_is_called(
    recorded, caplog
):
    leaks = seen.Leaks([NAME, NAME], [recorded, None])
    for name in ("d", "elsewhere", "d"):
        found = leaks.of(leaking(name))
        assert found.tolist() == [True, False, True, False, False, False]
    lines = [f"Of the 6 images of '{n}', 2 were in the" for n in ("d", "elsewhere")]
    assert [
        x.getMessage()[: len(y)] for x, y in zip(caplog.records, lines, strict=True)
    ] == lines
    assert [(row["dataset"], row["image"]) for row in leaks.rows][:2] == [
        ("d", 0),
        ("d", 2),
    ]
    other = dataclasses.replace(leaking(), images=leaking().images[:, :8])
    assert not leaks.of(dataclasses.replace(other, name="small")).any()


def test_what_a_training_saw_is_left_out_of_all_that_is_made_of_it(recorded):
    leaks, clean = seen.Leaks([NAME], [recorded]), leaking()
    left = leaks.without(clean, clean)
    np.testing.assert_array_equal(left.images, clean.images[[1, 3, 4, 5]])
    assert (left.labels.tolist(), left.excluded) == ([1, 1, 0, 1], 2)
    frames = dataclasses.replace(
        clean,
        images=np.repeat(clean.images, 2, axis=0),
        labels=np.repeat(clean.labels, 2),
        frames=2,
    )
    left = leaks.without(frames, clean)
    np.testing.assert_array_equal(left.images[::2], clean.images[[1, 3, 4, 5]])
    foreign = dataclasses.replace(clean, source=table.OTHER_ORDER)
    with pytest.raises(ValueError, match="'d' are not those of 'd' one by one"):
        leaks.without(foreign, clean)


def test_a_fit_to_images_of_the_training_warns_by_their_content(recorded):
    (text,) = says(recorded, leaking("mine"), "validation")
    assert f"'{NAME}' was trained on 2 of these images" in text
    rest = dataclasses.replace(leaking(), images=leaking().images[3:], labels=[1, 0, 1])
    assert not says(recorded, rest, "train")


def test_an_evaluation_says_how_many_images_it_left_out(recorded, tmp_path):
    keras.utils.set_random_seed(0)
    model = zoo.build("resnet20", (16, 16, 3), 2)
    weight_file.save_weights(model, f"{recorded}/model.safetensors")
    for split in ("train", "test"):
        for label in "ab":
            (tmp_path / "images" / split / label).mkdir(parents=True)
    for number, (pixels, label) in enumerate(
        zip(leaking().images, leaking().labels, strict=True)
    ):
        for split in ("train", "test"):
            folder = tmp_path / "images" / split / "ab"[label]
            Image.fromarray(pixels).save(folder / f"{number}.png")
    settings = command.Settings(
        ["resnet20"],
        str(tmp_path / "out"),
        [recorded],
        dataset=(f"{tmp_path}/images", f"{tmp_path}/images_c/fog/1"),
        num_samples=[1],
        exclude_seen=True,
    )
    outcome = command.run(settings)
    assert {(r["num_examples"], r["excluded"]) for r in outcome.rows} == {(4, 2)}
    lines = (tmp_path / "out" / "seen.jsonl").read_text().splitlines()
    files = sorted(json.loads(line)["file"] for line in lines)
    assert [file.rpartition("/")[2] for file in files] == ["0.png", "2.png"]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<img" in page.partition("Most confident mistakes")[2]
    outcome = command.run(
        dataclasses.replace(settings, exclude_seen=False, dataset=settings.dataset[:1])
    )
    assert {r["num_examples"] for r in outcome.rows} == {6}
    assert not any("excluded" in row for row in outcome.rows)


def _chosen(name):
    def choose(settings):
        choose.asked.append(settings.calibrate)
        return {}, [name], [], (name, settings.calibrate), (), False

    choose.asked = []
    return choose
