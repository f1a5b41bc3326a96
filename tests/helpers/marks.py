"""Marks for the parameters of tests."""

from collections.abc import Collection, Iterable

import keras
import pytest

# Backends but TensorFlow. `make torch-test` has PyTorch, which tests do not need.
OTHERS = (
    "jax",
    pytest.param("torch", marks=[pytest.mark.slow, pytest.mark.torch]),
)


def on_others(test):
    """Marks a slow test of `processes.check_on` with all backends but TensorFlow."""
    runs = keras.backend.backend() == "tensorflow"
    test = pytest.mark.skipif(not runs, reason="runs the others")(test)
    return pytest.mark.parametrize("backend", OTHERS)(pytest.mark.slow(test))


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
