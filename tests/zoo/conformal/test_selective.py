"""Answers of which few are wrong, against binomial sums and simulations."""

import math

import keras
import numpy as np
import pytest

from tests.helpers.networks import as_numpy
from zoo.conformal import Selective, risk_bound
from zoo.posterior.scaler import NoBestFitError


def answers(decision, probs):
    return as_numpy(decision(keras.ops.convert_to_tensor(probs)))


def predictions(count, seed, error_of=lambda c: 1 - c):
    """Probabilities of three classes; the first one is right but for some errors."""
    rng = np.random.default_rng(seed)
    top = rng.uniform(0.5, 1, count)
    labels = np.where(rng.uniform(size=count) < error_of(top), 1, 0)
    return np.stack([top, 0.7 * (1 - top), 0.3 * (1 - top)], axis=1), labels


@pytest.mark.parametrize("errors, count", [(0, 10), (1, 59), (7, 80), (79, 80)])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_the_bound_is_where_so_few_errors_become_too_improbable(errors, count, level):
    def probability(risk):
        return sum(
            math.comb(count, k) * risk**k * (1 - risk) ** (count - k)
            for k in range(errors + 1)
        )

    bound = risk_bound(errors, count, level)
    assert probability(bound) == pytest.approx(1 - level, rel=1e-6)
    assert errors / count < bound < 1


def test_of_nothing_but_errors_and_of_nothing_the_bound_is_one():
    assert risk_bound(5, 5) == risk_bound(0, 0) == 1
    for bad in ((-1, 5), (6, 5), (0.5, 5), (1, 5, 0), (1, 5, 1.0)):
        with pytest.raises(ValueError, match="Received"):
            risk_bound(*bad)


def test_it_answers_with_the_most_probable_class_or_with_none():
    decision = Selective(0.2)
    decision.adapt(*predictions(1000, seed=0))
    probs, labels = predictions(2000, seed=1)
    found = answers(decision, probs)
    kept = found.any(axis=1)
    assert 0.5 < kept.mean() < 0.95
    np.testing.assert_array_equal(found[kept].argmax(axis=1), 0)
    assert set(found.sum(axis=1)) == {0, 1}
    border = probs[kept].max(axis=1).min()
    assert probs[~kept].max(axis=1).max() < border
    assert np.mean(labels[kept] != 0) < 0.2


def test_the_largest_share_with_a_bound_that_is_low_enough_is_chosen():
    probs, labels = predictions(400, seed=2)
    decision = Selective(0.2, level=0.9)
    decision.adapt(probs, labels)
    kept = answers(decision, probs).any(axis=1)
    falling = np.argsort(-probs[:, 0])
    fitting = [
        count
        for count in range(20, 401, 20)
        if risk_bound(int((labels[falling[:count]] != 0).sum()), count, 1 - 0.1 / 20)
        <= 0.2
    ]
    assert kept.sum() == max(fitting)


def test_where_all_answers_are_good_enough_none_is_left_out():
    probs, labels = predictions(500, seed=3, error_of=lambda c: 0 * c)
    decision = Selective(0.02)
    decision.adapt(probs, labels)
    assert answers(decision, probs).any(axis=1).all()
    assert answers(decision, [[0.34, 0.33, 0.33]]).tolist() == [[True, False, False]]


def test_the_promise_is_broken_as_seldom_as_it_says():
    # Of answers above a confidence c, a share of (1 - c) / 2 is wrong.
    broken, made, repeats, level = 0, 0, 300, 0.7
    decision = Selective(0.15, level=level)
    for repeat in range(repeats):
        try:
            found = decision.fit(*predictions(100, seed=100 + repeat), seed=0)
        except NoBestFitError:
            continue
        made += 1
        lowest = max(-float(found["threshold"][0]), 0.5)
        broken += (1 - lowest) / 2 > 0.15
    assert made > 30
    # Four deviations of a share of 0.3; Bonferroni makes it seldom.
    assert broken / repeats < 0.3 + 4 * np.sqrt(0.3 * 0.7 / repeats)


def test_few_images_that_promise_nothing_are_refused_with_the_best_bound():
    probs, labels = predictions(30, seed=5)
    with pytest.raises(NoBestFitError, match="smallest bound is 0.*of 30 images"):
        Selective(0.01).adapt(probs, labels)
    with pytest.raises(NoBestFitError, match="at most 0.01"):
        Selective(0.01).adapt(np.full((30, 3), 1 / 3), labels)


def test_equal_confidences_are_answered_all_or_none():
    probs = np.repeat([[0.9, 0.05, 0.05], [0.6, 0.2, 0.2]], [100, 100], axis=0)
    labels = np.repeat([0, 1], [100, 100])
    decision = Selective(0.1)
    decision.adapt(probs, labels)
    found = answers(decision, probs).any(axis=1)
    np.testing.assert_array_equal(found, np.repeat([True, False], 100))
