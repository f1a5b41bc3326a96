"""Which function is being compiled."""

import keras

from layers import keras_internals


def current():
    """Returns what tells the function that is being compiled from others.

    None in eager code.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    if backend == "jax":
        import jax

        return _is_staged(jax.numpy.zeros(())) or None
    return None


def is_inside(trace) -> bool:
    """Returns whether the function of an earlier `current` is the one that runs.

    Branches and bodies of loops belong to the function that they are in. On JAX, where
    these do not differ from other functions, any function is inside of any other one.

    Args:
        trace: What `current` returned.
    """
    now = current()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        while now is not trace and _is_control_flow(now, tf):
            now = now.outer_graph
        return now is trace
    return trace is not None or now is None


def is_known(value) -> bool:
    """Returns whether the numbers of a tensor can be looked at."""
    if isinstance(value, keras.KerasTensor):
        return False
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return not tf.is_tensor(value) or hasattr(value, "numpy")
    return keras.backend.backend() != "jax" or not _is_staged(value)


def would_leak(value) -> bool:
    """Returns whether a state must not become this value, of a function of JAX."""
    if keras.backend.backend() != "jax" or not _is_staged(value):
        return False
    return not keras_internals.is_stateless()


def _is_control_flow(graph, tf) -> bool:
    function = tf.__internal__.FuncGraph
    return isinstance(graph, function) and type(graph) is not function


def _is_staged(value) -> bool:
    import jax

    return isinstance(value, jax.core.Tracer)
