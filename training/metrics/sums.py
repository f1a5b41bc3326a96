"""What the metrics are made of: sums over examples, and functions of these sums.

A `Definition` says into which cell an example falls and which values it adds there, and
how the sums give the metric. It is written once for NumPy and for `keras.ops`, which
`xp` stands for: the functions of this package add in float64 over chunks, the metrics
of `keras_metrics` batch by batch. The first value of an example is 1 (or 0 where it
takes no part), so that column 0 counts, and sample weights multiply all of them.

Values of one cell are added in the order of the examples, chunk by chunk, whichever
metrics are computed together.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from training.metrics import inputs


class Definition(NamedTuple):
    """A metric that is a function of sums over the examples."""

    # shape(num_classes, **options): the number of cells, and of values in each.
    shape: Callable
    # collect(xp, probs, labels, **options): the cells that each example adds to, of
    # shape (examples, entries), and the values side by side, in a list of arrays of
    # shape (examples, entries, width).
    collect: Callable
    # value(xp, sums): the metric.
    value: Callable
    # The options and their defaults.
    options: Mapping[str, Any] = {}


def evaluate(definition: Definition, probs, labels, **options) -> float:
    """Returns the metric of an array of predictions, which may be a memory map."""
    return float(definition.value(np, total(definition, probs, labels, **options)))


def evaluate_all(definitions: Mapping[str, Definition], probs, labels) -> dict:
    """Returns metrics by name, with the defaults of their options, in one passage.

    Those with the same `collect` share their sums.
    """
    jobs = {each.collect: (each, each.options) for each in definitions.values()}
    sums = _totals(jobs, probs, labels)
    return {
        name: float(definition.value(np, sums[definition.collect]))
        for name, definition in definitions.items()
    }


def total(definition: Definition, probs, labels, **options) -> np.ndarray:
    """Returns the sums over all examples, of shape `(cells, columns)`, in float64."""
    return _totals({"": (definition, options)}, probs, labels)[""]


def totals(definitions: Mapping[Any, Definition], probs, labels) -> dict:
    """Returns what `total` does of several definitions by name, in one passage."""
    jobs = {name: (each, each.options) for name, each in definitions.items()}
    return _totals(jobs, probs, labels)


def _totals(jobs, probs, labels) -> dict:
    """Returns the sums of pairs of a definition and its options, by key."""
    _, num_classes = inputs.check_shape(probs)
    sums = {
        key: np.zeros(definition.shape(num_classes, **options))
        for key, (definition, options) in jobs.items()
    }
    for part in inputs.chunks(probs, labels):
        for key, (definition, options) in jobs.items():
            _add(sums[key], *definition.collect(np, *part, **options))
    return sums


def _add(sums, cells, values):
    """Adds the values of a chunk; of many cells, only where examples fall."""
    cells, found, count = cells.ravel(), slice(None), len(sums)
    if len(cells) < count:
        found, cells = np.unique(cells, return_inverse=True)
        count = len(found)
    start = 0
    for part in values:
        width = part.shape[-1]
        index = cells
        if width > 1:
            index = (cells[:, None] * width + np.arange(width)).ravel()
        added = np.bincount(index, part.ravel(), minlength=count * width)
        sums[found, start : start + width] += added.reshape(count, width)
        start += width


def ratio(xp, numerator, denominator):
    """Returns a quotient, NaN where the denominator is not positive."""
    positive = denominator > 0
    safe = xp.where(positive, denominator, 1.0)
    return xp.where(positive, numerator / safe, math.nan)
