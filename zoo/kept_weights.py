"""The weights of a model on JAX, whatever ends what Keras does with them."""

import contextlib
from collections.abc import Iterator

import keras
import numpy as np


@contextlib.contextmanager
def kept_weights(model: keras.Model) -> Iterator[None]:
    """Lets no exception leave a model without its weights.

    On JAX, `fit`, `evaluate` and `predict` of Keras take the weights out of the model
    while they run. An exception in one of them, Ctrl-C included, leaves it without,
    and so every model that shares its layers. After this context it has those of the
    last step; or, where they are gone with the step that failed, those of before. On
    other backends it does nothing. Models of the zoo need none: they do it themselves.

    Args:
        model: What is trained, evaluated or asked inside.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> with kept_weights(model):
    ...     outputs = model.predict(np.zeros((2, 4)), verbose=0)
    """
    if keras.backend.backend() != "jax":
        yield
        return
    variables = _variables(model)
    # Copies, for a step may overwrite the memory of what it is given.
    before = [np.array(variable.value) for variable in variables]
    try:
        yield
    finally:
        if not all(map(_is_there, variables)):
            model.jax_state_sync()
        if not all(map(_is_there, variables)):
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)


def _variables(model):
    optimizer = getattr(model, "optimizer", None)
    groups = model.variables, optimizer.variables if optimizer else ()
    found = [*groups[0], *groups[1], *model.metrics_variables]
    return list({id(variable): variable for variable in found}.values())


def _is_there(variable) -> bool:
    try:
        return not variable.value.is_deleted()
    except TypeError:  # Keras has taken it, and initializers are gone by now.
        return False
