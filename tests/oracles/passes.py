"""Passes of a loop that shares nothing, and when their mean is known."""

import numpy as np

import layers
from layers.random import fold
from tests.helpers.networks import as_numpy


def samples(model, images, seed, count, **kwargs):
    """Returns the samples of that loop; `kwargs` are those of `layers.stream`."""
    found = []
    for number in range(count):
        with layers.stream(fold(seed, number), **kwargs):
            found.append(as_numpy(model(images, training=False)))
    return np.stack(found)


def softmax(logits):
    powers = np.exp(as_numpy(logits).astype("float64"))
    return powers / powers.sum(axis=-1, keepdims=True)


def count_until(logits, tolerance, step=5):
    """Returns how many samples, `step` at a time, give means of a standard error."""
    for count in range(step, len(logits), step):
        probs = softmax(logits[:count])
        errors = np.std(probs, axis=0, ddof=1) / np.sqrt(count)
        if np.max(errors) <= tolerance:
            return count
    return len(logits)
