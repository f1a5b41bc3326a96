"""Calibration: whether predictions of 80% confidence are right in 80% of the cases."""

from typing import NamedTuple

import numpy as np

from training.metrics import inputs
from training.metrics.definitions import DEFINITIONS
from training.metrics.ranking import ranked
from training.metrics.sums import evaluate, total


def ece(probs, labels, num_bins: int = 15) -> float:
    """Returns the expected calibration error of the most probable class.

    Confidences fall in bins of equal width, `(lower, upper]`; the error is the
    mean of `abs(accuracy - confidence)` over bins, weighted by their counts. It
    is biased upwards where bins hold few examples.

    Args:
        probs: Array of shape `(examples, num_classes)`.
        labels: Integer array of shape `(examples,)`.
        num_bins: The number of bins; the literature uses 15, some papers 10.

    Returns:
        The error, in `[0, 1]`.

    Reference:
        [On Calibration of Modern Neural Networks](
        https://arxiv.org/abs/1706.04599) (Guo et al., 2017), Eq. 3.
    """
    return _binned("ece", probs, labels, num_bins)


def signed_ece(probs, labels, num_bins: int = 15) -> float:
    """Returns the mean of `confidence - accuracy` over the bins of `ece`.

    It is positive for too much confidence, negative for too little, in `[-1, 1]`, and
    the same for any number of bins; its absolute value is at most the `ece`.
    """
    return _binned("signed_ece", probs, labels, num_bins)


def rms_calibration_error(probs, labels, num_bins: int = 15) -> float:
    """Returns the root mean square of `accuracy - confidence` over the bins of `ece`.

    It weights bins by their counts, lies in `[0, 1]` and is at least the `ece`.

    Reference:
        [Deep Anomaly Detection with Outlier Exposure](
        https://arxiv.org/abs/1812.04606) (Hendrycks et al., 2019).
    """
    return _binned("rms_calibration_error", probs, labels, num_bins)


def maximum_calibration_error(probs, labels, num_bins: int = 15) -> float:
    """Returns the largest `abs(accuracy - confidence)` of the bins of `ece`.

    A single example in a bin of its own can decide it, in `[0, 1]`.

    Reference:
        [On Calibration of Modern Neural Networks](
        https://arxiv.org/abs/1706.04599) (Guo et al., 2017), Eq. 5.
    """
    return _binned("maximum_calibration_error", probs, labels, num_bins)


def class_wise_ece(probs, labels, num_bins: int = 15) -> float:
    """Returns the calibration error of the probabilities of all classes.

    Each class has an `ece` of its own: the probabilities that all examples give to the
    class fall in bins `(lower, upper]` of equal width, probabilities of zero in the
    first one, and are compared with the frequency of the class. The result is the mean
    over the classes, in `[0, 2 / num_classes]`, so values for different numbers of
    classes do not compare.

    Reference:
        [Beyond Temperature Scaling](https://arxiv.org/abs/1910.12656)
        (Kull et al., 2019), Eq. 4; the static calibration error of
        [Measuring Calibration in Deep Learning](https://arxiv.org/abs/1904.01685)
        (Nixon et al., 2019).
    """
    return _binned("class_wise_ece", probs, labels, num_bins)


def adaptive_ece(probs, labels, num_bins: int = 15) -> float:
    """Returns the calibration error over bins of equally many examples.

    Of `n` examples in order of confidence, bin `b` of `B` has those from `n * b // B`
    to `n * (b + 1) // B`. Equal confidences across a border are shared in proportion,
    so that the order of the data does not matter. The error is in `[0, 1]`.

    Reference:
        [Posterior Calibration and Exploratory Analysis for Natural Language Processing
        Models](https://arxiv.org/abs/1508.05154) (Nguyen and O'Connor, 2015).
    """
    inputs.check_positive(num_bins=num_bins)
    confidence, correct = ranked(probs, labels)
    borders = len(confidence) * np.arange(num_bins) // num_bins
    # Examples fewer than bins leave some empty.
    starts = np.unique(borders)
    gap = np.add.reduceat(correct - confidence, starts)
    return float(np.sum(np.abs(gap)) / len(confidence))


class Reliability(NamedTuple):
    """What a reliability diagram shows; arrays over the bins."""

    lower: np.ndarray
    upper: np.ndarray
    count: np.ndarray
    # The means in the bin; NaN without examples.
    confidence: np.ndarray
    accuracy: np.ndarray


def reliability(probs, labels, num_bins: int = 15) -> Reliability:
    """Returns count, mean confidence and accuracy of the bins of `ece`.

    Example:

    >>> bins = reliability([[0.3, 0.7], [0.8, 0.2]], [1, 1], num_bins=2)
    >>> bins.count.tolist(), bins.confidence.tolist(), bins.accuracy.tolist()
    ([0, 2], [nan, 0.75], [nan, 0.5])
    """
    inputs.check_positive(num_bins=num_bins)
    sums = total(DEFINITIONS["ece"], probs, labels, num_bins=num_bins)
    edges, counts = np.arange(num_bins + 1) / num_bins, sums[:, 0]
    means = sums[:, 1:] / np.where(counts > 0, counts, np.nan)[:, None]
    return Reliability(edges[:-1], edges[1:], counts.astype("int64"), *means.T)


def _binned(name, probs, labels, num_bins):
    inputs.check_positive(num_bins=num_bins)
    return evaluate(DEFINITIONS[name], probs, labels, num_bins=num_bins)
