"""Metrics of predictions for each pixel, by image and by class.

Functions of `training.metrics` take every labeled pixel of all images for an example. A
large image counts more there than a small one, and a common class more than a rare one.
Here are the means over the images, and the values of each class.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from training.metrics import inputs
from training.metrics.definitions import DEFINITIONS, class_ious
from training.metrics.sums import totals
from training.metrics.together import compute
from zoo import arrays


def by_image(functions: Mapping[str, Callable], probs, labels) -> dict[str, np.ndarray]:
    """Returns what functions of `(probs, labels)` return for each image, by name.

    Args:
        functions: Functions of `(probs, labels)` by name.
        probs: Array of shape `(images, height, width, num_classes)`; it may be a memory
            map.
        labels: Integer array of shape `(images, height, width)`, -1 for pixels without
            a label.

    Returns:
        float64 arrays of shape `(images,)`, NaN for images without a labeled pixel.

    Raises:
        ValueError: If the predictions are none, as the functions say it.
    """
    labels = np.asarray(labels)
    found = {name: np.full(len(probs), math.nan) for name in functions}
    for number, own in enumerate(labels):
        if (own == arrays.UNLABELED).all():
            continue
        place = slice(number, number + 1)
        for name, value in compute(functions, probs[place], labels[place]).items():
            found[name][number] = value
    return found


def means_by_image(functions: Mapping[str, Callable], probs, labels) -> dict:
    """Returns the means of `by_image` over the images for which they are numbers."""
    found = by_image(functions, probs, labels)
    return {name: _mean(values) for name, values in found.items()}


def _mean(values):
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def by_class(probs, labels, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Returns metrics of the pixels of each class, by the metric and the class.

    Args:
        probs: Array of shape `(examples, ..., num_classes)`; it may be a memory map.
        labels: Integer array of shape `(examples, ...)`, -1 for pixels without a label.
        classes: The names of the classes; more of them are called by their numbers.

    Returns:
        Those of `BY_CLASS`, over the pixels with the label of the class; and the
        `"iou"`, whose mean over the classes is `training.metrics.iou`. NaN where there
        are no such pixels.

    Raises:
        ValueError: If the predictions are none.
    """
    definitions = {name: DEFINITIONS[name] for name in BY_CLASS}
    # Those with the same `collect` share their sums.
    by_label = {each.collect: _by_label(each) for each in definitions.values()}
    sums = totals({**by_label, "iou": DEFINITIONS["iou"]}, probs, labels)
    count, found = inputs.check_shape(probs)[1], {}
    classes = [*classes, *map(str, range(len(classes), count))]
    for name, each in definitions.items():
        parts = np.split(sums[each.collect], count)
        found[name] = np.array([float(each.value(np, part)) for part in parts])
    ious, occurs = class_ious(np, sums["iou"])
    found["iou"] = np.where(occurs, ious, math.nan)
    return {
        name: dict(zip(classes, values.tolist(), strict=True))
        for name, values in found.items()
    }


def _by_label(definition):
    """Returns a definition with cells of its own for each label."""

    def shape(num_classes, **options):
        cells, columns = definition.shape(num_classes, **options)
        return num_classes * cells, columns

    def collect(xp, probs, labels, **options):
        cells, values = definition.collect(xp, probs, labels, **options)
        count, _ = definition.shape(probs.shape[1], **options)
        return cells + count * labels[:, None], values

    return definition._replace(shape=shape, collect=collect)


# Metrics that are functions of sums, of the pixels of a class.
BY_CLASS = ("accuracy", "nll", "ece", "acc_90", "unc_90")
