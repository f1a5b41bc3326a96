"""Marks for the parameters of tests."""

from collections.abc import Collection, Iterable

import pytest


def few(values: Iterable, slow: Collection) -> list:
    """Returns parameters of a test, of which some are for `make slow-test`.

    Args:
        values: All of them.
        slow: Those of them that take the same paths as others.
    """
    return [_marked(value) if value in slow else value for value in values]


def _marked(value):
    values = value if isinstance(value, tuple) else (value,)
    return pytest.param(*values, marks=pytest.mark.slow)
