"""Selective prediction: what is gained by leaving out the least confident examples."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from training.metrics import detection, inputs
from zoo import arrays


def confidences(probs, labels, scores=None) -> tuple[np.ndarray, np.ndarray]:
    """Returns confidences and the correctness of predictions, as `ranked` has them."""
    confidence, correct = outcomes(probs, labels)
    if scores is not None:
        known = _is_labeled(probs, labels)
        confidence = -inputs.check_scores(scores, count=len(known))[known]
    return confidence, correct


def outcomes(probs, labels) -> tuple[np.ndarray, np.ndarray]:
    """Returns the confidence and the correctness of each most probable class.

    Pixels without a label are left out.
    """
    size = np.count_nonzero(_is_labeled(probs, labels))
    is_single = getattr(probs, "dtype", None) == "float32"
    confidence = np.empty(size, "float32" if is_single else "float64")
    correct = np.empty(size, bool)
    start = 0
    for part, part_labels in inputs.chunks(probs, labels):
        stop = start + len(part)
        confidence[start:stop] = part.max(axis=1)
        correct[start:stop] = part.argmax(axis=1) == part_labels
        start = stop
    return confidence, correct


def _is_labeled(probs, labels):
    return inputs.check_labels(probs, labels) != arrays.UNLABELED


def ranked(probs, labels, scores=None) -> tuple[np.ndarray, np.ndarray]:
    """Returns confidences, the largest first, and how often they are right.

    Examples of the same confidence all get their mean correctness: the expectation over
    their possible orders, so that the order of the data does not matter.

    Args:
        probs: Array of shape `(examples, num_classes)`.
        labels: Integer array of shape `(examples,)`.
        scores: Array of shape `(examples,)`; the higher one, the less is a prediction
            to be trusted, and minus it is the confidence. By default that is the
            largest probability.

    Raises:
        ValueError: If shapes do not fit, or a score is NaN.
    """
    confidence, correct = confidences(probs, labels, scores)
    order = np.argsort(-confidence, kind="stable")
    confidence, right = confidence[order], correct[order].astype("float64")
    starts = np.flatnonzero(np.diff(confidence, prepend=np.inf))
    sizes = np.diff(starts, append=len(confidence))
    return confidence, np.repeat(np.add.reduceat(right, starts) / sizes, sizes)


class RiskCoverage(NamedTuple):
    """The error rate of the most confident examples; arrays over the examples."""

    # The share of the examples that is kept: 1/n, 2/n, ..., 1.
    coverage: np.ndarray
    # The error rate of these.
    risk: np.ndarray
    # The smallest confidence among these.
    threshold: np.ndarray


def risk_coverage(probs, labels, scores=None) -> RiskCoverage:
    """Returns the error rate of the most confident examples, for every coverage.

    Examples of the same confidence count as in `ranked`. The mean of `risk` is `aurc`.

    Args:
        probs: Array of shape `(examples, num_classes)`.
        labels: Integer array of shape `(examples,)`.
        scores: Array of shape `(examples,)`, minus which is the confidence, such as
            those of `training.metrics.ood_scores`; by default it is the largest
            probability.

    Raises:
        ValueError: If shapes do not fit, or a score is NaN.

    Example:

    >>> curve = risk_coverage([[0.3, 0.7], [0.8, 0.2]], [1, 1])
    >>> curve.coverage.tolist(), curve.risk.tolist()
    ([0.5, 1.0], [1.0, 0.5])
    """
    confidence, right = ranked(probs, labels, scores)
    counts = np.arange(1, len(confidence) + 1)
    wrong = np.cumsum(1 - right)
    return RiskCoverage(counts / len(confidence), wrong / counts, confidence)


def _risks(confidence, correct) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields numbers of the most confident examples, and the error rates of these.

    These are those of `risk_coverage`, some after others, in little memory.
    """
    ascending, wrong = np.sort(confidence), np.sort(confidence[~correct])
    size = len(ascending)
    for start in range(0, size, _BLOCK):
        counts = np.arange(start + 1, min(start + _BLOCK, size) + 1)
        values, place = np.unique(ascending[size - counts], return_inverse=True)
        # Of examples that are as confident each is as likely the next one.
        first = size - np.searchsorted(ascending, values, side="right")
        last = size - np.searchsorted(ascending, values, side="left")
        above = len(wrong) - np.searchsorted(wrong, values, side="right")
        up_to = len(wrong) - np.searchsorted(wrong, values, side="left")
        rate = (up_to - above) / (last - first)
        yield counts, (above[place] + rate[place] * (counts - first[place])) / counts


_BLOCK = 2**17  # Examples that are looked at together.


def aurc(probs, labels) -> float:
    """Returns the area under the risk-coverage curve: in `[0, 1]`, low is good.

    It is the mean, over `i` from 1 to the number of examples, of the error rate of the
    `i` most confident ones.

    Reference:
        [Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers](
        https://arxiv.org/abs/1805.08206) (Geifman et al., 2019), Eq. 2.
    """
    confidence, correct = outcomes(probs, labels)
    sums = [risk.sum() for _, risk in _risks(confidence, correct)]
    return math.fsum(sums) / len(correct)


