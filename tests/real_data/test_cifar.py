"""CIFAR at its true size: what is published of it, counted here.

make real-data DATA=path/to/folder WEIGHTS=path/to/pretrained_models
"""

import collections

import numpy as np
import pytest

import zoo
from tests.helpers import cifar_layouts
from training import data
from training.data import audit, validation
from training.evaluation import evaluate, seen

pytestmark = pytest.mark.slow
# Means and standard deviations of the training images in [0, 1], as published.
MOMENTS = {
    "cifar10": ((0.49140, 0.48216, 0.44653), (0.24703, 0.24349, 0.26159)),
    "cifar100": ((0.50708, 0.48655, 0.44092), (0.26733, 0.25644, 0.27615)),
}
# Images that occur twice in the training set, in the test set, and in both.
COPIES = {"cifar10": (0, 0, 0), "cifar100": (14, 2, 10)}
# Published errors of weights of others on all 10,000 test images, in percent.
ERRORS = {"resnet20": 8.27, "resnet32": 7.37, "resnet44": 6.90, "resnet56": 6.61}


@pytest.fixture(scope="module", params=MOMENTS)
def parts(request, data_dir):
    """The name of a set, and its images as published, by split."""
    name, options = request.param, {"holdout": 0}
    load = {s: data.load(name, s, str(data_dir), **options) for s in ("train", "test")}
    return name, load


def test_sizes_and_moments_are_the_published_ones(parts):
    name, found = parts
    train, test = found["train"], found["test"]
    assert train.images.shape == (50_000, 32, 32, 3)
    assert test.images.shape == (10_000, 32, 32, 3)
    count = 50_000 // len(train.classes)
    assert set(np.bincount(train.labels)) == {count}
    assert set(np.bincount(test.labels)) == {count // 5}
    mean, deviation = MOMENTS[name]
    np.testing.assert_allclose(train.images.mean((0, 1, 2)) / 255, mean, atol=1e-5)
    np.testing.assert_allclose(train.images.std((0, 1, 2)) / 255, deviation, atol=1e-5)


def test_exact_copies_are_counted_to_the_image(parts):
    name, found = parts
    train, test = (validation.identities(found[s].images) for s in ("train", "test"))
    twice = [sum(n > 1 for n in collections.Counter(x).values()) for x in (train, test)]
    both = int(np.isin(test, train).sum())
    assert (*twice, both) == COPIES[name]


def test_copies_are_found_across_splits_sets_and_labels(data_dir):
    parts = [x for n in MOMENTS for x in audit.read(n, str(data_dir), near=False)]
    found = audit.summary(parts, audit.copies(parts))
    assert [line for line in found if line.startswith("copies")] == [
        "copies of cifar100 test in cifar10 train: 1, 1 under another label",
        "copies of cifar100 train in cifar10 test: 1, 1 under another label",
        "copies of cifar100 test in cifar10 test: 1, 1 under another label",
        "copies within cifar100 train: 14, 9 under another label",
        "copies of cifar100 test in cifar100 train: 10, 6 under another label",
        "copies within cifar100 test: 2, 2 under another label",
    ]


def test_the_validation_set_is_a_tenth_of_each_class_and_of_no_copy(parts, data_dir):
    name, found = parts
    train, held_out = (
        data.load(name, split, str(data_dir)) for split in ("train", "validation")
    )
    count = 5000 // len(train.classes)
    assert set(np.bincount(held_out.labels)) == {count}
    assert set(np.bincount(train.labels)) == {9 * count}
    own, other, whole = (
        validation.identities(x.images) for x in (held_out, train, found["train"])
    )
    assert not np.isin(own, other).any()
    assert sorted([*own, *other]) == sorted(whole)


def test_the_other_layouts_have_the_same_images(parts, tmp_path):
    name, found = parts
    folder = tmp_path / {"cifar10": "cifar-10-batches-py"}.get(name, "cifar-100-python")
    folder.mkdir()
    images, labels = found["test"].images, found["test"].labels.tolist()
    rows = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(10_000, -1)
    classes = list(found["test"].classes)
    meta = {"label_names": classes, "fine_label_names": classes}
    content = {"data": rows, "labels": labels, "filenames": ["x.png"] * 10_000}
    content |= {"fine_labels": labels, "coarse_labels": labels}
    file, names = ("test_batch", "batches.meta")
    if name == "cifar100":
        file, names = "test", "meta"
    (folder / file).write_bytes(cifar_layouts.python2(content))
    (folder / names).write_bytes(cifar_layouts.python2(meta))
    archive = tmp_path / "archives" / f"{name}.tar.gz"
    cifar_layouts.archive(folder, archive)
    for place in (folder, archive):
        loaded = data.load(name, "test", str(place))
        np.testing.assert_array_equal(loaded.images, images)
        np.testing.assert_array_equal(loaded.labels, found["test"].labels)


# Of the ten test images that are in the training those whose copy was not held out;
# `resnet18` had other validation images.
SEEN = {
    backbone: {
        ("cifar100", "test"): of_test,
        ("cifar100", "validation"): of_validation,
        ("cifar10", "test"): 1,
    }
    for backbone, of_test, of_validation in (("resnet18", 7, 4478), ("resnet20", 10, 0))
}


@pytest.mark.parametrize("name", zoo.list_models("*.cifar100", pretrained=True))
def test_packaged_networks_saw_as_many_images_as_were_counted(name, data_dir):
    leaks = seen.Leaks([name])
    counts = SEEN[name.partition("_")[0].partition(".")[0]]
    for (dataset, split), count in counts.items():
        images = data.load(dataset, split, str(data_dir))
        assert leaks.of(images).sum() == count
        rest = leaks.without(images, images)
        assert (len(rest), rest.excluded) == (len(images) - count, count)
    assert len(leaks.rows) == sum(counts.values())


@pytest.mark.parametrize("name", ERRORS)
def test_weights_of_others_have_their_published_error(
    name, data_dir, weights_dir, tmp_path, monkeypatch
):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    monkeypatch.setenv("ZOO_WEIGHTS", str(weights_dir))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    model = zoo.load(f"{name}.akamaster_cifar10")
    test = data.load("cifar10", "test", str(data_dir))
    rows = evaluate.evaluate(model, test, (1,), batch_size=250, progress=False)
    (accuracy,) = (row["value"] for row in rows if row["metric"] == "accuracy")
    assert round(10_000 * (1 - accuracy)) == round(100 * ERRORS[name])
