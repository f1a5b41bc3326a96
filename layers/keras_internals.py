"""What is used of Keras beyond its public names, in one place.

Each function states what it relies on, and `tests/layers/test_keras_internals.py` has a
test of it, so that a new version of Keras that changes one is told at once.
"""

import contextlib
from collections.abc import Iterable, Iterator

import keras


def flat_layers(layer: keras.Layer, include_self: bool = True) -> list[keras.Layer]:
    """Returns a layer and all inside of it, at any depth, each once.

    Args:
        layer: Layer or model.
        include_self: Whether the layer itself is one of them.
    """
    return list(layer._flatten_layers(include_self=include_self))


def clear_losses(layer: keras.Layer):
    """Forgets what the last call of a layer and those inside of it added to losses."""
    layer._clear_losses()


@contextlib.contextmanager
def kept_losses(layer: keras.Layer) -> Iterator[None]:
    """Gives a layer and those inside of it the losses back that they had before."""
    before = [
        (inner, list(inner._losses), set(inner._loss_ids))
        for inner in flat_layers(layer)
    ]
    yield
    for inner, losses, numbers in before:
        inner._losses.clear()
        inner._losses.extend(losses)
        inner._loss_ids.clear()
        inner._loss_ids.update(numbers)


def functional_graph(model: keras.Model):
    """Returns the graph of a functional or sequential model, of others None."""
    graph = model._functional if isinstance(model, keras.Sequential) else model
    return graph if hasattr(graph, "_nodes_by_depth") else None


def nodes(graph) -> Iterator:
    """Yields the calls of a graph, from its inputs to its outputs."""
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        yield from (node for node in graph._nodes_by_depth[depth] if not node.is_input)


def standardized(graph, *values) -> list:
    """Returns inputs as a functional model takes them: checked, cast and reshaped."""
    graph._assert_input_compatibility(*values)
    return graph._standardize_inputs(*values)


class OutputMarker(keras.Model):
    """A functional model whose passes subclasses change, without another graph.

    It also marks what its graph returns for symbolic inputs.

    `keras.models.clone_model` runs the graph of a model on new inputs and calls the
    class of the model with these and their output, so a clone finds the mark on the
    output that its constructor takes. That must take `(inputs, outputs, name=None,
    **kwargs)`; else the clone is of no such class.
    """

    def mark(self, output: keras.KerasTensor):
        """Sets attributes of a symbolic output; by default none."""

    def around(self, operation: keras.Operation, call):
        """Returns what a pass through the graph calls in place of an operation."""
        return call

    def _run_through_graph(self, inputs, operation_fn=lambda op: op, **kwargs):
        def around(operation):
            call = operation_fn(operation)
            # With a `call_fn`, Keras asks for shapes alone, and wants the operation.
            asks = kwargs.get("call_fn") is not None
            return call if asks else self.around(operation, call)

        output = super()._run_through_graph(inputs, around, **kwargs)
        if isinstance(output, keras.KerasTensor):
            self.mark(output)
        return output


def symmetric_padding(operation: keras.Operation) -> tuple | None:
    """Returns the widths of a `keras.ops.pad` of mode "symmetric", of others None."""
    if type(operation).__name__ == "Pad" and operation.mode == "symmetric":
        return tuple(map(tuple, operation.pad_width))
    return None


def operation_kind(operation: keras.Operation) -> str | None:
    """Returns the name of the class of a function of `keras.ops`, of others None.

    Its settings are attributes of the names that its arguments have.
    """
    kind = type(operation)
    return kind.__name__ if kind.__module__.startswith("keras.src.ops.") else None


def takes_training(operation: keras.Operation) -> bool:
    """Returns whether the `call` of a layer has an argument `training`."""
    return getattr(operation, "_call_has_training_arg", False)


def seed_generators(layer: keras.Layer) -> tuple:
    """Returns the generators of a layer itself, those in lists and dicts, too."""
    return tuple(getattr(layer, "_seed_generators", ()))


def index_in(optimizer: keras.optimizers.Optimizer, variable) -> int:
    """Returns the place of a weight in the lists that an optimizer keeps for them."""
    return optimizer._get_variable_index(variable)


class ClipsUpdates:
    """A base class of optimizers beside Keras', that clips in a way of its own.

    `clip` gets the gradients that an update is of, which Keras clips after it: where
    gradients are accumulated, the mean of all of them, and no other.
    """

    def clip(self, gradients: list) -> list:
        """Returns gradients in place of others, None for weights that have none."""
        raise NotImplementedError

    def _clip_gradients(self, grads):
        return super()._clip_gradients(self.clip(grads))


def is_stateless() -> bool:
    """Returns whether Keras keeps new values of variables apart, as JAX needs it."""
    from keras.src.backend.common.stateless_scope import in_stateless_scope

    return in_stateless_scope()


@contextlib.contextmanager
def without_values() -> Iterator[None]:
    """Makes weights with shapes and no values; `set_value` gives them theirs.

    Keras keeps a list of such weights and would give all of them values, gigabytes for
    large networks, when it next builds a layer of some kinds. They are taken off it.
    """
    from keras.src.backend.common import global_state

    pending = "uninitialized_variables"
    before = list(global_state.get_global_attribute(pending, []))
    with keras.StatelessScope(initialize_variables=False):
        yield
    global_state.set_global_attribute(pending, before)


def has_value(variable: keras.Variable) -> bool:
    """Returns whether a weight has a value; see `without_values`."""
    return variable._value is not None


def set_value(variable: keras.Variable, value):
    """Sets a weight; one that has no value yet is made with it.

    Args:
        variable: The weight.
        value: Tensor of its shape and type.
    """
    if variable._value is None:
        variable._initializer = lambda shape, dtype: value
        _initialize(variable)
    else:
        variable.assign(value)


@contextlib.contextmanager
def accepting_weights(layer: keras.Layer) -> Iterator[None]:
    """Lets a layer that is built get further weights, as that of a LoRA does."""
    layer._tracker.unlock()
    try:
        yield
    finally:
        layer._tracker.lock()


def set_initial_values(variables: Iterable[keras.Variable]):
    """Gives weights that have no values the values to start from."""
    for variable in variables:
        if variable._value is None:
            _initialize(variable)


def _initialize(variable):
    # Not in the scopes of its layer: TensorFlow makes a program for each name, shape
    # and type of a variable, a millisecond each, and `kernel` is one name for all.
    variable._deferred_initialize()