def raulc(probs, labels, scores=None) -> float:
    """Returns the relative area under the lift curve: at most 1, high is good.

    The lift is the accuracy of the `i` most confident examples over that of all, which
    a random order would have; its mean over `i`, less one, is divided by that of the
    perfect order, all right predictions first. So 1 is a perfect order, 0 a random one,
    and below 0 confidence misleads. NaN where all or no predictions are right.

    Args:
        probs: Array of shape `(examples, num_classes)`.
        labels: Integer array of shape `(examples,)`.
        scores: Array of shape `(examples,)`, minus which is the confidence; by default
            it is the largest probability.

    Raises:
        ValueError: If shapes do not fit, or a score is NaN.

    Reference:
        [On the Practicality of Deterministic Epistemic Uncertainty](
        https://arxiv.org/abs/2107.00649) (Postels et al., 2022).
    """
    confidence, correct = confidences(probs, labels, scores)
    num_right, size = np.count_nonzero(correct), len(correct)
    if num_right in (0, size):
        return math.nan
    own, perfect = [], []
    for counts, risk in _risks(confidence, correct):
        own.append((1 - risk).sum())
        perfect.append(np.minimum(1, num_right / counts).sum())
    return (math.fsum(own) - num_right) / (math.fsum(perfect) - num_right)


def error_auroc(probs, labels, scores=None) -> float:
    """Returns how well the confidence detects wrong predictions: 0.5 is chance.

    It is the probability that a wrong prediction has a lower confidence than a right
    one, where a tie counts one half. NaN where all or no predictions are right.

    Args:
        probs: Array of shape `(examples, num_classes)`.
        labels: Integer array of shape `(examples,)`.
        scores: Array of shape `(examples,)`, minus which is the confidence; by default
            it is the largest probability.

    Raises:
        ValueError: If shapes do not fit, or a score is NaN.

    Reference:
        [A Baseline for Detecting Misclassified and Out-of-Distribution Examples](
        https://arxiv.org/abs/1610.02136) (Hendrycks and Gimpel, 2017).
    """
    return _of_errors(detection.auroc, probs, labels, scores)


def error_aupr(probs, labels, scores=None) -> float:
    """Returns the average precision of wrong predictions, found by low confidence.

    As `error_auroc`; a confidence that knows nothing has the error rate.
    """
    return _of_errors(detection.aupr_out, probs, labels, scores)


def _of_errors(metric, probs, labels, scores):
    confidence, correct = confidences(probs, labels, scores)
    if correct.all() or not correct.any():
        return float("nan")
    return metric(-confidence[correct], -confidence[~correct])


def void_auroc(probs, labels, scores=None) -> float:
    """Returns how well the confidence detects pixels without a label: 0.5 is chance.

    What nobody has labeled is mostly of no class, such as a hand cart on a road: it
    stands for the unknown. It is the probability that such a pixel has a lower
    confidence than a labeled one, where a tie counts one half, and NaN without any.

    Args:
        probs: Array of shape `(images, height, width, num_classes)`.
        labels: Integer array of shape `(images, height, width)`, -1 for pixels without
            a label.
        scores: Array of shape `(pixels,)`, of all pixels in their order, minus which is
            the confidence; by default that is the largest probability.

    Raises:
        ValueError: If shapes do not fit, or a score is NaN.

    Reference:
        [Deep Deterministic Uncertainty for Semantic Segmentation](
        https://arxiv.org/abs/2111.00079) (Mukhoti et al., 2021), where they are those
        of another data set.
    """
    known = _is_labeled(probs, labels)
    if known.all():
        return math.nan
    if scores is None:
        scores = 1 - np.concatenate(
            [part.max(axis=1) for _, part in inputs.rows(probs)]
        )
    scores = inputs.check_scores(scores, count=len(known))
    return detection.auroc(scores[known], scores[~known])


class ConfidenceCurve(NamedTuple):
    """What is left of the examples at each confidence; arrays over thresholds."""

    threshold: np.ndarray
    # Of the examples with at least this confidence; NaN without any.
    accuracy: np.ndarray
    count: np.ndarray


def confidence_curve(probs, labels, num_thresholds: int = 101) -> ConfidenceCurve:
    """Returns the accuracy of the examples with at least some confidence.

    Args:
        probs: Array of shape `(examples, num_classes)`.
        labels: Integer array of shape `(examples,)`.
        num_thresholds: From 0 to 1, in equal steps.

    Example:

    >>> curve = confidence_curve([[0.3, 0.7], [0.8, 0.2]], [1, 1], num_thresholds=5)
    >>> curve.accuracy.tolist(), curve.count.tolist()
    ([0.5, 0.5, 0.5, 0.0, nan], [2, 2, 2, 1, 0])

    Reference:
        [Can You Trust Your Model's Uncertainty?](https://arxiv.org/abs/1906.02530)
        (Ovadia et al., 2019), Figure 1.
    """
    inputs.check_positive(num_thresholds=num_thresholds)
    confidence, correct = outcomes(probs, labels)
    threshold = np.linspace(0, 1, num_thresholds)
    count, right = (
        len(values) - np.searchsorted(np.sort(values), threshold, side="left")
        for values in (confidence, confidence[correct])
    )
    accuracy = right / np.where(count > 0, count, np.nan)
    return ConfidenceCurve(threshold, accuracy, count)
