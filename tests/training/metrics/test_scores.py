import math

import numpy as np
import pytest

from training import metrics


def two_classes(confidence, correct):
    """Probabilities of two classes with these confidences, and fitting labels."""
    confidence = np.asarray(confidence, "float64")
    probs = np.stack([1 - confidence, confidence], axis=1)
    return probs, np.asarray(correct, int)


@pytest.fixture
def predictions():
    """500 predictions of 7 classes that are right more often the surer they are."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(500, 7)) * rng.uniform(0.2, 6, size=(500, 1))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(7, p=np.sqrt(p) / np.sqrt(p).sum()) for p in probs])
    return probs.astype("float32"), labels


def loop_ece(probs, labels, num_bins):
    total = 0.0
    for b in range(num_bins):
        inside = [
            (float(p[y_hat]), y_hat == y)
            for p, y in zip(probs, labels, strict=True)
            for y_hat in [int(np.argmax(p))]
            if b / num_bins < p[y_hat] <= (b + 1) / num_bins
        ]
        if inside:
            confidence, correct = np.mean(inside, axis=0)
            total += len(inside) / len(labels) * abs(correct - confidence)
    return total


def test_every_metric_has_its_hand_worked_value():
    # Certain and right, certain and wrong, uncertain and wrong.
    probs = np.array([[0.95, 0.03, 0.02], [0.03, 0.95, 0.02], [0.3, 0.2, 0.5]])
    labels = np.array([0, 2, 1])
    expected = {
        "accuracy": 1 / 3,
        "nll": -(math.log(0.95) + math.log(0.02) + math.log(0.2)) / 3,
        "brier": (0.0038 + (0.0009 + 0.9025 + 0.9604) + (0.09 + 0.64 + 0.25)) / 3,
        "ece": (abs(1 - 2 * 0.95) + 0.5) / 3,
        "acc_90": 1 / 2,
        "unc_90": 1 / 2,
        "freq_90": 2 / 3,
        "entropy": -sum(p * math.log(p) for p in probs.ravel()) / 3,
        "top_5": 1.0,
        # Each example is a group of its own.
        "brier_uncertainty": 1 - 3 * (1 / 3) ** 2,
        "brier_resolution": (2 / 3) ** 2 + 2 * (1 / 3) ** 2,
        "brier_reliability": (0.0038 + (0.0009 + 0.9025 + 0.9604) + 0.98) / 3,
        "brier_covariance": 0.0,
        "signed_ece": (0.95 + 0.95 + 0.5) / 3 - 1 / 3,
        # The order of the first two is open, so each is half right.
        "adaptive_ece": (0.45 + 0.45 + 0.5) / 3,
        # Class by class; only the two 0.02 share a bin.
        "class_wise_ece": ((0.05 + 0.03 + 0.3) + (0.03 + 0.95 + 0.8) + (0.96 + 0.5))
        / 9,
        "rms_calibration_error": math.sqrt((2 * 0.45**2 + 0.5**2) / 3),
        "maximum_calibration_error": 0.5,
        "iou": (1 + 0 + 0) / 3,
        "iou_90": (1 + 0) / 2,
        "aurc": (1 / 2 + 1 / 2 + 2 / 3) / 3,
        # Lifts of 4/3 and, in the perfect order, (1 + 1/2 + 1/3) / 3 / (1/3) = 11/6.
        "raulc": (4 / 3 - 1) / (11 / 6 - 1),
    }
    values = {name: f(probs, labels) for name, f in metrics.CLASSIFICATION.items()}
    assert values == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_ece_has_the_published_hand_worked_value():
    probs, labels = two_classes([0.95, 0.95, 0.55], [1, 0, 1])
    assert metrics.ece(probs, labels, num_bins=10) == pytest.approx(0.45)


@pytest.mark.parametrize("num_bins", [1, 7, 10, 15])
def test_ece_matches_loops(predictions, num_bins):
    value = metrics.ece(*predictions, num_bins=num_bins)
    assert value == pytest.approx(loop_ece(*predictions, num_bins), rel=1e-6)


def test_ece_puts_a_confidence_on_an_edge_in_the_bin_below():
    # In (0.6, 0.667] and (0.667, 0.733]. Floors would put 10/15 in the upper bin,
    # where its gap, of the other sign, cancels the gap of 0.7.
    probs, labels = two_classes([10 / 15, 0.7], [1, 0])
    assert metrics.ece(probs, labels) == pytest.approx((5 / 15 + 0.7) / 2)


def test_ece_matches_loops_where_every_confidence_lies_on_an_edge():
    # Neighbors in the bins below and above have gaps of the other sign, so that no
    # wrong bin goes without a trace.
    edges = np.arange(8, 16) / 15
    confidence = np.concatenate([edges, edges[:-1] + 0.01, edges - 0.01])
    for correct in (0, 1):
        right = np.repeat([correct, 1 - correct, 1 - correct], [8, 7, 8])
        probs, labels = two_classes(confidence, right)
        assert metrics.ece(probs, labels) == pytest.approx(loop_ece(probs, labels, 15))


def test_ece_counts_saturated_predictions_in_the_last_bin():
    probs, labels = two_classes([1 + 1e-7, 1.0, 0.95], [0, 1, 1])
    probs = np.maximum(probs, 0).astype("float32")
    assert probs.max() > 1
    assert metrics.ece(probs, labels) == pytest.approx(0.95 / 3, rel=1e-5)


def test_ece_and_entropy_agree_with_tensorflow_probability(predictions):
    tfp = pytest.importorskip("tensorflow_probability")
    probs, labels = predictions
    expected = tfp.stats.expected_calibration_error(15, np.log(probs), labels)
    assert metrics.ece(probs, labels) == pytest.approx(float(expected), rel=1e-4)
    entropy = np.mean(tfp.distributions.Categorical(probs=probs).entropy())
    assert metrics.entropy(probs, labels) == pytest.approx(entropy, rel=1e-5)


def test_accuracy_nll_brier_and_top_k_agree_with_scikit_learn(predictions):
    sklearn = pytest.importorskip("sklearn.metrics")
    labels, exact = predictions[1], predictions[0].astype("float64")
    exact /= exact.sum(axis=1, keepdims=True)
    most_probable, classes = exact.argmax(axis=1), np.arange(7)
    assert metrics.accuracy(exact, labels) == pytest.approx(
        sklearn.accuracy_score(labels, most_probable)
    )
    assert metrics.nll(exact, labels) == pytest.approx(
        sklearn.log_loss(labels, exact, labels=classes)
    )
    assert metrics.brier(exact, labels) == pytest.approx(
        sklearn.brier_score_loss(labels, exact, labels=classes, scale_by_half=False)
    )
    for k in (1, 3, 6):
        assert metrics.top_k(exact, labels, k) == pytest.approx(
            sklearn.top_k_accuracy_score(labels, exact, k=k, labels=classes)
        )


def test_the_90_family_matches_counts(predictions):
    certain = wrong = certain_and_right = wrong_and_uncertain = 0
    for p, y in zip(*predictions, strict=True):
        certain += p.max() > 0.9
        wrong += p.argmax() != y
        certain_and_right += p.max() > 0.9 and p.argmax() == y
        wrong_and_uncertain += p.max() <= 0.9 and p.argmax() != y
    assert 0 < wrong_and_uncertain < wrong
    assert 0 < certain_and_right < certain
    assert metrics.acc_90(*predictions) == pytest.approx(certain_and_right / certain)
    assert metrics.unc_90(*predictions) == pytest.approx(wrong_and_uncertain / wrong)
    assert metrics.freq_90(*predictions) == pytest.approx(certain / 500)


def test_a_confidence_of_exactly_90_percent_is_not_certain():
    probs, labels = two_classes([0.9, 0.9, 0.95], [1, 0, 0])
    assert metrics.freq_90(probs, labels) == pytest.approx(1 / 3)
    assert metrics.acc_90(probs, labels) == 0
    assert metrics.unc_90(probs, labels) == 1 / 2


def test_acc_90_is_nan_without_certain_and_unc_90_without_wrong_predictions():
    assert math.isnan(metrics.acc_90(*two_classes([0.8], [1])))
    assert math.isnan(metrics.unc_90(*two_classes([0.8], [1])))


def test_perfect_predictions_are_perfect():
    ones = {"accuracy", "acc_90", "freq_90", "top_5", "iou", "iou_90"}
    special = {"brier_uncertainty": 0.8, "brier_resolution": 0.8}
    special |= {"unc_90": math.nan, "raulc": math.nan}
    for name, metric in metrics.CLASSIFICATION.items():
        value = metric(np.eye(5), np.arange(5))
        expected = special.get(name, float(name in ones))
        if name in special:
            assert value == pytest.approx(expected, nan_ok=True)
        else:
            np.testing.assert_equal(value, expected)  # No -0.0.


@pytest.mark.parametrize("label", range(4))
def test_the_uniform_prediction_has_its_closed_forms(label):
    probs, labels = np.full((3, 4), 0.25), np.full(3, label)
    assert metrics.brier(probs, labels) == pytest.approx(1 - 1 / 4)
    assert metrics.nll(probs, labels) == pytest.approx(math.log(4))
    assert metrics.entropy(probs, labels) == pytest.approx(math.log(4))
    assert metrics.top_k(probs, labels, 2) == (label < 2)  # Ties go to the first.


@pytest.mark.parametrize(
    "dtype, nats", [("float16", 87.34), ("float32", 87.34), ("float64", 708.40)]
)
def test_nll_of_an_impossible_label_is_large_and_finite(dtype, nats):
    probs = np.array([[1, 0]], dtype)
    assert metrics.nll(probs, np.array([1])) == pytest.approx(nats, rel=1e-3)


def test_nll_does_not_clip_what_the_type_can_express():
    probs = np.array([[1, 1e-30]], "float32")
    assert metrics.nll(probs, np.array([1])) == pytest.approx(30 * math.log(10))


FUNCTIONS = {**metrics.CLASSIFICATION, "top_k": metrics.top_k}


@pytest.mark.parametrize(
    "probs, labels, message",
    [
        (np.eye(3), [0, 1], r"shape \(3,\), one for each.*labels.shape=\(2,\)"),
        (np.eye(3), [[0], [1], [2]], r"labels.shape=\(3, 1\)"),
        (np.full(3, 1 / 3), [0, 1, 2], r"probs.shape=\(3,\)"),
        (np.zeros((0, 3)), np.zeros(0, int), "one example.*\\(0, 3\\)"),
        (np.eye(3), [0, 1, 3], r"in \[0, 3\).*from 0 to 3"),
        (np.eye(3), [-1, 1, 2], r"in \[0, 3\).*from -1 to 2"),
        (np.eye(3), [0.0, 1.0, 2.0], "integers.*float64"),
        (np.diag([1, 1, np.nan]), [0, 1, 2], "NaN or infinity in 1 of 3"),
        (np.eye(3) * 2, [0, 1, 2], "sums from 2 to 2"),
        (np.array([[1.5, -0.5]]), [0], "not negative.*from -0.5 to 1.5"),
    ],
)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_bad_input_is_refused_in_one_sentence(name, probs, labels, message):
    with pytest.raises(ValueError, match=message):
        FUNCTIONS[name](probs, np.asarray(labels))


def test_top_k_and_ece_refuse_numbers_that_make_no_sense(predictions):
    with pytest.raises(ValueError, match=r"\[1, 7\].*k=8"):
        metrics.top_k(*predictions, k=8)
    with pytest.raises(ValueError, match="positive.*num_bins=0"):
        metrics.ece(*predictions, num_bins=0)


def test_probabilities_of_half_precision_networks_are_accepted(predictions):
    probs, labels = predictions
    exact = metrics.nll(probs, labels)
    assert metrics.nll(probs.astype("float16"), labels) == pytest.approx(exact, 1e-2)
