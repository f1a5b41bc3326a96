"""Mixtures of pairs against NumPy, Keras' layers, and the moments of Beta."""

import keras
import numpy as np
import pytest
from scipy import stats

from layers import random
from tests.helpers.checks import assert_mean_close
from tests.helpers.data_sets import stripes
from tests.helpers.marks import few
from training import augment, batches
from training.augment import pairs

RNG = np.random.default_rng(0)
KEYS = random.fold(5, np.arange(64))
ROLLED = np.roll(np.arange(64), 1)
IMAGES = RNG.uniform(0, 255, (64, 9, 7, 3)).astype("float32")
LABELS = np.eye(4, dtype="float32")[RNG.integers(0, 4, 64)]


def mixed(text, images=IMAGES, labels=LABELS, keys=KEYS):
    function, order = augment.read(text)[1], np.roll(np.arange(len(images)), 1)
    found = function(images, labels, images[order], labels[order], keys)
    return [np.asarray(x) for x in found]


def weights_of(text, count=10_000, side=32):
    """Returns the weights of the other label, read from labels of two classes."""
    labels = np.eye(2, dtype="float32")[np.arange(count) % 2]
    images = np.zeros((count, side, side, 1), "uint8")
    found = mixed(text, images, labels, random.fold(7, np.arange(count)))[1]
    return np.sum(found * (1 - labels), axis=1)


def test_mixup_is_a_convex_combination_and_that_of_keras():
    images, labels = mixed("mixup:alpha=0.5")
    # One weight explains all pixels and the label of an image.
    change, way = images - IMAGES, IMAGES[ROLLED] - IMAGES
    share = np.sum(change * way, (1, 2, 3)) / np.sum(way**2, (1, 2, 3))
    assert share.min() >= 0
    assert share.max() <= 1
    np.testing.assert_allclose(change, share[:, None, None, None] * way, atol=1e-3)
    layer = keras.layers.MixUp(dtype="float32")
    how = {"mix_weight": 1 - share, "permutation_order": ROLLED}
    np.testing.assert_allclose(images, layer.transform_images(IMAGES, how), atol=1e-3)
    expected = layer.transform_labels(LABELS, how)
    np.testing.assert_allclose(labels, expected, atol=1e-5)
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
    whole, _ = mixed("mixup:alpha=0.5", np.round(IMAGES).astype("uint8"))
    assert whole.dtype == "uint8"
    assert np.abs(whole - images).max() <= 1.001


@pytest.mark.parametrize("alpha", few([0.2, 1.0, 3.0], slow=[3.0]))
def test_weights_are_from_the_beta_distribution(alpha):
    shares = weights_of(f"mixup:alpha={alpha}", 40_000, 1).astype("float64")
    moments = [stats.beta(alpha, alpha).moment(n) for n in (1, 2, 3, 4)]
    for n, moment in enumerate(moments, 1):
        assert_mean_close(shares**n, moment)
    # A correct sampler fails with probability 1e-6; near 1 there are few floats.
    lower, cdf = shares[shares < 0.5], stats.beta(alpha, alpha).cdf
    assert stats.kstest(lower, lambda x: 2 * cdf(x)).pvalue > 1e-6
    quantiles = pairs.beta_quantiles(alpha).astype("float64")
    assert quantiles.mean() == pytest.approx(0.5, abs=1e-7)
    assert quantiles.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=1e-3)


def test_the_area_of_a_part_is_exactly_the_weight_of_its_label():
    count = 512
    images = np.arange(count, dtype="float32")[:, None, None, None]
    images = np.broadcast_to(images, (count, 32, 32, 1))
    labels = np.eye(count, dtype="float32")
    keys = random.fold(7, np.arange(count))
    found, probs = mixed("cutmix:rate=1", images, labels, keys)
    rows = np.arange(count)
    is_other = found[..., 0] == np.roll(rows, 1)[:, None, None]
    assert np.all(is_other | (found[..., 0] == rows[:, None, None]))
    share = is_other.mean(axis=(1, 2))  # Of 1024 pixels: exact in float32.
    np.testing.assert_array_equal(probs[rows, rows - 1], share)
    np.testing.assert_array_equal(probs[rows, rows], 1 - share)
    # It is a rectangle, and the part is Keras' with that mask.
    high, wide = is_other.any(axis=2), is_other.any(axis=1)
    assert np.array_equal(is_other, high[:, :, None] & wide[:, None, :])
    assert all(np.ptp(np.flatnonzero(x)) < x.sum() for x in high[share > 0])
    layer = keras.layers.CutMix(dtype="float32")
    how = {"batch_masks": is_other[..., None], "permutation_order": np.roll(rows, 1)}
    np.testing.assert_array_equal(found, layer.transform_images(images, how))
    how["mix_weight"] = 1 - share.astype("float32")
    np.testing.assert_allclose(probs, layer.transform_labels(labels, how), atol=1e-7)


