"""How good prediction sets are, those of `zoo.conformal` and others.

Each function takes the sets, a boolean array of shape `(examples, num_classes)`, and
the labels of the examples; or both of pixels, of shape `(images, height, width,
num_classes)` and `(images, height, width)`, of which those without a label count
nowhere.

Reference:
    [Uncertainty Sets for Image Classifiers using Conformal Prediction](
    https://arxiv.org/abs/2009.14193) (Angelopoulos et al., 2021).
"""

import math

import numpy as np

from zoo import arrays, outputs


def coverage(sets, labels) -> float:
    """Returns the share of sets that have the label in them."""
    return float(np.mean(_hits(sets, labels)))


def class_coverage(sets, labels) -> float:
    """Returns the smallest `coverage` of a class, over the classes that occur."""
    sets, labels = _checked(sets, labels)
    hits = sets[np.arange(len(labels)), labels]
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
    sets, labels = _checked(sets, labels)
    hits, kept = _hits(sets, labels), np.any(sets, axis=1)
    return float(1 - np.mean(hits[kept])) if kept.any() else math.nan


def image_coverage(sets, labels) -> float:
    """Returns the mean over images of the share of pixels whose sets have the label.

    It is what sets of pixels promise; see `zoo.conformal.sets`. Images without a
    labeled pixel take no part.
    """
    return float(np.mean([np.mean(hits) for hits, _ in _by_image(sets, labels)]))


def image_class_coverage(sets, labels) -> float:
    """Returns the smallest `image_coverage` of the pixels of a class.

    That of a class is over the images that have some: one less the mean false-negative
    rate.
    """
    shares = {}
    for hits, own in _by_image(sets, labels):
        for label in np.unique(own):
            shares.setdefault(label, []).append(np.mean(hits[own == label]))
    return float(min(np.mean(values) for values in shares.values()))


def _by_image(sets, labels):
    """Yields, for each image with some, hits and labels of the labeled pixels."""
    _checked(sets, labels)
    for of_image, own in zip(np.asarray(sets), np.asarray(labels), strict=True):
        if np.any(own != arrays.UNLABELED):
            hits = _hits(of_image[None], own[None])
            yield hits, own[own != arrays.UNLABELED]


def _hits(sets, labels):
    sets, labels = _checked(sets, labels)
    return sets[np.arange(len(labels)), labels]


def _checked(sets, labels):
    sets = np.asarray(sets)
    shape, is_any = sets.shape, sets.ndim in (2, 4) and 0 not in sets.shape
    if not is_any or sets.dtype != bool or shape[-1] < 2:
        raise ValueError(
            "`sets` must be booleans of shape (examples, num_classes), or (images, "
            "height, width, num_classes), with an example and two classes at least. "
            f"Received: sets.shape={shape}, dtype={sets.dtype}"
        )
    labels = outputs.check_labels(labels, shape)
    sets, known = sets.reshape(-1, shape[-1]), labels != arrays.UNLABELED
    return (sets, labels) if known.all() else (sets[known], labels[known])
