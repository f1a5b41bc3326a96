"""The table of the benchmark of robust networks, of times that are known."""

import numpy as np
import pytest

from benchmarks import comparison, robust


def times(base, other):
    return {"base": np.array(base), "other": np.array(other)}


@pytest.mark.parametrize(
    "bounds, bound, kept",
    [
        ({"most": 1.5}, "at most 1.5", "yes"),
        ({"most": 1.4}, "at most 1.4", "no"),
        ({"least": 1.5}, "at least 1.5", "yes"),
        ({"least": 2}, "at least 2", "no"),
        ({}, "", ""),
    ],
)
def test_a_line_has_the_median_of_the_ratios_and_whether_it_is_within(
    bounds, bound, kept
):
    it = comparison.Comparison("it", lambda: None, lambda: None, **bounds)
    base = [[0.125, 0.25], [0.125, 0.25], [0.25, 0.25]]
    found = times(base, [[0.1875, 0.25], [0.9, 0.25], [0.375, 0.75]])
    expected = f"| it | 125.0 | 1.500 (1.000) | {bound} | {kept} |"
    assert comparison.row(it, found) == expected


def test_every_part_compares_something():
    for part in robust.PARTS.values():
        comparisons = list(part())
        assert len({pair.title for pair in comparisons}) > 1
        assert any(pair.bound for pair in comparisons)


def test_a_pooling_and_a_stride_give_maps_of_one_shape():
    shapes = [robust.convolution((8, 8, 2), low_cut)().shape for low_cut in (0, 1)]
    assert shapes == [(robust.BATCH, 4, 4, 4)] * 2