def test_parts_have_the_sizes_and_places_of_the_paper():
    """Those of the published loop, which draws for each image here."""
    count, side = 10_000, 32
    rng = np.random.default_rng(1)
    shares = rng.beta(2.0, 2.0, count)
    cuts = np.floor(side * np.sqrt(shares)).astype(int) // 2
    area = 1
    for _ in range(2):
        center = rng.integers(0, side, count)
        area = area * (
            np.clip(center + cuts, 0, side) - np.clip(center - cuts, 0, side)
        )
    expected = area / side**2
    found = weights_of("cutmix:alpha=2:rate=1", count).astype("float64")
    for n in (1, 2):
        error = np.hypot(np.std(found**n), np.std(expected**n)) / np.sqrt(count)
        assert abs(np.mean(found**n) - np.mean(expected**n)) < 6 * error
    assert stats.ks_2samp(found, expected).pvalue > 1e-6
    assert_mean_close(weights_of("cutmix:rate=0.25") > 0, 0.25, z=30)
    assert np.mean(weights_of("cutmix") == 0) > 0.5


def test_each_image_has_one_of_two_mixtures():
    images, labels = np.tile(IMAGES, (8, 1, 1, 1)), np.tile(LABELS, (8, 1))
    keys = random.fold(9, np.arange(512))
    of_both, of_mixup, of_cutmix = (
        mixed(text, images, labels, keys)
        for text in (
            "mixup_cutmix:mixup_alpha=0.5:cutmix_alpha=0.8:switch=0.25",
            "mixup:alpha=0.5",
            "cutmix:alpha=0.8:rate=1",
        )
    )
    is_cut, is_mixed = (
        np.all(of_both[0] == other[0], axis=(1, 2, 3))
        for other in (of_cutmix, of_mixup)
    )
    assert np.all(is_cut | is_mixed)
    assert_mean_close(is_cut & ~is_mixed, 0.25)
    expected = np.where(is_cut[:, None], of_cutmix[1], of_mixup[1])
    np.testing.assert_array_equal(of_both[1], expected)


def numbered(count):
    """Returns images that have their number in all pixels."""
    data = stripes(count)
    data.images[:] = np.arange(count, dtype="uint8")[:, None, None, None]
    return data


def test_an_image_is_mixed_with_the_one_before_it_and_labels_follow():
    data = numbered(40)
    settings = {"batch_size": 8, "seed": 3}
    plain = list(batches.train_batches(data, **settings))
    settings["augmentations"] = ["mixup"]
    found = list(batches.train_batches(data, **settings))
    for (images, labels), (mixtures, soft) in zip(plain, found, strict=True):
        own = np.asarray(images)[:, 0, 0, 0].astype("float64")
        pixel = np.asarray(mixtures)[:, 0, 0, 0].astype("float64")
        before, probs = np.roll(own, 1), np.asarray(soft)
        assert (probs.dtype, probs.shape) == ("float32", (8, 2))
        assert np.all((pixel - own) * (pixel - before) <= 0)
        share = (pixel - own) / (before - own)
        classes = np.eye(2)[np.asarray(labels)]
        expected = classes + share[:, None] * (np.roll(classes, 1, axis=0) - classes)
        np.testing.assert_allclose(
            probs, expected, atol=np.abs(1 / (before - own)).max()
        )
    # Again, and from the middle, bit for bit; another seed mixes otherwise.
    again = list(batches.train_batches(data, **settings, start=2))
    for one, other in zip(found[2:], again, strict=True):
        for x, y in zip(one, other, strict=True):
            np.testing.assert_array_equal(x, y)
    other = next(iter(batches.train_batches(data, **{**settings, "seed": 4})))
    assert np.any(np.asarray(other[1]) != np.asarray(found[0][1]))


@pytest.mark.parametrize(
    "batch_size, replicas",
    few([(7, 2), (8, 2), (10, 3), (2, 3)], slow=[(8, 2), (10, 3), (2, 3)]),
)
def test_mixtures_are_the_same_on_any_number_of_devices(batch_size, replicas):
    data = numbered(41)
    make = lambda **own: list(  # noqa: E731
        batches.train_batches(data, batch_size, ("flip", "cutmix:rate=1"), **own)
    )
    # One device on the first worker and the others on the second.
    parts = [make(replicas=replicas, own=o) for o in (range(1), range(1, replicas))]
    for one, whole, *others in zip(
        make(), make(replicas=replicas), *parts, strict=True
    ):
        for x, *own in zip(whole, *others, strict=True):
            np.testing.assert_array_equal(x, np.concatenate(own))
        real = np.asarray(whole[2]) > 0 if len(whole) == 3 else np.s_[:]
        for x, y in zip(one, whole[:2], strict=True):
            np.testing.assert_array_equal(x, np.asarray(y)[real])


def test_pairs_come_last_once_and_not_in_views():
    data = numbered(8)
    for names in (["mixup", "flip"], ["mixup", "cutmix"]):
        with pytest.raises(ValueError, match="mixes pairs of images comes last, and"):
            batches.train_batches(data, 4, names)
    with pytest.raises(ValueError, match="views of an image have one label"):
        batches.train_batches(data, 4, views=((), ("mixup",)))
    with pytest.raises(ValueError, match="batches of two and more.*batch_size=1"):
        batches.train_batches(data, 1, ["mixup"])
    views = batches.train_batches(data, 4, ["mixup"], views=((), ("flip",)))
    images, labels = next(iter(views))
    assert (images.shape, labels.shape) == ((4, 2, 12, 12, 1), (4, 2))
