"""Sets of pixels with a bound of the error of an image, against loops and draws."""

import math
from fractions import Fraction

import keras
import numpy as np
import pytest

from tests.helpers.networks import as_numpy
from training import metrics
from zoo import conformal
from zoo.arrays import UNLABELED
from zoo.conformal import APS, LAC, RAPS, Selective
from zoo.conformal.sets import quantile, threshold_rank


def maps(count, shape=(4, 5), num_classes=3, seed=0):
    """Predictions that are right in some images more often than in others."""
    rng = np.random.default_rng(seed)
    hard = rng.uniform(0.3, 3, (count, 1, 1, 1))  # Pixels of an image are alike.
    logits = rng.normal(size=(count, *shape, num_classes), scale=2)
    labels = np.argmax(logits / hard + rng.gumbel(size=logits.shape), axis=-1)
    labels[rng.random(labels.shape) < rng.uniform(0, 0.6, (count, 1, 1))] = UNLABELED
    labels[:, 0, 0] = np.maximum(labels[:, 0, 0], 0)  # Each image has a label.
    powers = np.exp(logits)
    return (powers / powers.sum(axis=-1, keepdims=True)).astype("float32"), labels


def sets(decision, probs, **kwargs):
    return as_numpy(decision(keras.ops.convert_to_tensor(probs), **kwargs))


def slow_threshold(scores, coverage):
    """The first score, from the smallest on, that the condition of the paper allows."""
    budget = (1 - Fraction(str(coverage))) * (len(scores) + 1)
    for threshold in sorted(np.concatenate(scores)):
        missed = [Fraction(int(np.sum(own > threshold)), len(own)) for own in scores]
        if sum(missed) + 1 <= budget:
            return threshold
    raise AssertionError


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_the_threshold_is_the_smallest_one_that_the_bound_allows(coverage):
    rng = np.random.default_rng(0)
    for levels in (4, 10**6):  # With equal scores and without.
        for _ in range(20):
            sizes = rng.integers(1, 8, 19)
            scores = [rng.integers(0, levels, n) / np.float32(levels) for n in sizes]
            found = quantile(scores, coverage)
            assert found == slow_threshold(scores, coverage)
    single = rng.random(30)
    assert quantile([*single[:, None]], coverage) == quantile(single, coverage)
    assert (
        quantile(single, coverage) == np.sort(single)[threshold_rank(coverage, 30) - 1]
    )


def test_the_expected_error_of_a_further_image_is_bounded():
    """Theorems 1 and 2: it is at most alpha, and at least alpha - 2 / (n + 1)."""
    repeats, count, new, coverage = 1500, 12, 5, 0.8
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 6, (repeats, count + new))
    means = rng.normal(size=sizes.shape)
    losses = []
    for own_sizes, own_means in zip(sizes, means, strict=True):
        pairs = zip(own_sizes, own_means, strict=True)
        scores = [rng.normal(mean, 0.3, size) for size, mean in pairs]
        threshold = quantile(scores[:count], coverage)
        losses.append(np.mean([np.mean(own > threshold) for own in scores[count:]]))
    # Four standard errors: false alarms once in 16,000.
    error = 4 * np.std(losses) / math.sqrt(repeats)
    assert np.mean(losses) < 1 - coverage + error
    assert np.mean(losses) > 1 - coverage - 2 / (count + 1) - error
    assert error < 0.02


@pytest.mark.parametrize("name", ["lac_80", "class_lac_70", "raps_80"])
def test_sets_of_pixels_are_those_of_a_loop_and_saved(name, tmp_path):
    probs, labels = maps(40)
    decision = conformal.named(name)
    decision.adapt(probs, labels, seed=3)
    found = sets(decision, probs)
    assert found.shape == probs.shape
    threshold = as_numpy(decision.threshold)
    if name == "raps_80":
        kept = np.random.default_rng(3).permutation(40)[12:]
        values = {"penalties": as_numpy(decision.penalties)}
        rows = keras.ops.convert_to_tensor(probs.reshape(-1, 3))
        scores = as_numpy(decision.scores(rows, None, values)).reshape(probs.shape)
        coverage = 0.8
    else:
        kept, scores = np.arange(40), -probs
        coverage = decision.coverage
    classes = range(3) if "class" in name else [None]
    for k in classes:
        own = []
        for number in kept:
            chosen = labels[number] == k if k is not None else labels[number] >= 0
            rows, columns = np.nonzero(chosen)
            if len(rows):
                own.append(scores[number, rows, columns, labels[number, rows, columns]])
        assert threshold[k or 0] == slow_threshold(own, coverage)
    np.testing.assert_array_equal(found, scores <= threshold)
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(decision)
    )
    np.testing.assert_array_equal(sets(again, probs), found)
    summary = decision.summary(keras.ops.convert_to_tensor(probs))
    np.testing.assert_array_equal(summary["set_size"], found.sum(axis=-1))
    assert summary["coverage"].shape == (40,)


def test_draws_follow_the_number_of_the_pixel():
    probs, labels = maps(30)
    decision = APS(0.7, randomized=True)
    decision.adapt(probs, labels)
    whole = sets(decision, probs, seed=2)
    later = sets(decision, probs[11:], seed=2, offset=11)
    np.testing.assert_array_equal(later, whole[11:])
    flat = APS(0.7, randomized=True)
    flat.adapt(probs.reshape(-1, 3), np.maximum(labels, 0).reshape(-1))
    flat.threshold.assign(decision.threshold)
    np.testing.assert_array_equal(
        sets(flat, probs.reshape(-1, 3), seed=2), whole.reshape(-1, 3)
    )


def test_metrics_of_sets_of_pixels_are_those_of_loops():
    _, labels = maps(6)
    mask = np.random.default_rng(2).random((*labels.shape, 3)) < 0.5
    labels[4] = UNLABELED
    known = labels >= 0
    for name, metric in metrics.SETS.items():
        assert metric(mask, labels) == metric(mask[known], labels[known]), name
    shares, of_classes = [], {k: [] for k in range(3)}
    for number in (0, 1, 2, 3, 5):
        hits = [
            (label, mask[number][place][label])
            for place, label in np.ndenumerate(labels[number])
            if label >= 0
        ]
        shares.append(np.mean([hit for _, hit in hits]))
        for k in range(3):
            own = [hit for label, hit in hits if label == k]
            of_classes[k] += [np.mean(own)] if own else []
    assert metrics.PIXEL_SETS["image_coverage"](mask, labels) == np.mean(shares)
    found = metrics.PIXEL_SETS["image_class_coverage"](mask, labels)
    assert found == pytest.approx(min(map(np.mean, of_classes.values())))


def test_what_promises_nothing_for_pixels_is_refused():
    probs, labels = maps(20)
    with pytest.raises(ValueError, match="pixels of an image are alike.*LAC, APS and"):
        Selective(0.2).adapt(probs, labels)
    with pytest.raises(ValueError, match="9 labeled images at least.*8 images"):
        LAC(0.9).adapt(probs[:8], labels[:8])
    labels[2:, 1] = np.where(labels[2:, 1] == 2, 0, labels[2:, 1])
    few = np.where((labels == 2) & (np.arange(20) > 5)[:, None, None], 0, labels)
    with pytest.raises(ValueError, match="9 labeled images of class 2 at least"):
        LAC(0.9, class_conditional=True).adapt(probs, few)
    bad = probs.copy()
    bad[3, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity in 1 .*of image 3"):
        RAPS(0.9).adapt(bad, labels)
    with pytest.raises(ValueError, match=r"labels.shape=\(20, 4\)"):
        LAC(0.9).adapt(probs, labels[..., 0])
