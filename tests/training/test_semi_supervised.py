"""Trainings with few labels: which images have them, and the batches of both kinds."""

import dataclasses

import keras
import numpy as np
import pytest

from tests.helpers import marks, processes
from tests.helpers.trainings import RECIPE, dense_model, stripes, without_time
from training import batches, semi_supervised, trainer
from training.data import ImageData
from zoo.presets.provenance import seen_images

FEW = dataclasses.replace(
    RECIPE,
    epochs=2,
    labels=12,
    batch_size=4,
    unlabeled_batch_size=20,
    objective="vat:epsilon=0.5:entropy=1",
    augmentations=("crop2",),
)


def numbered(counts=(60, 30, 9, 1)):
    """Images whose pixels are their number."""
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = labels[np.random.default_rng(0).permutation(len(labels))]
    images = np.arange(len(labels), dtype="uint8")[:, None, None, None]
    images = np.tile(images, (1, 4, 4, 1))
    return ImageData("numbered", images, labels, ("a", "b", "c", "d"))


def test_labels_are_those_of_each_class_in_proportion_to_its_size():
    data = numbered()
    sizes = {"batch_size": 1, "unlabeled_batch_size": 1}
    recipe = dataclasses.replace(FEW, labels=10, **sizes)
    labeled, unlabeled = semi_supervised.split(data, recipe)
    assert unlabeled is data
    assert np.bincount(labeled.labels).tolist() == [5, 3, 1, 1]
    places = labeled.images[:, 0, 0, 0]
    np.testing.assert_array_equal(data.labels[places], labeled.labels)
    # More labels are these and others; another seed has others.
    more = dataclasses.replace(recipe, labels=20)
    assert set(places) < set(semi_supervised.split(data, more)[0].images[:, 0, 0, 0])
    other = dataclasses.replace(recipe, labels_seed=1)
    assert set(places) != set(semi_supervised.split(data, other)[0].images[:, 0, 0, 0])
    everything = dataclasses.replace(recipe, labels=0)
    assert semi_supervised.split(data, everything) == (data, None)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"labels": 101}, r"there are 100 in data set 'numbered'.*labels=101"),
        ({"labels": 3}, r"the 4 classes.*1 \(\w\) would.*labels=4.*labels=3"),
        ({"labels": 8, "batch_size": 9}, "batch_size=4` would fit.*=9, 8 images"),
        ({"unlabeled_batch_size": 101}, "unlabeled_batch_size=101, 100 images for"),
    ],
)
def test_labels_that_cannot_be_are_refused(changes, message):
    recipe = dataclasses.replace(FEW, **changes)
    with pytest.raises(ValueError, match=message):
        semi_supervised.split(numbered(), recipe)


def test_images_without_a_label_are_told_from_damaged_labels():
    images = np.zeros((3, 2, 2, 1), "uint8")
    with pytest.raises(ValueError, match=r"in \[0, 2\), and -1.*2 of 3 labels"):
        ImageData("theirs", images, np.array([0, -1, -1]), ("a", "b"))
    with pytest.raises(ValueError, match="labels from -1 to 2"):
        ImageData("theirs", images, np.array([0, -1, 2]), ("a", "b"))
    for name in ("labels", "labels_seed", "unlabeled_batch_size"):
        with pytest.raises(ValueError, match=f"`{name}` must be .*{name}=-1"):
            dataclasses.replace(FEW, **{name: -1})


def loaded(**settings):
    labeled, unlabeled = semi_supervised.split(numbered(), FEW)
    sizes = {"batch_size": 4, "unlabeled_batch_size": 20, "seed": 3, "epoch": 1}
    found = semi_supervised.train_batches(
        labeled, unlabeled=unlabeled, **{**sizes, **settings}
    )
    to_numpy = keras.ops.convert_to_numpy
    return [keras.tree.map_structure(to_numpy, batch) for batch in found]


