"""Metrics that are computed together, to the bit."""

import numpy as np
import pytest

from training import metrics
from training.metrics import inputs
from training.metrics.definitions import DEFINITIONS, _bins
from training.metrics.sums import total


def predictions(num_classes, dtype, count=90):
    """Predictions of which most are right, some on the edges of bins, and labels."""
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.full(num_classes, 0.1), count) + 1e-6
    probs[::3] = rng.multinomial(15, np.full(num_classes, 1 / num_classes), 30) / 15
    probs = (probs / probs.sum(axis=1, keepdims=True)).astype(dtype)
    chosen = rng.integers(0, num_classes, count)
    return probs, np.where(rng.random(count) < 0.7, probs.argmax(axis=1), chosen)


def loop_of_sums(definition, probs, labels):
    """Adds value by value, chunk after chunk, into cells that are all there."""
    shape = definition.shape(probs.shape[1], **definition.options)
    sums = np.zeros(shape)
    for part, of in inputs.chunks(probs, labels):
        cells, values = definition.collect(np, part, of, **definition.options)
        added = np.zeros(shape)
        for place in np.ndindex(cells.shape):
            row = np.concatenate([value[place] for value in values])
            added[cells[place]] += row
        sums += added
    return sums


@pytest.mark.parametrize("num_classes, dtype", [(4, "float64"), (40, "float32")])
def test_sums_are_those_of_loops_over_chunks_whatever_is_computed_together(
    monkeypatch, num_classes, dtype
):
    probs, labels = predictions(num_classes, dtype)
    monkeypatch.setattr(inputs, "_CHUNK", 17 * num_classes)
    functions = {**metrics.CLASSIFICATION, "own": lambda p, y: float(len(y))}
    found = metrics.compute(functions, probs, labels)
    assert [*found] == [*functions]
    for name, function in functions.items():
        np.testing.assert_equal(found[name], function(probs, labels), err_msg=name)
    for name, definition in DEFINITIONS.items():
        sums = total(definition, probs, labels, **definition.options)
        expected = loop_of_sums(definition, probs, labels)
        np.testing.assert_array_equal(sums, expected, err_msg=name)


def test_bins_are_those_of_a_search_on_their_edges_and_beside_them():
    rng = np.random.default_rng(0)
    for num_bins in (*range(1, 100), 1000, 4999):
        edges = np.arange(num_bins + 1) / num_bins
        beside = [np.nextafter(edges, 2), np.nextafter(edges[1:], 0)]
        single = edges.astype("float32").astype("float64")
        values = np.concatenate([edges, *beside, single, rng.random(99), [1.001]])
        below = np.maximum(np.searchsorted(edges[:-1], values), 1)
        np.testing.assert_array_equal(_bins(np, values, num_bins), below - 1)
