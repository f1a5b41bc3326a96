"""Which images `--limit` takes, and how a model card and `--check` agree on it."""

import dataclasses

import numpy as np
import pytest

from training import data
from training.data import image_data
from training.evaluation import card_check, command
from zoo.presets import index as presets
from zoo.publishing import results

ROW = {"dataset": "d", "num_samples": 1, "metric": "accuracy", "value": 0.5}
ROW |= {"num_examples": 100, "seed": 0}


def sorted_set(counts, frames=1):
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = np.arange(len(labels) * frames, dtype="uint8")[:, None, None, None]
    classes = tuple(map(str, range(len(counts))))
    return data.ImageData("d", pixels, np.repeat(labels, frames), classes, frames)


def share(chosen, num_classes):
    return np.bincount(chosen.labels, minlength=num_classes).tolist()


def test_a_sample_has_of_each_class_its_share():
    whole = sorted_set([60, 30, 10])
    for count, expected in ((10, [6, 3, 1]), (50, [30, 15, 5]), (3, [1, 1, 1])):
        assert share(whole.sample(count), 3) == expected
    assert whole.sample(None) is whole
    assert whole.sample(100) is whole
    with pytest.raises(ValueError, match="count=0"):
        whole.sample(0)


def test_a_sample_is_in_order_follows_from_the_seed_and_grows():
    """Properties that hold for any sizes of classes."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        counts = rng.integers(1, 40, rng.integers(1, 9))
        labels = np.repeat(np.arange(len(counts)), counts)
        rng.shuffle(labels)
        count = int(rng.integers(1, len(labels) + 1))
        chosen = image_data.stratified(labels, count, seed=3)
        assert len(np.unique(chosen)) == count
        assert (np.diff(chosen) > 0).all()
        assert set(image_data.stratified(labels, count // 2 + 1, 3)) >= set(
            image_data.stratified(labels, count // 2, 3)
        )
        if count >= len(counts):
            assert set(labels[chosen]) == set(range(len(counts)))
    labels = np.zeros(50, int)
    first, again, other = (image_data.stratified(labels, 9, s) for s in (0, 0, 1))
    assert first.tolist() == again.tolist() != other.tolist()


def test_a_sample_of_sequences_has_all_their_frames():
    chosen = sorted_set([4, 4], frames=3).sample(4)
    assert len(chosen) == 12
    numbers = np.asarray(chosen.images[:]).ravel().reshape(4, 3)
    np.testing.assert_array_equal(numbers % 3, np.tile([0, 1, 2], (4, 1)))
    assert share(chosen, 2) == [6, 6]


def test_made_frames_are_made_once_for_each_example():
    made = []

    def make(part, first):
        made.append((first, len(part)))
        return np.repeat(part, 3, axis=0)

    pixels = np.arange(8, dtype="uint8")[:, None, None, None]
    frames = image_data.DerivedImages(pixels, make, "key", frames=3)
    index = np.array([3, 4, 5, 9, 10, 11, -1])
    np.testing.assert_array_equal(frames[index].ravel(), [1, 1, 1, 3, 3, 3, 7])
    assert made == [(1, 1), (3, 1), (7, 1)]


def test_rows_say_how_their_images_were_taken():
    row = ROW | {"selection": "stratified, seed 0"}
    assert results.check_rows([row, ROW]) == [row, ROW]
    sets = [row | {"dataset": f"d_c/fog/{s}"} for s in (1, 2)]
    first = [ROW | {"dataset": f"d_c/fog/{s}"} for s in (1, 2)]
    means = results.means([*sets, *first])
    kinds = [(r["dataset"], r.get("selection")) for r in means]
    assert kinds.count(("d_c/*/* (2 sets)", "stratified, seed 0")) == 1
    assert kinds.count(("d_c/*/* (2 sets)", None)) == 1
    assert {results.num_sets(r) for r in means} == {2}
    assert results.num_sets(ROW) == 1


@pytest.mark.parametrize(
    "rows, expected",
    [
        ([ROW], "first"),
        ([ROW | {"selection": "stratified, seed 0"}], "stratified"),
        ([ROW, ROW | {"selection": "stratified, seed 0"}], "stratified"),
        ([ROW | {"num_examples": 10_000}], "stratified"),
        ([ROW | {"dataset": "d_c/*/* (5 sets)", "num_examples": 500}], "first"),
    ],
)
def test_a_check_takes_the_images_that_the_card_took(monkeypatch, rows, expected):
    monkeypatch.setattr(card_check, "published", lambda *_: rows)
    assert card_check.selection([("model", None)], 100) == expected
    settings = command.Settings(["model"], "out", limit=100, check=True)
    models = {"model": object()}
    assert command._selection(settings, models) == expected
    plain = dataclasses.replace(settings, check=False)
    assert command._selection(plain, models) is None
    first = dataclasses.replace(plain, selection="first")
    assert command._selection(first, models) == "first"


def test_figures_of_other_images_are_not_compared():
    other = ROW | {"model": "m", "value": 0.9, "selection": "stratified, seed 0"}
    same = ROW | {"model": "m"}
    assert card_check.deviations([same, other], [ROW]) == []
    with pytest.raises(ValueError, match="Nothing of this evaluation"):
        card_check.deviations([other], [ROW])


def test_packaged_figures_of_parts_are_of_the_first_images():
    cards = {
        name
        for name, preset in presets.read().items()
        for row in preset.results
        if row["num_examples"] == 250 * results.num_sets(row)
    }
    assert cards
    for name in cards:
        assert card_check.selection([(name, None)], 250) == "first"
