"""Metrics that need the examples in order, diagrams, sequences, and memory."""

import fractions
import math
import tracemalloc

import numpy as np
import pytest

from training import metrics


def two_classes(confidence, correct):
    """Probabilities of two classes with these confidences, and fitting labels."""
    confidence = np.asarray(confidence, "float64")
    probs = np.stack([1 - confidence, confidence], axis=1)
    return probs, np.asarray(correct, int)


@pytest.fixture(params=["distinct", "tied"])
def predictions(request):
    """Predictions that are right more often the surer they are; of few confidences."""
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, size=97)
    if request.param == "tied":
        confidence = np.round(confidence, 1)
    return two_classes(confidence, rng.uniform(size=97) < confidence**2)


def mean_over_orders(probs, labels, function):
    """Averages over random orders of the examples, with equal ones in any order."""
    rng = np.random.default_rng(0)
    values = []
    for _ in range(800):
        order = rng.permutation(len(labels))
        confidence = probs[order].max(axis=1)
        right = probs[order].argmax(axis=1) == labels[order]
        best = np.argsort(-confidence, kind="stable")
        values.append(function(confidence[best], right[best]))
    mean, error = np.mean(values, axis=0), np.std(values, axis=0) / math.sqrt(800)
    return mean, 6 * error + 1e-12


def loop_risks(confidence, right):
    return [1 - np.mean(right[: i + 1]) for i in range(len(right))]


def test_risks_match_loops_over_all_orders_of_equal_confidences(predictions):
    curve = metrics.risk_coverage(*predictions)
    mean, tolerance = mean_over_orders(*predictions, loop_risks)
    assert (np.abs(curve.risk - mean) <= tolerance).all()
    np.testing.assert_allclose(curve.coverage, np.arange(1, 98) / 97)
    np.testing.assert_array_equal(
        curve.threshold, np.sort(predictions[0].max(axis=1))[::-1]
    )
    assert metrics.aurc(*predictions) == pytest.approx(np.mean(curve.risk))


def test_raulc_matches_loops(predictions):
    def lift(confidence, right):
        return np.mean([np.mean(right[: i + 1]) for i in range(97)]) / right.mean() - 1

    mean, tolerance = mean_over_orders(*predictions, lift)
    right = predictions[0].argmax(axis=1) == predictions[1]
    perfect = lift(None, np.sort(right)[::-1])
    assert abs(metrics.raulc(*predictions) - mean / perfect) <= tolerance / perfect


def lift(scores, right):
    """The area under the lift curve of the definition, in exact fractions.

    Of examples of one score any may come first, so each counts as the mean of them.
    """
    total, before, place = fractions.Fraction(0), 0, 0
    accuracy = fractions.Fraction(int(sum(right)), len(right))
    for score in sorted(set(scores)):
        tied = [int(r) for s, r in zip(scores, right, strict=True) if s == score]
        for number in range(1, len(tied) + 1):
            place += 1
            hits = before + fractions.Fraction(number * sum(tied), len(tied))
            total += hits / place / accuracy
        before += sum(tied)
    return total / len(right) - 1


