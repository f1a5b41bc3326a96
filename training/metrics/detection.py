"""Detection of images that are unlike the training data, by one score per image.

A higher score means more out-of-distribution. Images out of distribution are the
positives everywhere but in `aupr_in`; authors who take those in distribution get the
same `auroc`, exchange the two `aupr`, and another `fpr_95`.
"""

import numpy as np

from training.metrics import inputs
from training.metrics.definitions import entropies

_CHUNK = 2**20  # Scores whose ranks are held at once.


def ood_scores(
    probs, mutual_information=None, energy=None, max_logit=None, **scores
) -> dict[str, np.ndarray]:
    """Returns scores by name, of shape `(examples,)`; higher means out-of-distribution.

    Args:
        probs: Mean probabilities of shape `(examples, num_classes)`; it gives the
            scores `max_probability`, one less the largest one, and `entropy`, in nats.
        mutual_information: Array of shape `(examples,)`, in nats.
        energy: Minus the log-sum-exp of the logits, of shape `(examples,)`.
        max_logit: The largest logit, of shape `(examples,)`; its score is negative.
        **scores: Further ones, of shape `(examples,)`, such as those of
            `zoo.posterior.Density`.

    Reference:
        Maximum probability: [A Baseline for Detecting Misclassified and
        Out-of-Distribution Examples](https://arxiv.org/abs/1610.02136) (Hendrycks and
        Gimpel, 2017). Energy: [Energy-based Out-of-distribution Detection](
        https://arxiv.org/abs/2010.03759) (Liu et al., 2020). Maximum logit: [Scaling
        Out-of-Distribution Detection](https://arxiv.org/abs/1911.11132) (Hendrycks et
        al., 2022).
    """
    size, _ = inputs.check_shape(probs)
    found = {"max_probability": np.empty(size), "entropy": np.empty(size)}
    for start, part in inputs.rows(probs):
        place = slice(start, start + len(part))
        found["max_probability"][place] = 1 - part.max(axis=1)
        found["entropy"][place] = entropies(np, part)
    given = {
        "mutual_information": mutual_information,
        "energy": energy,
        "max_logit": max_logit,
        **scores,
    }
    for name, values in given.items():
        if values is None:
            continue
        found[name] = inputs.check_scores(values, name, size)
    if max_logit is not None:
        found["max_logit"] = -found["max_logit"]
    return found


def auroc(scores_in, scores_out) -> float:
    """Returns the area under the receiver operating characteristic.

    It is the probability that an image out of distribution has the higher score of the
    two, where a tie counts one half: 0.5 is chance, 1 is perfect.
    """
    inside, outside = _sorted(scores_in, scores_out)
    wins = 0  # Twice.
    for start in range(0, len(outside), _CHUNK):
        own = outside[start : start + _CHUNK]
        wins += int(np.searchsorted(inside, own, side="left").sum())
        wins += int(np.searchsorted(inside, own, side="right").sum())
    return wins / (2 * len(inside) * len(outside))


def aupr_out(scores_in, scores_out) -> float:
    """Returns the average precision; positives are the images out of distribution.

    It is the sum over thresholds of the precision times the step in recall, without
    interpolation, in `(0, 1]`. A score that knows nothing has the share of positives.
    """
    inside, outside = _sorted(scores_in, scores_out)
    thresholds = np.unique(outside)[::-1]
    hits = len(outside) - np.searchsorted(outside, thresholds, side="left")
    false = len(inside) - np.searchsorted(inside, thresholds, side="left")
    steps = np.diff(hits, prepend=0) / len(outside)
    return float(np.sum(steps * hits / (hits + false)))


def aupr_in(scores_in, scores_out) -> float:
    """Returns the average precision; positives are the images in distribution.

    As `aupr_out`, for the negative scores.
    """
    inside = inputs.check_scores(scores_in, "scores_in")
    return aupr_out(-inputs.check_scores(scores_out, "scores_out"), -inside)


def fpr_95(scores_in, scores_out) -> float:
    """Returns the share of images in distribution at or above the threshold.

    The threshold is the largest one that 95% of the images out of distribution reach.
    0 is perfect, 0.95 is chance.
    """
    inside, outside = _sorted(scores_in, scores_out)
    reach = -(-95 * len(outside) // 100)  # Rounded up.
    threshold = outside[-reach]
    false = len(inside) - np.searchsorted(inside, threshold, side="left")
    return float(false / len(inside))


def _sorted(scores_in, scores_out):
    return (
        np.sort(inputs.check_scores(scores_in, "scores_in")),
        np.sort(inputs.check_scores(scores_out, "scores_out")),
    )
