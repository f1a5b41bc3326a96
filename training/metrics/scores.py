"""Accuracy and the proper scores."""

from typing import NamedTuple

import numpy as np

from training.metrics import inputs
from training.metrics.definitions import DEFINITIONS
from training.metrics.sums import evaluate, total


def accuracy(probs, labels) -> float:
    """Returns the share of examples whose most probable class is the label.

    Of equally probable classes the first one counts.
    """
    return evaluate(DEFINITIONS["accuracy"], probs, labels)


def top_k(probs, labels, k: int = 5) -> float:
    """Returns the share of examples with the label among the `k` most probable.

    Of equally probable classes the first ones count, so that `k=1` is the accuracy.
    """
    inputs.check_positive(k=k)
    value = evaluate(DEFINITIONS["top_k"], probs, labels, k=k)
    if k > (num_classes := inputs.check_shape(probs)[1]):
        raise ValueError(
            f"`k` must be in [1, {num_classes}], the number of classes. Received: k={k}"
        )
    return value


def top_5(probs, labels) -> float:
    """Returns the share of examples with the label among the 5 most probable.

    It is 1 where there are no more than 5 classes.
    """
    return evaluate(DEFINITIONS["top_k"], probs, labels, k=5)


def nll(probs, labels) -> float:
    """Returns the mean negative log-likelihood of the labels, in nats.

    Probabilities are clipped at the smallest normal number of their type, so a label
    that was given the probability zero costs 87.3 nats in float32 and 708.4 in
    float64, not infinity.
    """
    inputs.check_shape(probs)
    dtype = np.asarray(probs).dtype
    smallest = np.finfo(np.result_type(dtype, "float32")).tiny
    return evaluate(DEFINITIONS["nll"], probs, labels, smallest=smallest)


def brier(probs, labels) -> float:
    """Returns the Brier score, summed over the classes: in `[0, 2]`, 0 is perfect.

    Others divide it by the number of classes, or subtract one.

    Reference:
        [Verification of Forecasts Expressed in Terms of Probability](
        https://doi.org/10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2)
        (Brier, 1950), Eq. 2.
    """
    return evaluate(DEFINITIONS["brier"], probs, labels)


class BrierTerms(NamedTuple):
    """The Brier score is `uncertainty - resolution + reliability - covariance`."""

    uncertainty: float
    resolution: float
    reliability: float
    covariance: float


def brier_decomposition(probs, labels) -> BrierTerms:
    """Splits the Brier score over groups of examples with the same predicted class.

    With `o` the frequencies of the labels, overall, and `o_g` those within group `g`:

        uncertainty = 1 - sum(o**2), the Brier score of always predicting `o`
        resolution  = mean of sum((o_g - o)**2), how much the groups differ
        reliability = mean of sum((p - o_g)**2), how far predictions are from `o_g`
        covariance  = twice the covariance of predictions and labels within groups

    The last term is zero if all predictions of a group are equal, where this becomes
    Murphy's decomposition; else it is what confidences know beyond the predicted class.
    Resolution is too large, and reliability inexact, where groups have few examples.

    Reference:
        [Reliability, Sufficiency, and the Decomposition of Proper Scores](
        https://doi.org/10.1002/qj.456) (Broecker, 2009); groups, uncertainty (less one)
        and reliability are those of `tfp.stats.brier_decomposition`.
    """
    definition = DEFINITIONS["brier_uncertainty"]
    sums = total(definition, probs, labels)
    names = (f"brier_{name}" for name in BrierTerms._fields)
    return BrierTerms(*(float(DEFINITIONS[name].value(np, sums)) for name in names))


def brier_uncertainty(probs, labels) -> float:
    """Returns the uncertainty of `brier_decomposition`, in `[0, 1]`; labels alone."""
    return evaluate(DEFINITIONS["brier_uncertainty"], probs, labels)


def brier_resolution(probs, labels) -> float:
    """Returns the resolution of `brier_decomposition`, in `[0, 1]`; high is good."""
    return evaluate(DEFINITIONS["brier_resolution"], probs, labels)


def brier_reliability(probs, labels) -> float:
    """Returns the reliability of `brier_decomposition`, in `[0, 2]`; low is good."""
    return evaluate(DEFINITIONS["brier_reliability"], probs, labels)


def brier_covariance(probs, labels) -> float:
    """Returns the covariance of `brier_decomposition`; high is good."""
    return evaluate(DEFINITIONS["brier_covariance"], probs, labels)


def entropy(probs, labels) -> float:
    """Returns the mean entropy of the predictions, in nats, whatever the labels are."""
    return evaluate(DEFINITIONS["entropy"], probs, labels)
