"""How good prediction sets are, those of `zoo.conformal` and others.

Each function takes the sets, a boolean array of shape `(examples, num_classes)`, and
the labels of the examples.

Reference:
    [Uncertainty Sets for Image Classifiers using Conformal Prediction](
    https://arxiv.org/abs/2009.14193) (Angelopoulos et al., 2021).
"""

import math

import numpy as np

from zoo import outputs


def coverage(sets, labels) -> float:
    """Returns the share of sets that have the label in them."""
    return float(np.mean(_hits(sets, labels)))


def class_coverage(sets, labels) -> float:
    """Returns the smallest `coverage` of a class, over the classes that occur."""
    hits, labels = _hits(sets, labels), np.asarray(labels)
    counts, covered = np.bincount(labels), np.bincount(labels, hits)
    return float(np.min(covered[counts > 0] / counts[counts > 0]))


def set_size(sets, labels) -> float:
    """Returns the mean number of classes in a set."""
    return float(np.mean(np.sum(_checked(sets, labels)[0], axis=1)))


def answered(sets, labels) -> float:
    """Returns the share of sets that are not empty."""
    return float(np.mean(np.any(_checked(sets, labels)[0], axis=1)))


def risk(sets, labels) -> float:
    """Returns the share of wrong ones among the sets that are not empty.

    A set is wrong without the label in it. It is NaN where all are empty.
    """
    hits, kept = _hits(sets, labels), np.any(np.asarray(sets), axis=1)
    return float(1 - np.mean(hits[kept])) if kept.any() else math.nan


def _hits(sets, labels):
    sets, labels = _checked(sets, labels)
    return sets[np.arange(len(labels)), labels]


def _checked(sets, labels):
    sets = np.asarray(sets)
    if sets.ndim != 2 or sets.dtype != bool or not len(sets) or sets.shape[1] < 2:
        raise ValueError(
            "`sets` must be booleans of shape (examples, num_classes), with an example "
            "and two classes at least. Received: "
            f"sets.shape={sets.shape}, dtype={sets.dtype}"
        )
    return sets, outputs.check_labels(labels, sets.shape)
