"""What a data set is, whatever it is called and wherever it lies."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from training import data, differences
from training.data import fingerprint
from zoo.publishing import training_record


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"photos/{name}/{number}.png")
    return tmp_path / "photos"


def of_folder(path):
    return fingerprint.of_data(data.load(str(path), "train", image_size=(8, 8)))


def test_a_folder_is_the_same_elsewhere_and_later(photos, monkeypatch):
    expected = of_folder(photos)
    shutil.copytree(photos, photos.parent / "other" / "name")
    os.utime(photos.parent / "other/name/cat/0.png", (1, 1))
    assert of_folder(photos.parent / "other" / "name") == expected
    monkeypatch.chdir(photos.parent)
    assert of_folder("photos") == expected


def test_one_byte_of_a_file_and_one_label_count(photos):
    expected = of_folder(photos)
    (path,) = photos.glob("cat/1.png")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert of_folder(photos) != expected
    path.write_bytes(content)
    assert of_folder(photos) == expected
    path.rename(photos / "dog" / "cat1.png")
    assert of_folder(photos) != expected


def test_arrays_count_by_pixels_labels_and_shape():
    images = np.random.default_rng(0).integers(0, 256, (4, 2, 3, 1), np.uint8)
    base = data.ImageData("x", images, np.array([0, 1, 1, 0]), ("a", "b"))
    known = {fingerprint.of_data(base)}
    for change in (
        {"images": images ^ (images == images.max())},
        {"images": images.reshape(4, 3, 2, 1)},
        {"labels": np.array([0, 1, 0, 0])},
        {"frames": 2},
    ):
        found = fingerprint.of_data(dataclasses.replace(base, **change))
        assert found not in known
        known.add(found)
    for change in ({"name": "y"}, {"labels": base.labels.astype("uint8")}):
        assert fingerprint.of_data(dataclasses.replace(base, **change)) in known


def test_that_of_many_bytes_is_kept_until_the_files_change(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fingerprint, "_LARGE", 4)
    (tmp_path / "a").write_bytes(b"12345")
    first = fingerprint.of_files([tmp_path / "a"])
    (kept,) = (tmp_path / "cache" / "fingerprints").iterdir()
    kept.write_text("kept")
    assert fingerprint.of_files([tmp_path / "a"]) == "kept"
    os.utime(tmp_path / "a", (1, 1))
    assert fingerprint.of_files([tmp_path / "a"]) == first


def test_the_packaged_images_have_the_known_fingerprint():
    packaged = data.load("fashion_mnist", "test")
    assert fingerprint.of_data(packaged) == training_record.CONTENTS["fashion_mnist"]


def test_few_of_many_differences_are_shown():
    old = {"a": [1, 2, {"b": 3}], "c": "x", "gone": 1, "same": [1]}
    new = {"a": [1, 5, {"b": 4, "new": None}], "c": "y", "same": (1,)}
    assert differences.differences(old, new) == (
        "a[1] was 2 and is now 5; a[2].b was 3 and is now 4; a[2].new was not set and "
        "is now None; and 2 more"
    )
    assert not differences.differences(new, new)
    assert differences.differences({"a": []}, {"a": [1]}) == (
        "a[0] was not set and is now 1; a was [] and is not set now"
    )
