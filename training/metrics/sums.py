"""What the metrics are made of: sums over examples, and functions of these sums.

A `Definition` says into which cell an example falls and which values it adds there, and
how the sums give the metric. It is written once for NumPy and for `keras.ops`, which
`xp` stands for: the functions of this package add in float64 over chunks, the metrics
of `keras_metrics` batch by batch. The first value of an example is 1 (or 0 where it
takes no part), so that column 0 counts, and sample weights multiply all of them.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from training.metrics import inputs


class Definition(NamedTuple):
    """A metric that is a function of sums over the examples."""

    # shape(num_classes, **options): the number of cells, and of values in each.
    shape: Callable
    # collect(xp, probs, labels, **options): the cells that each example adds to, of
    # shape (examples, entries), and the values, (examples, entries, columns).
    collect: Callable
    # value(xp, sums): the metric.
    value: Callable
    # The names of the options.
    options: tuple[str, ...] = ()


def evaluate(definition: Definition, probs, labels, **options) -> float:
    """Returns the metric of an array of predictions, which may be a memory map."""
    return float(definition.value(np, total(definition, probs, labels, **options)))


def total(definition: Definition, probs, labels, **options) -> np.ndarray:
    """Returns the sums over all examples, of shape `(cells, columns)`, in float64."""
    _, num_classes = inputs.check_shape(probs)
    cells, columns = definition.shape(num_classes, **options)
    sums = np.zeros(cells * columns)
    for part in inputs.chunks(probs, labels):
        index, values = definition.collect(np, *part, **options)
        index = index[..., None] * columns + np.arange(columns)
        sums += np.bincount(index.ravel(), values.ravel(), minlength=sums.size)
    return sums.reshape(cells, columns)


def ratio(xp, numerator, denominator):
    """Returns a quotient, NaN where the denominator is not positive."""
    positive = denominator > 0
    safe = xp.where(positive, denominator, 1.0)
    return xp.where(positive, numerator / safe, math.nan)
