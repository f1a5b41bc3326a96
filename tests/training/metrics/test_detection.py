import math

import numpy as np
import pytest
from sklearn import metrics as sklearn

from training import metrics


def scores(name):
    """Scores in and out of distribution: continuous, tied, few."""
    rng = np.random.default_rng(0)
    return {
        "continuous": (rng.normal(size=300), rng.normal(0.7, 2, size=170)),
        "tied": (rng.integers(0, 6, 300), rng.integers(2, 8, 170)),
        "constant": (np.zeros(30), np.zeros(20)),
        "single": (np.array([0.3, 0.1]), np.array([0.2])),
        "reversed": (np.arange(5.0) + 9, np.arange(40.0) / 40),
    }[name]


CASES = ("continuous", "tied", "constant", "single", "reversed")


@pytest.mark.parametrize("name", CASES)
def test_detection_agrees_with_scikit_learn(name):
    inside, outside = scores(name)
    positive = np.repeat([0, 1], [len(inside), len(outside)])
    both = np.concatenate([inside, outside])
    assert metrics.auroc(inside, outside) == pytest.approx(
        sklearn.roc_auc_score(positive, both)
    )
    assert metrics.aupr_out(inside, outside) == pytest.approx(
        sklearn.average_precision_score(positive, both)
    )
    assert metrics.aupr_in(inside, outside) == pytest.approx(
        sklearn.average_precision_score(1 - positive, -both)
    )
    fpr, tpr, _ = sklearn.roc_curve(positive, both, drop_intermediate=False)
    assert metrics.fpr_95(inside, outside) == pytest.approx(fpr[tpr >= 0.95][0])


def test_detection_has_its_hand_worked_values():
    inside, outside = np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.0, 5.0])
    # 3 beats 1 and 2 and ties with 3; 5 beats all: 2.5 + 4 of 8.
    assert metrics.auroc(inside, outside) == 6.5 / 8
    # At 5: precision 1; at 3: two of the four from 3 on.
    assert metrics.aupr_out(inside, outside) == 0.5 * 1 + 0.5 * 2 / 4
    # From below: 1 and 2 alone, then 3 with a false one, then 4.
    assert metrics.aupr_in(inside, outside) == (1 + 1 + 3 / 4 + 4 / 5) / 4
    # 95% of two are both, so the threshold is 3, which 3 and 4 reach.
    assert metrics.fpr_95(inside, outside) == 0.5


@pytest.mark.parametrize("count, reach", [(20, 19), (21, 20), (100, 95), (1, 1)])
def test_the_threshold_is_reached_by_at_least_95_percent(count, reach):
    # One image in distribution between each two that are out.
    outside = np.arange(count, 0, -1.0)
    inside = outside + 0.5
    assert metrics.fpr_95(inside, outside) == reach / count


def test_a_perfect_and_a_misleading_score_have_the_extreme_values():
    low, high = np.arange(10.0), np.arange(10.0) + 100
    perfect = {name: f(low, high) for name, f in metrics.DETECTION.items()}
    assert perfect == {"auroc": 1, "aupr_out": 1, "aupr_in": 1, "fpr_95": 0}
    assert metrics.auroc(high, low) == 0
    assert metrics.fpr_95(high, low) == 1


def test_infinite_scores_are_the_largest():
    assert metrics.auroc(np.array([0.0, 1.0]), np.array([math.inf])) == 1


@pytest.mark.parametrize("name", metrics.DETECTION)
@pytest.mark.parametrize(
    "inside, outside, message",
    [
        ([], [1.0], r"scores_in.shape=\(0,\)"),
        ([1.0], [[1.0]], r"scores_out.shape=\(1, 1\)"),
        ([1.0, math.nan], [1.0], "`scores_in`.*NaN in 1 of 2"),
    ],
)
def test_scores_that_are_none_are_refused(name, inside, outside, message):
    with pytest.raises(ValueError, match=message):
        metrics.DETECTION[name](np.array(inside), np.array(outside))


def test_scores_are_higher_out_of_distribution():
    probs = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.4, 0.3, 0.3]])
    found = metrics.ood_scores(
        probs,
        mutual_information=[0.0, 0.1, 0.2],
        energy=[-9.0, -5.0, -2.0],
        max_logit=[9.0, 4.0, 1.0],
    )
    assert list(found) == [
        "max_probability",
        "entropy",
        "mutual_information",
        "energy",
        "max_logit",
    ]
    for values in found.values():
        assert (np.diff(values) > 0).all()
    np.testing.assert_allclose(found["max_probability"], [0, 0.5, 0.6])
    last = -0.4 * math.log(0.4) - 0.6 * math.log(0.3)
    np.testing.assert_allclose(found["entropy"], [0, math.log(2), last])


def test_scores_of_other_images_are_refused():
    with pytest.raises(ValueError, match=r"each of the 3 rows.*energy.shape=\(2,\)"):
        metrics.ood_scores(np.eye(3), energy=[1.0, 2.0])
    with pytest.raises(ValueError, match="sum to one"):
        metrics.ood_scores(2 * np.eye(3))
