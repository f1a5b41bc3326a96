"""Pareto fronts against the definition."""

import math

import numpy as np
import pytest

from training.report.leaderboard import pareto


def brute_force(points, signs):
    """Asks of each point whether any other one dominates it."""

    known = [point for point in points if not any(map(math.isnan, point))]

    def is_dominated(point):
        gaps = [
            [sign * (b - a) for sign, a, b in zip(signs, point, other, strict=True)]
            for other in known
        ]
        return any(min(gap) >= 0 and max(gap) > 0 for gap in gaps)

    return [p in known and not is_dominated(p) for p in points]


@pytest.mark.parametrize("signs", [(-1, -1), (-1, 1), (1, -1), (1, 1)])
def test_the_front_is_what_no_other_point_dominates(signs):
    rng = np.random.default_rng(0)
    for number in range(200):
        # Few values, so that many are equal in one thing or in both.
        points = rng.integers(0, 1 + number % 7, (number % 12, 2)).astype(float)
        points[rng.uniform(size=points.shape) < 0.1] = np.nan
        points = [tuple(point) for point in points.tolist()]
        assert pareto.front(points, signs) == brute_force(points, signs), points