@pytest.mark.parametrize("levels", [3, 20, 10**9])
def test_raulc_by_scores_is_that_of_the_definition(levels):
    rng = np.random.default_rng(levels)
    probs, labels = two_classes(rng.uniform(0.5, 1, 97), rng.uniform(size=97) < 0.7)
    scores = rng.integers(0, levels, 97) - (levels // 3) * labels
    right = probs.argmax(axis=1) == labels
    expected = lift(scores.tolist(), right) / lift((~right).tolist(), right)
    assert metrics.raulc(probs, labels, scores) == pytest.approx(float(expected))
    curve = metrics.risk_coverage(probs, labels, scores)
    area = np.mean(1 - curve.risk) / right.mean() - 1
    assert area == pytest.approx(float(lift(scores.tolist(), right)))
    assert (np.diff(curve.threshold) <= 0).all()
    by_confidence = metrics.raulc(probs, labels, 1 - probs.max(axis=1))
    assert by_confidence == pytest.approx(metrics.raulc(probs, labels))


def test_scores_that_do_not_fit_are_refused(predictions):
    for scores, message in (
        (np.zeros(96), r"each of the 97 rows.*scores.shape=\(96,\)"),
        (np.full(97, np.nan), "NaN in 97 of 97"),
        (np.zeros((97, 2)), r"scores.shape=\(97, 2\)"),
    ):
        for function in (metrics.raulc, metrics.risk_coverage):
            with pytest.raises(ValueError, match=message):
                function(*predictions, scores)


@pytest.mark.parametrize("num_bins", [1, 4, 15])
def test_adaptive_ece_matches_loops_over_bins_of_equal_counts(num_bins):
    rng = np.random.default_rng(0)
    probs, labels = two_classes(rng.uniform(0.5, 1, 97), rng.integers(0, 2, 97))
    order = np.argsort(-probs.max(axis=1))
    total = 0.0
    for b in range(num_bins):
        members = order[97 * b // num_bins : 97 * (b + 1) // num_bins]
        right = [probs[i].argmax() == labels[i] for i in members]
        confidence = [probs[i].max() for i in members]
        total += len(members) / 97 * abs(np.mean(right) - np.mean(confidence))
    assert metrics.adaptive_ece(probs, labels, num_bins) == pytest.approx(total)


@pytest.mark.parametrize("name", ["adaptive_ece", "aurc", "raulc"])
def test_the_order_of_the_data_does_not_matter(predictions, name):
    probs, labels = predictions
    order = np.random.default_rng(1).permutation(len(labels))
    function = metrics.CLASSIFICATION[name]
    assert function(probs[order], labels[order]) == pytest.approx(
        function(probs, labels), rel=1e-12
    )


def test_adaptive_ece_of_fewer_examples_than_bins_takes_each_alone():
    probs, labels = two_classes([0.9, 0.6], [1, 0])
    assert metrics.adaptive_ece(probs, labels) == pytest.approx((0.1 + 0.6) / 2)


def test_raulc_is_one_for_the_perfect_order_and_negative_for_the_worst():
    confidence = np.linspace(0.6, 0.9, 10)
    right = np.arange(10) >= 4
    assert metrics.raulc(*two_classes(confidence, right)) == pytest.approx(1)
    assert metrics.raulc(*two_classes(confidence, right[::-1])) < -1
    equal = metrics.raulc(*two_classes(np.full(10, 0.7), right))
    assert equal == pytest.approx(0)
    assert math.isnan(metrics.raulc(*two_classes(confidence, np.zeros(10))))
    assert math.isnan(metrics.raulc(*two_classes(confidence, np.ones(10))))


def test_reliability_bins_are_those_of_the_ece(predictions):
    bins = metrics.reliability(*predictions, num_bins=10)
    confidence = predictions[0].max(axis=1)
    right = predictions[0].argmax(axis=1) == predictions[1]
    for b in range(10):
        inside = (confidence > b / 10) & (confidence <= (b + 1) / 10)
        assert (bins.lower[b], bins.upper[b]) == (b / 10, (b + 1) / 10)
        assert bins.count[b] == inside.sum()
        if inside.any():
            assert bins.confidence[b] == pytest.approx(confidence[inside].mean())
            assert bins.accuracy[b] == pytest.approx(right[inside].mean())
        else:
            assert math.isnan(bins.confidence[b])
            assert math.isnan(bins.accuracy[b])
    gaps = np.nan_to_num(np.abs(bins.accuracy - bins.confidence))
    assert metrics.ece(*predictions, 10) == pytest.approx(gaps @ bins.count / 97)


def test_the_confidence_curve_matches_loops(predictions):
    curve = metrics.confidence_curve(*predictions)
    confidence = predictions[0].max(axis=1)
    right = predictions[0].argmax(axis=1) == predictions[1]
    assert len(curve.threshold) == 101
    for threshold, accuracy, count in zip(*curve, strict=True):
        kept = right[confidence >= threshold]
        assert count == len(kept)
        expected = kept.mean() if len(kept) else math.nan
        assert accuracy == pytest.approx(expected, nan_ok=True)


def test_sequences_have_their_hand_worked_values():
    # The first one flips once of two times, the second one never.
    probs = np.array(
        [[[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], [[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]]
    )
    first = -0.9 * math.log(0.6) - 0.1 * math.log(0.4)
    second = -0.6 * math.log(0.2) - 0.4 * math.log(0.8)
    expected = {"consistency": 3 / 4, "flip_rate": 1 / 4, "cec": (first + second) / 4}
    found = {name: function(probs) for name, function in metrics.SEQUENCES.items()}
    assert found == pytest.approx(expected)


def test_cec_of_an_impossible_frame_is_large_and_finite():
    probs = np.eye(2, dtype="float32")[None]
    assert metrics.cec(probs) == pytest.approx(87.34, rel=1e-3)
    np.testing.assert_equal(metrics.cec(probs[:, [0, 0]]), 0.0)


@pytest.mark.parametrize("name", metrics.SEQUENCES)
@pytest.mark.parametrize(
    "probs, message",
    [
        (np.eye(3), r"two or more frames.*\(3, 3\)"),
        (np.eye(3)[:, None], r"two or more frames.*\(3, 1, 3\)"),
        (np.zeros((0, 2, 3)), r"two or more frames.*\(0, 2, 3\)"),
        (np.full((1, 2, 3), np.nan), "NaN or infinity in 2 of 2"),
        (2 * np.eye(3)[None], "sums from 2 to 2"),
    ],
)
def test_sequences_that_are_none_are_refused(name, probs, message):
    with pytest.raises(ValueError, match=message):
        metrics.SEQUENCES[name](probs)


@pytest.fixture(scope="module")
def memory_map(tmp_path_factory):
    """120 MB of probabilities in a file, and labels."""
    count, num_classes = 300_000, 100
    path = tmp_path_factory.mktemp("probs") / "probs.npy"
    shape = (count, num_classes)
    probs = np.lib.format.open_memmap(path, "w+", dtype="float32", shape=shape)
    probs[:] = 0.3 / (num_classes - 1)
    labels = np.random.default_rng(0).integers(0, num_classes, count)
    probs[np.arange(count), labels] = 0.7
    return np.load(path, mmap_mode="r"), labels


EXACT = {"accuracy": 1, "nll": -math.log(0.7), "ece": 0.3, "iou": 1, "aurc": 0}


@pytest.mark.parametrize(
    "name",
    [*EXACT, "top_5", "brier_reliability", "class_wise_ece", "adaptive_ece", "raulc"],
)
def test_a_few_dozen_bytes_are_held_for_each_example(memory_map, name):
    probs, labels = memory_map
    tracemalloc.start()
    value = metrics.CLASSIFICATION[name](probs, labels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    if name in EXACT:
        assert value == pytest.approx(EXACT[name], rel=1e-6, abs=1e-12)
    # The constant is that of the chunks; all in float64 would be 800 bytes each.
    assert peak < 48 * len(labels) + 12e6