def test_an_epoch_is_a_pass_over_all_images_with_labeled_ones_beside_them():
    labeled, unlabeled = semi_supervised.split(numbered(), FEW)
    steps = semi_supervised.steps_per_epoch(labeled, unlabeled, FEW)
    assert steps == 100 // 20
    found = loaded()
    assert len(found) == steps
    known = np.concatenate([images[:, 0, 0, 0] for (images, _), _ in found])
    labels = np.concatenate([labels for _, labels in found])
    np.testing.assert_array_equal(numbered().labels[known], labels)
    # Twelve images in twenty places: all of them once before one comes again.
    assert sorted(known[:12]) == labeled.images[:, 0, 0, 0].tolist()
    assert len(set(known[12:])) == 8
    assert known[:8].tolist() != known[12:].tolist()
    others = np.concatenate([rest[:, 0, 0, 0] for (_, rest), _ in found])
    assert sorted(others) == list(range(100))
    # The first batches are left out, and nothing else changes.
    again = loaded(start=2)
    np.testing.assert_equal(again, found[2:])
    alone = loaded(together=False)
    np.testing.assert_equal(alone, [(images, y) for (images, _), y in found])
    other = loaded(epoch=2)
    assert (other[0][0][0] != found[0][0][0]).any()


def test_an_image_that_comes_again_is_augmented_anew():
    data = stripes(4)
    settings = {"augmentations": ("crop4",), "steps": 6}
    crops = [set() for _ in range(4)]
    for images, labels in batches.train_batches(data, 2, **settings):
        for image, label in zip(images, labels, strict=True):
            crops[int(label)].add(keras.ops.convert_to_numpy(image).tobytes())
    # Three crops of each of the two images of a class, of 81 that there are.
    assert len(crops[0]) + len(crops[1]) >= 10


@pytest.mark.slow
def test_a_training_with_few_labels_goes_on_bit_for_bit(tmp_path, monkeypatch):
    original, steps = trainer._Keeper.on_train_batch_end, []

    def interrupted(self, batch, logs=None):
        original(self, batch, logs)
        steps.append(batch)
        if len(steps) == 6:  # Of four in each of two epochs.
            raise KeyboardInterrupt

    def fit(folder):
        model = dense_model()
        settings = {"checkpoint_seconds": 0, "seed": 5}
        rows = trainer.train(model, FEW, stripes(), tmp_path / folder, **settings)
        return model.get_weights(), without_time(rows)

    whole = fit("whole")
    with monkeypatch.context() as patch:
        patch.setattr(trainer._Keeper, "on_train_batch_end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit("stopped")
    np.testing.assert_equal(fit("stopped"), whole)
    assert whole[1][-1]["loss"] > whole[1][-1]["nll"]


@pytest.mark.slow
def test_the_other_images_matter_to_an_objective_that_takes_them(tmp_path):
    """By the cross-entropy, what the others show makes no difference."""
    data = stripes()
    labeled = data.sample(FEW.labels).images
    is_labeled = (data.images[:, None] == labeled[None]).all(axis=(2, 3, 4)).any(1)
    noise = np.random.default_rng(0).integers(0, 256, data.images.shape, "uint8")
    images = np.where(is_labeled[:, None, None, None], data.images, noise)
    found = {}
    for objective in ("cross_entropy", "vat:epsilon=0.5"):
        recipe = dataclasses.replace(
            FEW, epochs=1, warmup_epochs=0, objective=objective
        )
        for name, pixels in (("as they are", data.images), ("noise", images)):
            model = dense_model(rate=0.0)
            own = dataclasses.replace(data, images=pixels)
            trainer.train(model, recipe, own, tmp_path / objective[:3] / name)
            kernel = keras.ops.convert_to_numpy(model.get_layer("head").kernel)
            found[objective[:3], name] = kernel
    for kind, equal in (("cro", True), ("vat", False)):
        pair = found[kind, "as they are"], found[kind, "noise"]
        assert np.array_equal(*pair) == equal


def test_a_card_says_how_many_labels_were_seen():
    seen = {"images": 45_000, "held_out": 5_000, "labels": 1_000}
    assert seen_images(seen).startswith(
        "saw 45,000 training images, and the labels of 1,000; 5,000 were held out"
    )


@marks.on_others
def test_all_of_this_holds_on_other_backends(backend):
    pytest.importorskip(backend)
    processes.check_on(backend, __file__)
