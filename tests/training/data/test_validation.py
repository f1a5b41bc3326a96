"""The validation set: what is held out, from what, and who sees it."""

import collections
import hashlib

import numpy as np
import pytest
from PIL import Image

from tests.helpers import cifar_layouts
from tests.helpers.tfds_folders import colors, prepare
from training import data
from training.data import validation
from training.data.readers import cifar_files


def some(count=200, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 4, 4, 3), np.uint8)
    labels = rng.choice(classes, count, p=np.arange(1, classes + 1) / 10)
    return data.ImageData("some", images, labels, tuple("abcdefgh"[:classes]))


def parts(whole, holdout=validation.COUNT):
    return [validation.part(whole, s, holdout) for s in ("train", "validation")]


def contents(part):
    """Returns how often there is each image with each label."""
    pairs = zip(part.images, part.labels, strict=True)
    return collections.Counter((image.tobytes(), int(label)) for image, label in pairs)


def test_a_tenth_of_each_class_is_held_out_and_the_rest_is_left():
    whole = some()
    train, held_out = parts(whole)
    assert (len(train), len(held_out)) == (180, 20)
    assert train.held_out == held_out.held_out == 20
    assert contents(train) + contents(held_out) == contents(whole)
    counts, shares = np.bincount(whole.labels), np.bincount(held_out.labels)
    assert np.abs(shares - counts / 10).max() < 1
    assert len(parts(whole, 7)[1]) == 7


def test_the_choice_is_that_of_the_smallest_hashes_of_each_class():
    whole = some()
    held_out = parts(whole)[1]
    shares = np.bincount(held_out.labels)

    def key(image):  # Channels first.
        return hashlib.sha256(np.moveaxis(image, -1, 0).tobytes()).digest()[:8]

    expected = collections.Counter()
    for label in range(4):
        images = sorted((x for x in whole.images[whole.labels == label]), key=key)
        chosen = images[: shares[label]]
        expected += collections.Counter((x.tobytes(), label) for x in chosen)
    assert contents(held_out) == expected


def test_it_is_the_same_in_any_order_of_the_images():
    whole = some()
    order = np.random.default_rng(1).permutation(len(whole))
    images, labels = whole.images[order], whole.labels[order]
    mixed = data.ImageData("mixed", images, labels, whole.classes)
    for one, other in zip(parts(whole), parts(mixed), strict=True):
        assert contents(one) == contents(other)


@pytest.mark.parametrize("seed", range(5))
def test_equal_images_are_on_one_side_also_under_two_labels(seed):
    whole, rng = some(seed=seed), np.random.default_rng(seed)
    images, labels = whole.images.copy(), whole.labels.copy()
    for _ in range(60):  # Pairs, some triples; half of them keep their labels.
        one, other = rng.choice(len(whole), 2, replace=False)
        images[other] = images[one]
        labels[other] = labels[rng.choice([one, other])]
    whole = data.ImageData("copies", images, labels, whole.classes)
    train, held_out = (
        {content for content, _ in contents(part)} for part in parts(whole)
    )
    assert not train & held_out
    assert len(parts(whole)[1]) == 20
    copies = collections.Counter(image.tobytes() for image in parts(whole)[1].images)
    assert max(copies.values()) > 1  # They are not all left for training.


def test_quotas_are_those_of_the_largest_remainder():
    counts = np.array([50, 30, 15, 5])
    assert validation._quotas(counts, 10).tolist() == [5, 3, 2, 0]
    assert validation._quotas(counts, 13).tolist() == [6, 4, 2, 1]
    assert validation._quotas(np.array([1, 0, 19]), 4).tolist() == [0, 0, 4]
    assert validation._quotas(np.array([5000] * 10), 5000).tolist() == [500] * 10
    assert validation._quotas(np.array([1, 1]), 1).tolist() == [0, 0]  # One is left.


def test_with_zero_all_images_are_for_training():
    whole = some()
    assert validation.part(whole, "train", 0) is whole
    with pytest.raises(ValueError, match="no validation set.*holdout=0"):
        validation.part(whole, "validation", 0)
    few = some(9)
    assert len(validation.part(few, "train")) == 9
    with pytest.raises(ValueError, match="of its 9 training images.*holdout=0"):
        validation.part(few, "validation")
    each = data.ImageData(
        "each", some(20).images, np.arange(20), tuple(map(str, range(20)))
    )
    assert len(validation.part(each, "train")) == 20
    with pytest.raises(ValueError, match="no class has an image to spare.*holdout=0"):
        validation.part(each, "validation")
    for wrong in (-1, 0.1, True, None):
        with pytest.raises(ValueError, match=f"holdout={wrong}"):
            validation.part(whole, "train", wrong)


def test_images_of_a_folder_are_chosen_by_their_names(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "one" / "train" / name).mkdir(parents=True)
        (tmp_path / "one" / "test" / name).mkdir(parents=True)
        for i in range(40):
            pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"one/train/{name}/{i}.png")
        Image.fromarray(pixels).save(tmp_path / f"one/test/{name}/0.png")

    def names(split):
        part = data.load(str(tmp_path / "one"), split, image_size=(8, 8))
        assert part.images[:].shape == (len(part), 8, 8, 3)
        for image, path in zip(part.images[[0, 2]], part.images.paths[::2][:2]):  # noqa: B905
            np.testing.assert_array_equal(image, np.asarray(Image.open(path)))
        return {str(path.relative_to(tmp_path / "one")) for path in part.images.paths}

    before = names("train"), names("validation")
    assert [len(part) for part in before] == [72, 8]
    assert not before[0] & before[1]
    assert sum("cat" in name for name in before[1]) == 4
    # Other pixels, another place, the same names.
    Image.fromarray(pixels).save(tmp_path / "one/train/cat/7.png")
    (tmp_path / "one").rename(tmp_path / "two")
    (tmp_path / "two").rename(tmp_path / "one")
    assert (names("train"), names("validation")) == before


def test_a_published_validation_set_is_that_one(tmp_path):
    sizes = ((40, 30),)
    splits = {"train": colors(20, sizes), "validation": colors(3, sizes, 1)}
    splits["test"] = colors(2, sizes, 2)
    prepare("oxford_flowers102", tmp_path, splits)
    for split, pairs in splits.items():
        found = data.load("oxford_flowers102", split, str(tmp_path), (16, 16))
        assert len(found) == len(pairs)
    prepare("imagenet2012", tmp_path, {**splits, "test": [(x, -1) for x, _ in pairs]})
    lengths = [
        len(data.load("imagenet2012", split, str(tmp_path), (16, 16)))
        for split in data.SPLITS
    ]
    assert lengths == [18, 2, 3]  # Its published one is for testing.


def test_corrupted_images_have_the_same_sides(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    for split in ("train", "test"):
        monkeypatch.setitem(cifar_files.LAYOUTS["cifar10"][0].counts, split, 8)
    cifar_layouts.write(tmp_path, "cifar10", 8)
    for split, count in (("train", 36), ("validation", 4), ("test", 8)):
        clean = data.load("cifar10", split, str(tmp_path))
        made = data.load("cifar10_translation/0", split, str(tmp_path))
        foggy = data.load("cifar10_c/fog/1", split, str(tmp_path))
        np.testing.assert_array_equal(made.images[:], clean.images)
        assert len(clean) == len(foggy) == len(foggy.images[:]) == count
        np.testing.assert_array_equal(foggy.labels, clean.labels)
