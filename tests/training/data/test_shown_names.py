"""Different data have different names in tables, in files, and when rows are joined."""

import dataclasses
import json
import pathlib

import keras
import numpy as np
import pytest

from training import data, report
from training.data import shown_names
from training.evaluation import predictions, sweep
from training.report import result_set


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for name in ("a/images", "b/images", "c/x/images", "d/x/images", "e/mnist"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "names, expected",
    [
        (["a/images"], ["images"]),
        (["a/images", "a/images_c/fog/3"], ["images", "images_c/fog/3"]),
        (["a/images", "b/images"], ["a/images", "b/images"]),
        (["a/images", "c/x/images"], ["a/images", "x/images"]),
        (["c/x/images", "d/x/images_size/64"], ["c/x/images", "d/x/images_size/64"]),
        (["a/images", "./a/images/"], ["images", "images"]),
        (["fashion_mnist", "emnist/letters"], ["fashion_mnist", "emnist/letters"]),
        (["e/mnist", "mnist"], ["e/mnist", "mnist"]),
        (["e/mnist"], ["e/mnist"]),  # It is not the set of that name.
    ],
)
def test_a_folder_has_the_end_of_its_path_that_no_other_has(folders, names, expected):
    assert list(map(shown_names.shown(names).get, names)) == expected


def test_the_folder_one_is_in_has_its_name(folders, monkeypatch):
    monkeypatch.chdir(folders / "a" / "images")
    assert shown_names.shown(["."]) == {".": "images"}


def model():
    images = keras.Input((4, 4, 1))
    logits = keras.layers.Dense(3)(keras.layers.Flatten()(images))
    return keras.Model(images, logits, name="m")


def images(seed, count=6, name="images"):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, 4, 4, 1), np.uint8)
    return data.ImageData(name, pixels, rng.integers(0, 3, count), ("a", "b", "c"))


def rows_of(found, name, metric="nll"):
    return [r["value"] for r in found if (r["dataset"], r["metric"]) == (name, metric)]


def test_two_sets_of_one_name_have_their_own_predictions(tmp_path):
    keras.utils.set_random_seed(0)
    network, one, other = model(), images(0), images(1, count=4)
    apart = [dataclasses.replace(other, name="other")]
    expected = sweep.evaluate_all({"m": network}, [one, *apart], tmp_path / "0", (1,))
    found = sweep.evaluate_all({"m": network}, [one, other], tmp_path / "1", (1,))
    assert rows_of(found, "images") == rows_of(expected, "images")
    assert rows_of(found, "images#2") == rows_of(expected, "other")
    outside = sweep.evaluate_all(
        {"m": network}, [one], tmp_path / "2", (1,), ood=[other]
    )
    theirs = sweep.evaluate_all({"m": network}, [one], tmp_path / "3", (1,), ood=apart)
    for metric in ("auroc/entropy", "auroc/energy"):
        (ours,) = rows_of(outside, "images vs images#2", metric)
        assert [ours] == rows_of(theirs, "images vs other", metric)
    again = sweep.evaluate_all({"m": network}, [one, one], tmp_path / "4", (1,))
    assert {row["dataset"] for row in again} == {"images"}


def test_rows_of_different_sets_are_never_averaged(tmp_path):
    keras.utils.set_random_seed(0)
    network, rows = model(), []
    for seed in (0, 0, 1):
        rows += sweep.evaluate_all(
            {"m": network}, [images(seed)], tmp_path / str(seed), (1,)
        )
    text = report.markdown(rows)
    assert text.count("images [") == 2
    assert "\u00b1 0.0" in text  # Of the set that was evaluated twice.
    names = list(result_set.Results(rows).datasets)
    assert names == [f"images [{row['data'][:6]}]" for row in (rows[0], rows[-1])]
    for row in rows:
        del row["data"]
    assert "images [" not in report.markdown(rows)


def test_labels_of_classes_in_another_order_are_the_same_set(tmp_path):
    one = images(0)
    other = dataclasses.replace(one, labels=2 - one.labels, classes=("c", "b", "a"))
    metas = []
    for number, dataset in enumerate((one, other)):
        folder = tmp_path / str(number)
        sweep.evaluate_all({"m": model()}, [dataset], folder, (1,))
        metas.append(json.loads((folder / "m/images/meta.json").read_text())["data"])
    assert metas[0] == metas[1]


def test_each_pair_of_names_has_a_folder_of_its_own():
    root = pathlib.Path("root")
    names = ["a", "a/b", "a_b", "a%2Fb", "..", ".", "", "/", "a/", "a//b", "a/./b", "A"]
    folders = {predictions.folder_of(root, model, "d") for model in names}
    assert len(folders) == len(names)
    folders = {predictions.folder_of(root, "m", dataset) for dataset in names}
    assert len(folders) == len(names)
    for folder in folders:
        assert root in folder.parents
        assert ".." not in folder.parts
