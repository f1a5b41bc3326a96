"""Batches without an image, which replicas of a `tf.distribute` strategy meet."""

import contextlib
import functools
import math
from collections.abc import Callable, Sequence

import keras
from keras import ops

from layers import keras_internals


def may_be_empty(inputs) -> bool:
    """Returns whether a batch may be what other replicas have left over.

    Args:
        inputs: Tensor of shape `(batch, ...)`.
    """
    if keras.backend.backend() != "tensorflow" or inputs.shape[0] is not None:
        return False
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context is not None and context.num_replicas_in_sync > 1


def filled(function: Callable, inputs):
    """Computes a function of a batch, and of a row of zeros where there is none.

    On replicas of a strategy, the last batch of an epoch may leave some of them without
    an image. There the shape of TensorFlow's convolution is wrong, which is that of its
    inputs with oneDNN, and moments are NaN, as are gradients through them. Zero times
    the gradient of the row of zeros is nothing. Elsewhere the function is just called.

    Args:
        function: From a tensor of shape `(batch, ...)` to one of as many rows.
        inputs: The tensor.

    Returns:
        The outputs, without a row where the inputs have none.
    """
    if not may_be_empty(inputs):
        return function(inputs)
    import tensorflow as tf

    # Conditions pass the tensor on as it is; padding or cutting would copy it.
    shape = tf.shape(inputs)
    is_empty = tf.equal(shape[0], 0)
    row = tf.concat([[1], shape[1:]], axis=0)
    rows = tf.cond(is_empty, lambda: tf.zeros(row, inputs.dtype), lambda: inputs)
    rows = tf.ensure_shape(rows, inputs.shape)
    outputs = function(rows)
    return tf.cond(is_empty, lambda: outputs[:0], lambda: outputs)


def share(batch_size: int):
    """Returns the part of a batch that is on this replica.

    Args:
        batch_size: Rows of a batch that replicas share, of which the first ones have
            one more where the number does not divide.

    Returns:
        The number of its first row in the batch, and how many rows it has: scalar int32
        tensors. Outside of a strategy 0 and None, also on JAX, whose program is that of
        all rows.
    """
    if (at := place()) is None:
        return 0, None
    import tensorflow as tf

    number, replicas = at
    least, more = divmod(batch_size, replicas)
    first = number * least + tf.minimum(number, more)
    return first, least + tf.cast(number < more, "int32")


def mean_of_share(values, batch_size: int):
    """Returns a scalar whose mean over the replicas is the mean over a batch.

    Args:
        values: Tensor of shape `(rows, ...)`, of the rows of this replica.
        batch_size: Rows of the batch; see `share`.
    """
    if (at := place()) is None:
        return ops.mean(values)
    each = batch_size * math.prod(values.shape[1:])
    return ops.sum(values) * (at[1] / each)


def place():
    """Returns the number of this replica and that of all; None if there is one."""
    if (context := _context()) is None:
        return None
    number = ops.cast(context.replica_id_in_sync_group, "int32")
    return number, context.num_replicas_in_sync


def _context():
    """Returns TensorFlow's context of one of several replicas, elsewhere None."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return None if context is None or context.num_replicas_in_sync == 1 else context


def summed(value):
    """Returns the sum of a tensor over the replicas of a strategy, elsewhere itself."""
    if (context := _context()) is None:
        return value
    import tensorflow as tf

    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def largest(value):
    """Returns the largest of the replicas of a strategy, elsewhere the scalar itself.

    Args:
        value: A scalar tensor.
    """
    if (at := place()) is None:
        return value
    # TensorFlow reduces to sums and means alone.
    is_own = ops.equal(ops.arange(at[1], dtype="int32"), at[0])
    return ops.max(summed(ops.where(is_own, value, ops.zeros_like(value))))


@contextlib.contextmanager
def unless_empty(inputs, variables: Sequence[keras.Variable]):
    """Lets code inside update variables, but not for a batch without an image.

    Args:
        inputs: Tensor of shape `(batch, ...)`, for which `may_be_empty`.
        variables: Those that are as before then.
    """
    import tensorflow as tf

    # Identities, for the variables themselves would be read again at the end.
    before = [tf.identity(variable.value) for variable in variables]
    yield
    is_empty = tf.equal(tf.shape(inputs)[0], 0)
    for variable, old in zip(variables, before, strict=True):
        variable.assign(tf.where(is_empty, old, variable.value))


def _convolve(convolution, inputs, kernel):
    return filled(lambda rows: convolution(rows, kernel), inputs)


def accept_empty_batches(model: keras.Model):
    """Makes Keras' convolutions and max poolings survive a replica without images.

    Layers and files stay what they are. Models of the zoo have it; one that comes from
    elsewhere needs it before its first batch, if it is trained or evaluated under a
    `tf.distribute` strategy with batches that do not divide. On one device and in
    exports it changes nothing.

    Args:
        model: Keras model; layers of nested models are included.
    """
    if keras.backend.backend() != "tensorflow":
        return
    for layer in keras_internals.flat_layers(model):
        if hasattr(layer, "convolution_op") and "convolution_op" not in vars(layer):
            layer.convolution_op = functools.partial(_convolve, layer.convolution_op)
        # Their gradient of no image ends the process on some processors.
        elif isinstance(layer, keras.layers.MaxPooling2D) and "call" not in vars(layer):
            layer.call = functools.partial(filled, layer.call)
