"""Gradients by what a network computes inside or is given, as each backend has them."""

import contextlib
from collections.abc import Callable

import keras


def untracked():
    """Returns a context for predictions, of which no gradients are asked.

    PyTorch keeps all features for them elsewhere. Other backends know by themselves.
    """
    if keras.backend.backend() != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.no_grad()


def pull_back(run: Callable, cotangents: Callable):
    """Returns outputs of a network, and their gradients by tensors inside of it.

    Args:
        run: Function of a function `mark`. It passes tensors through `mark`, goes on
            with what that returns, and returns the outputs, and more that is given back
            as it is. It may be called more than once.
        cotangents: From the outputs to a tensor of shape `(rows, *outputs.shape)`. The
            gradients are those of the sums of the outputs weighted by each row.

    Returns:
        The outputs; what `run` returned beside them; and for each tensor, in the order
        of the marks, its gradients, of shape `(rows, *shape)`.

    """
    return _of_backend(_on_tensorflow, _on_jax, _on_torch)(run, cotangents)


def by_input(function: Callable, x):
    """Returns the gradient of a function, which has gradients of its own.

    Args:
        function: From a tensor to a scalar.
        x: The tensor, of floating numbers.

    Returns:
        Tensor of the shape of `x`.
    """
    return _of_backend(_by_input_on_tensorflow, _by_input_on_jax, _by_input_on_torch)(
        function, x
    )


def vjp(function: Callable, values: list):
    """Returns what a function gives, and how gradients by that are some by its values.

    Args:
        function: From a list of tensors to one.
        values: The tensors, of floating numbers.

    Returns:
        The tensors that it gives; and a function, to be called once, from a tensor of
        the shape of each of them, the gradients of something by them, to the list of
        those by `values`. These are zeros where nothing depends on a value.
    """
    return _of_backend(_vjp_on_tensorflow, _vjp_on_jax, _vjp_on_torch)(function, values)


def _of_backend(on_tensorflow, on_jax, on_torch):
    functions = {"tensorflow": on_tensorflow, "jax": on_jax, "torch": on_torch}
    return functions[keras.backend.backend()]


def _by_input_on_tensorflow(function, x):
    import tensorflow as tf

    x = tf.convert_to_tensor(x)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        value = function(x)
    return tape.gradient(value, x)


def _by_input_on_jax(function, x):
    import jax

    return jax.grad(function)(x)


def _by_input_on_torch(function, x):
    import torch

    with torch.enable_grad():
        x = _leaf(keras.ops.convert_to_tensor(x))
        return torch.autograd.grad(function(x), x, create_graph=True)[0]


def _vjp_on_tensorflow(function, values):
    import tensorflow as tf

    # Copies, for in the body of a loop values may be those of the graph around.
    values = [tf.identity(value) for value in values]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        outputs = function(values)
    zero = tf.UnconnectedGradients.ZERO
    return outputs, lambda by_outputs: tape.gradient(
        outputs, values, by_outputs, unconnected_gradients=zero
    )


def _vjp_on_jax(function, values):
    import jax

    outputs, pull = jax.vjp(function, values)
    return outputs, lambda by_outputs: pull(by_outputs)[0]


def _vjp_on_torch(function, values):
    import torch

    with torch.enable_grad():
        values = [_leaf(keras.ops.convert_to_tensor(value)) for value in values]
        outputs = function(values)
    return [output.detach() for output in outputs], lambda by_outputs: [
        *torch.autograd.grad(
            outputs, values, by_outputs, allow_unused=True, materialize_grads=True
        )
    ]


def _leaf(x):
    """Returns a tensor of PyTorch by which there are gradients."""
    return x if x.requires_grad else x.clone().requires_grad_()


def _on_tensorflow(run, cotangents):
    import tensorflow as tf

    marked = []
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:

        def mark(x):
            tape.watch(x)
            marked.append(x)
            return x

        outputs, more = run(mark)
    zero = tf.UnconnectedGradients.ZERO
    rows = tf.vectorized_map(
        lambda row: tape.gradient(outputs, marked, row, unconnected_gradients=zero),
        cotangents(outputs),
    )
    return outputs, more, rows


def _on_jax(run, cotangents):
    import jax
    from jax import numpy as jnp

    shapes = []

    def shape_of(x):
        shapes.append((x.shape, x.dtype))
        return x

    jax.eval_shape(lambda: run(shape_of)[0])

    def shifted(shifts):
        own = iter(shifts)
        return run(lambda x: x + next(own))

    zeros = [jnp.zeros(shape, dtype) for shape, dtype in shapes]
    outputs, pull, more = jax.vjp(shifted, zeros, has_aux=True)
    rows = jax.vmap(lambda row: pull(row)[0])(cotangents(outputs))
    return outputs, more, rows


def _on_torch(run, cotangents):
    import torch

    marked = []

    def mark(x):
        marked.append(_leaf(x))
        return marked[-1]

    with torch.enable_grad():
        outputs, more = run(mark)
    rows = torch.autograd.grad(
        outputs,
        marked,
        cotangents(outputs),
        is_grads_batched=True,
        materialize_grads=True,
        allow_unused=True,
    )
    return outputs, more, [*rows]
