"""Malformed and unusual inputs, and what a public function may do with one.

There are two outcomes: the right value, which is that of another input that says the
same in the usual way, or a ValueError that names the argument. A third one, such as
another number, NaN, or an error from somewhere inside, is a bug.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import keras
import numpy as np


class Same(NamedTuple):
    """The value must be that of other arguments."""

    args: tuple
    tolerance: float = 1e-6


class Refused:
    """There must be a ValueError whose text names one of these arguments."""

    def __init__(self, *names: str):
        self.names = names


class Case(NamedTuple):
    """An input: what is unusual about it, the arguments, and what must happen."""

    name: str
    args: tuple
    outcome: Any


def check_all(function: Callable, cases: Iterable[Case]):
    """Checks what a function does with some inputs, and names all that went wrong."""
    problems = {case.name: _problem(function, case) for case in cases}
    assert not any(problems.values()), {k: v for k, v in problems.items() if v}


def _problem(function, case) -> str | None:
    try:
        found = function(*case.args)
    except Exception as error:
        return _complaint(case.outcome, error)
    if isinstance(case.outcome, Refused):
        return f"It was taken, and gave {found}"
    expected = function(*case.outcome.args)
    try:
        assert_same(found, expected, case.outcome.tolerance)
    except AssertionError as error:
        return str(error)
    return None


def _complaint(outcome, error) -> str | None:
    if not isinstance(outcome, Refused):
        return f"It was refused: {error!r}"
    text = str(error)
    names = [n for n in outcome.names if f"`{n}" in text or f"{n}=" in text]
    if isinstance(error, ValueError) and names and "Received" in text:
        return None
    return f"{error!r} names none of {outcome.names}"


def assert_same(found, expected, tolerance):
    """Checks numbers, arrays, and tuples and dictionaries of them."""
    pairs = zip(_flat(found), _flat(expected), strict=True)
    for actual, wanted in pairs:
        np.testing.assert_allclose(actual, wanted, rtol=tolerance, atol=tolerance)


def _flat(values):
    return [np.asarray(x, "float64") for x in keras.tree.flatten(values)]
