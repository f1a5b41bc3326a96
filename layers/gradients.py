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
        function: From a list of tensors to one, or to a list.
        values: The tensors, of floating numbers.

    Returns:
        What it gives; and a function, to be called once, from a tensor of the shape of
        each tensor of that, the gradients of something by them, to the list of
        those by `values`. These are zeros where nothing depends on a value.
    """
    return _of_backend(_vjp_on_tensorflow, _vjp_on_jax, _vjp_on_torch)(function, values)


def hessian_products(function: Callable, values: list, rows: list):
    """Returns a function's value, its gradient, and products with its Hessian.

    What does not depend on the vectors is computed once for all of them. On JAX a
    product is the derivative of the gradient along the vector, forward over reverse;
    elsewhere the gradient of the product of gradient and vector, as forward
    derivatives of TensorFlow are made of those backward.

    Args:
        function: From a list of tensors to a scalar.
        values: The tensors, of floating numbers.
        rows: Vectors, as for each value a tensor of shape `(vectors, *value.shape)`.

    Returns:
        The scalar, a list like `values`, and a list like `rows`.
    """
    return _of_backend(_second_on_tensorflow, _second_on_jax, _second_on_torch)(
        function, values, rows
    )


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
    detached = keras.tree.map_structure(lambda x: x.detach(), outputs)
    return detached, lambda by_outputs: [
        *torch.autograd.grad(
            outputs, values, by_outputs, allow_unused=True, materialize_grads=True
        )
    ]


def _second_on_tensorflow(function, values, rows):
    import tensorflow as tf

    values = [tf.convert_to_tensor(value) for value in values]
    zero = tf.UnconnectedGradients.ZERO
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as outer:
        outer.watch(values)
        with tf.GradientTape(watch_accessed_variables=False) as inner:
            inner.watch(values)
            total = function(values)
        found = inner.gradient(total, values, unconnected_gradients=zero)
        found = [tf.convert_to_tensor(x) for x in found]  # Of rows of a table, too.

    def body(number, products):
        own = outer.gradient(
            found,
            values,
            output_gradients=[row[number] for row in rows],
            unconnected_gradients=zero,
        )
        return number + 1, [
            done.write(number, tf.convert_to_tensor(x))
            for done, x in zip(products, own, strict=True)
        ]

    # A loop, for the graph of each vector is as large as that of the gradient.
    count = rows[0].shape[0]
    empty = [
        tf.TensorArray(v.dtype, count, element_shape=v.shape, clear_after_read=False)
        for v in values
    ]
    _, products = tf.while_loop(
        lambda number, _: number < count, body, (0, empty), parallel_iterations=1
    )
    return total, found, [product.stack() for product in products]


def _second_on_jax(function, values, rows):
    import jax

    (total, found), along = jax.linearize(jax.value_and_grad(function), values)
    return total, found, jax.vmap(lambda row: along(row)[1])(rows)


def _second_on_torch(function, values, rows):
    import torch

    options = {"allow_unused": True, "materialize_grads": True}
    with torch.enable_grad():
        values = [_leaf(keras.ops.convert_to_tensor(value)) for value in values]
        total = function(values)
        found = torch.autograd.grad(total, values, create_graph=True, **options)
        products = [
            torch.autograd.grad(found, values, row, retain_graph=True, **options)
            for row in zip(*rows, strict=True)
        ]
    stacked = [torch.stack(own) for own in zip(*products, strict=True)]
    return total.detach(), [x.detach() for x in found], stacked


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


@contextlib.contextmanager
def exact_moments():
    """Makes variances inside have their second derivatives on TensorFlow, too.

    `tf.nn.moments`, by which Keras normalizes layers, groups and batches in training,
    takes the mean inside of the variance for a constant: that is right for gradients,
    and the gradients of gradients are some percent off. Other backends are right.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    def moments(x, axes, shift=None, keepdims=False, name=None):
        mean = tf.reduce_mean(x, axes, keepdims=True)
        variance = tf.reduce_mean(tf.square(x - mean), axes, keepdims=True)
        if keepdims:
            return mean, variance
        return tf.squeeze(mean, axes), tf.squeeze(variance, axes)

    before = tf.nn.moments
    tf.nn.moments = moments
    try:
        yield
    finally:
        tf.nn.moments = before
