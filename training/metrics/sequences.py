"""Consistency of predictions along sequences of ever more perturbed frames.

Probabilities have the shape `(sequences, frames, num_classes)`. Every frame but the
first is compared with the one before it, and there are no labels: a constant prediction
is perfectly consistent.

Reference:
    [Blurs Behave Like Ensembles](https://arxiv.org/abs/2105.12639)
    (Park and Kim, 2022); for the flip rate, [Benchmarking Neural Network Robustness](
    https://arxiv.org/abs/1903.12261) (Hendrycks and Dietterich, 2019), who compare
    frames of noise with the first one instead.
"""

from collections.abc import Callable

import numpy as np

from training.metrics import inputs
from zoo import outputs


def consistency(probs) -> float:
    """Returns how often the predicted class is that of the frame before."""

    def same(before, after):
        return before.argmax(axis=-1) == after.argmax(axis=-1)

    return _mean_over_pairs(probs, same)


def flip_rate(probs) -> float:
    """Returns how often the predicted class changes: one less the consistency."""

    def flips(before, after):
        return before.argmax(axis=-1) != after.argmax(axis=-1)

    return _mean_over_pairs(probs, flips)


def cec(probs) -> float:
    """Returns the mean cross-entropy of a frame relative to the one before, in nats.

    With the probabilities `p` of a frame and `q` of the next it is the mean of
    `-sum(p * log(q))`. It is at least the entropy of the predictions, so it is small
    only for predictions that are certain and stay. Probabilities are clipped as in
    `nll`.
    """
    outputs.check_numbers(probs, "`probs`")
    dtype = np.asarray(probs).dtype
    smallest = np.finfo(np.result_type(dtype, "float32")).tiny

    def cross_entropy(before, after):
        return -np.sum(before * np.log(np.maximum(after, smallest)), axis=-1)

    return 0.0 + _mean_over_pairs(probs, cross_entropy)


def _mean_over_pairs(probs, function: Callable) -> float:
    shape = outputs.check_numbers(probs, "`probs`")
    if len(shape) != 3 or shape[1] < 2 or 0 in shape:
        raise ValueError(
            "`probs` must have the shape (sequences, frames, num_classes), with two or "
            f"more frames. Received: probs.shape={shape}"
        )
    total = 0.0
    for sequence in probs:
        frames = np.concatenate([part for _, part in inputs.rows(sequence)])
        total += float(np.sum(function(frames[:-1], frames[1:])))
    return total / (shape[0] * (shape[1] - 1))
