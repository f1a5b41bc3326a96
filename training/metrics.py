"""Metrics of classification: functions of `(probs, labels)` that return a float.

Probabilities have the shape `(examples, num_classes)` and labels, integers in
`[0, num_classes)`, the shape `(examples,)`. Means run over all examples at once, never
over batches, and are computed in float64. For a model that samples, `probs` is the mean
of the sampled probabilities.
"""

import numpy as np

# Predictions above it are "certain" in Acc-90, Unc-90 and Freq-90.
_CERTAIN = 0.9


def _check(probs, labels):
    probs, labels = np.asarray(probs), np.asarray(labels)
    if probs.ndim != 2 or labels.shape != probs.shape[:1]:
        raise ValueError(
            "`probs` must have the shape (examples, num_classes) and `labels` the "
            f"shape (examples,). Received: probs.shape={probs.shape}, "
            f"labels.shape={labels.shape}"
        )
    num_classes = probs.shape[1]
    if probs.size == 0:
        raise ValueError(f"There are no examples. Received: probs.shape={probs.shape}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"`labels` must be integers. Received: dtype={labels.dtype}")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"`labels` must be in [0, {num_classes}), the classes of `probs`. "
            f"Received: labels from {labels.min()} to {labels.max()}"
        )
    exact = probs.astype("float64")
    if bad := np.count_nonzero(~np.isfinite(exact).all(axis=1)):
        raise ValueError(
            f"`probs` must be finite. Received: NaN or infinity in {bad} of "
            f"{len(probs)} examples"
        )
    sums = exact.sum(axis=1)
    if exact.min() < 0 or np.abs(sums - 1).max() > 1e-3:
        raise ValueError(
            "`probs` must be probabilities, which are not negative and sum to one; "
            "apply a softmax to logits. Received: values from "
            f"{exact.min():.4g} to {exact.max():.4g}, sums from {sums.min():.4g} to "
            f"{sums.max():.4g}"
        )
    return exact, labels


def _outcomes(probs, labels):
    """Returns the confidence and the correctness of each most probable class."""
    probs, labels = _check(probs, labels)
    return probs.max(axis=1), probs.argmax(axis=1) == labels


def _share(condition) -> float:
    """Returns the share of true entries; NaN of none."""
    return float(np.mean(condition)) if condition.size else float("nan")


def accuracy(probs, labels) -> float:
    """Returns the share of examples whose most probable class is the label.

    Of equally probable classes the first one counts.
    """
    return _share(_outcomes(probs, labels)[1])


def top_k(probs, labels, k: int = 5) -> float:
    """Returns the share of examples with the label among the `k` most probable.

    Of equally probable classes the first ones count, so that `k=1` is the accuracy.
    """
    probs, labels = _check(probs, labels)
    if not 1 <= k <= probs.shape[1]:
        raise ValueError(
            f"`k` must be in [1, {probs.shape[1]}], the number of classes. "
            f"Received: k={k}"
        )
    ranking = np.argsort(-probs, axis=1, kind="stable")
    return _share((ranking[:, :k] == labels[:, None]).any(axis=1))


def nll(probs, labels) -> float:
    """Returns the mean negative log-likelihood of the labels, in nats.

    Probabilities are clipped at the smallest normal number of their type, so a label
    that was given the probability zero costs 87.3 nats in float32 and 708.4 in
    float64, not infinity.
    """
    smallest = np.finfo(np.result_type(np.asarray(probs), "float32")).tiny
    probs, labels = _check(probs, labels)
    of_labels = probs[np.arange(len(labels)), labels]
    return 0.0 - float(np.mean(np.log(np.maximum(of_labels, smallest))))


def brier(probs, labels) -> float:
    """Returns the Brier score, summed over the classes: in `[0, 2]`, 0 is perfect.

    Others divide it by the number of classes, or subtract one.

    Reference:
        [Verification of Forecasts Expressed in Terms of Probability](
        https://doi.org/10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2)
        (Brier, 1950), Eq. 2.
    """
    probs, labels = _check(probs, labels)
    one_hot = np.arange(probs.shape[1]) == labels[:, None]
    return float(np.mean(np.sum(np.square(probs - one_hot), axis=1)))


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
    if num_bins < 1:
        raise ValueError(f"`num_bins` must be positive. Received: num_bins={num_bins}")
    confidence, correct = _outcomes(probs, labels)
    lower = np.arange(num_bins) / num_bins
    bins = np.searchsorted(lower, confidence)  # The number of edges strictly below.
    gap = np.bincount(bins, correct - confidence)  # Summed per bin.
    return float(np.sum(np.abs(gap)) / len(correct))


def acc_90(probs, labels) -> float:
    """Returns the accuracy where the confidence is above 0.9; NaN where none is.

    Reference of Acc-90, Unc-90 and Freq-90:
        [Blurs Behave Like Ensembles](https://arxiv.org/abs/2105.12639)
        (Park and Kim, 2022).
    """
    confidence, correct = _outcomes(probs, labels)
    return _share(correct[confidence > _CERTAIN])


def unc_90(probs, labels) -> float:
    """Returns the share of the wrong predictions with a confidence of at most 0.9.

    It is NaN where no prediction is wrong.
    """
    confidence, correct = _outcomes(probs, labels)
    return _share(confidence[~correct] <= _CERTAIN)


def freq_90(probs, labels) -> float:
    """Returns the share of predictions with a confidence above 0.9."""
    return _share(_outcomes(probs, labels)[0] > _CERTAIN)


def entropy(probs, labels) -> float:
    """Returns the mean entropy of the predictions, in nats, whatever the labels are."""
    probs, _ = _check(probs, labels)
    logs = np.log(np.where(probs > 0, probs, 1.0))  # 0 log 0 is 0.
    return 0.0 - float(np.mean(np.sum(probs * logs, axis=1)))


CLASSIFICATION = {
    "accuracy": accuracy,
    "nll": nll,
    "brier": brier,
    "ece": ece,
    "acc_90": acc_90,
    "unc_90": unc_90,
    "freq_90": freq_90,
    "entropy": entropy,
}
