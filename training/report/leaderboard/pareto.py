"""Pareto fronts: what nothing else is better than at both of two things."""

import math
from collections.abc import Sequence


def front(points: Sequence[tuple[float, float]], signs: tuple[int, int]) -> list[bool]:
    """Returns which points are on the front: no other one dominates them.

    A point dominates another one if it is at least as good at both things and better
    at one. Of equal points all or none are on the front.

    Args:
        points: Pairs of numbers. Those with NaN take no part.
        signs: For each of the two 1 if more is better, -1 if less is.

    Example:

    >>> front([(1, 0.3), (5, 0.2), (10, 0.2), (2, 0.4)], (-1, -1))
    [True, True, False, False]
    """
    first, second = signs
    known = [
        (-first * x, -second * y, place)
        for place, (x, y) in enumerate(points)
        if not (math.isnan(x) or math.isnan(y))
    ]
    # From the best at the first thing on, each has to be better at the second one than
    # all before it. Of those that are equal at the first, the best at the second leads.
    on, best, leader = [False] * len(points), math.inf, None
    for x, y, place in sorted(known):
        if y < best:
            best, leader = y, (x, y)
        on[place] = (x, y) == leader
    return on
