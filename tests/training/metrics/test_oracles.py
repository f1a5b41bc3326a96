"""Metrics against other libraries, and the decomposition of the Brier score."""

import numpy as np
import pytest

from training import metrics


@pytest.fixture(scope="module")
def predictions():
    """500 predictions of 7 classes that are right more often the surer they are."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(500, 7)) * rng.uniform(0.2, 6, size=(500, 1))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(7, p=np.sqrt(p) / np.sqrt(p).sum()) for p in probs])
    return probs, labels


# Of torchmetrics 1.9.0 with torch 2.13.0, for tensors p and y of the predictions, with
# `from torchmetrics.functional import classification as c`.
TORCHMETRICS = {
    # c.multiclass_calibration_error(p, y, 7, n_bins=15, norm="l1"), "l2" and "max"
    "ece": 0.200678288936615,
    "rms_calibration_error": 0.20831961929798126,
    "maximum_calibration_error": 0.3119623064994812,
    # c.multiclass_jaccard_index(p, y, 7, average="macro")
    "iou": 0.29823800921440125,
    # Mean over k of c.binary_calibration_error(p[:, k], (y == k).int(), n_bins=15)
    "class_wise_ece": 0.0700860891884479,
}


@pytest.mark.parametrize("name", TORCHMETRICS)
def test_calibration_and_iou_agree_with_torchmetrics(predictions, name):
    value = metrics.CLASSIFICATION[name](*predictions)
    assert value == pytest.approx(TORCHMETRICS[name], rel=1e-6)


def test_detection_agrees_with_torchmetrics(predictions):
    probs, labels = predictions
    scores = probs[labels != 0, 0], probs[labels == 0, 0]
    # c.binary_auroc(p[:, 0], (y == 0).int()), then c.binary_average_precision
    assert metrics.auroc(*scores) == pytest.approx(0.8333825469017029, rel=1e-6)
    assert metrics.aupr_out(*scores) == pytest.approx(0.43159323930740356, rel=1e-6)


def test_the_decomposition_agrees_with_tensorflow_probability(predictions):
    tfp = pytest.importorskip("tensorflow_probability")
    probs, labels = predictions
    expected = tfp.stats.brier_decomposition(labels, np.log(probs))
    found = metrics.brier_decomposition(probs, labels)
    # Its Brier score is that of ours less one.
    assert found.uncertainty - 1 == pytest.approx(float(expected[0]), rel=1e-6)
    assert found.reliability == pytest.approx(float(expected[2]), rel=1e-6)
    # Its resolution takes the overall frequencies along the wrong axis: it compares
    # each group with the frequency of the class that the group predicts.
    counts = np.zeros((7, 7))
    np.add.at(counts, (probs.argmax(axis=1), labels), 1)
    weights, overall = counts.sum(axis=1) / 500, counts.sum(axis=0) / 500
    observed = counts / counts.sum(axis=1, keepdims=True)
    wrong = weights @ np.square(observed - overall[:, None]).sum(axis=1)
    right = weights @ np.square(observed - overall).sum(axis=1)
    assert float(expected[1]) == pytest.approx(wrong, rel=1e-6)
    assert found.resolution == pytest.approx(right, rel=1e-12)


def test_the_terms_add_up_to_the_brier_score(predictions):
    terms = metrics.brier_decomposition(*predictions)
    total = terms.uncertainty - terms.resolution + terms.reliability - terms.covariance
    assert total == pytest.approx(metrics.brier(*predictions), rel=1e-12)
    assert min(np.abs(terms)) > 0.01
    for name, term in terms._asdict().items():
        assert getattr(metrics, f"brier_{name}")(*predictions) == term


def test_the_decomposition_matches_loops(predictions):
    probs, labels = predictions
    one_hot, predicted = np.eye(7)[labels], probs.argmax(axis=1)
    resolution = reliability = covariance = 0.0
    for k in range(7):
        group = predicted == k
        if not group.any():
            continue
        observed = one_hot[group].mean(axis=0)
        resolution += group.mean() * np.sum((observed - one_hot.mean(axis=0)) ** 2)
        reliability += np.sum((probs[group] - observed) ** 2) / 500
        excess = (probs[group] - probs[group].mean(axis=0)) * (
            one_hot[group] - observed
        )
        covariance += 2 * np.sum(excess) / 500
    found = metrics.brier_decomposition(probs, labels)
    assert found[1:] == pytest.approx((resolution, reliability, covariance))


def test_a_forecast_of_the_frequencies_is_uncertainty_alone():
    labels = np.repeat([0, 1, 2], [6, 3, 1])
    probs = np.tile([0.6, 0.3, 0.1], (10, 1))
    terms = metrics.brier_decomposition(probs, labels)
    assert terms == pytest.approx((1 - 0.36 - 0.09 - 0.01, 0, 0, 0), abs=1e-12)
    assert metrics.brier(probs, labels) == pytest.approx(terms.uncertainty)


@pytest.mark.parametrize("certain", [False, True])
def test_iou_agrees_with_scikit_learn(predictions, certain):
    from sklearn.metrics import jaccard_score

    probs, labels = predictions
    # Class 6 is predicted but does not occur, so that it is no part of the mean.
    labels = np.where(labels == 6, 0, labels)
    kept = probs.max(axis=1) > 0.9 if certain else np.ones(500, bool)
    predicted = probs[kept].argmax(axis=1)
    assert 6 in predicted
    classes = np.unique(labels[kept])
    expected = jaccard_score(labels[kept], predicted, labels=classes, average="macro")
    found = (metrics.iou_90 if certain else metrics.iou)(probs, labels)
    assert found == pytest.approx(expected)


def test_iou_90_is_nan_without_certain_predictions():
    assert np.isnan(metrics.iou_90(np.full((2, 4), 0.25), np.array([0, 1])))


def loop_class_wise_ece(probs, labels, num_bins):
    total = 0.0
    for k in range(probs.shape[1]):
        for b in range(num_bins):
            low, high = b / num_bins, (b + 1) / num_bins
            values = probs[:, k]
            inside = (values > low) & (values <= high) | (b == 0) & (values == 0)
            gap = np.sum(values[inside]) - np.sum(labels[inside] == k)
            total += abs(gap) / len(labels) / probs.shape[1]
    return total


@pytest.mark.parametrize("num_bins", [1, 4, 15])
def test_class_wise_ece_matches_loops_on_the_edges_too(num_bins):
    rng = np.random.default_rng(0)
    counts = rng.multinomial(4, [0.4, 0.3, 0.2, 0.1], size=200)
    probs, labels = counts / 4, rng.integers(0, 4, 200)
    assert (probs == 0).any()
    assert metrics.class_wise_ece(probs, labels, num_bins) == pytest.approx(
        loop_class_wise_ece(probs, labels, num_bins)
    )


def test_the_signed_error_knows_the_direction():
    probs = np.array([[0.9, 0.1]] * 10)
    over, under = np.repeat([0, 1], [6, 4]), np.zeros(10, int)
    assert metrics.signed_ece(probs, over) == pytest.approx(0.3)
    assert metrics.signed_ece(probs, under) == pytest.approx(-0.1)


def test_errors_are_ordered(predictions):
    names = ("ece", "rms_calibration_error", "maximum_calibration_error")
    signed = abs(metrics.signed_ece(*predictions))
    values = [signed, *(metrics.CLASSIFICATION[name](*predictions) for name in names)]
    assert values == sorted(values)
    assert len(set(values)) == 4


def test_narrow_integers_do_not_overflow(predictions):
    probs, labels = np.eye(200), np.arange(200)
    for name in ("iou", "class_wise_ece", "brier_reliability"):
        narrow = metrics.CLASSIFICATION[name](probs, labels.astype("uint8"))
        assert narrow == metrics.CLASSIFICATION[name](probs, labels)
