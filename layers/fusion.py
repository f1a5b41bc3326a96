"""What TensorFlow compiles by XLA inside of a step that it does not compile."""

import contextlib
import contextvars
import math

import keras

# Numbers from which on compiling an elementwise operation pays.
_WORTH_FUSING = 4096
_FUSED = contextvars.ContextVar("fused", default=False)


@contextlib.contextmanager
def fused():
    """Makes TensorFlow compile each draw and each smoothing inside by XLA.

    These are chains of up to twenty elementwise operations, which XLA computes in one
    pass; convolutions are faster without it. The bits of draws are the same, those of
    smoothed features up to rounding. It does nothing on other backends and for shapes
    that are small or not known. It is not for graphs that are exported, since LiteRT
    knows no XLA.
    """
    token = _FUSED.set(keras.backend.backend() == "tensorflow")
    try:
        yield
    finally:
        _FUSED.reset(token)


def pays(shape) -> bool:
    """Returns whether an elementwise operation is to be compiled here; see `fused`.

    Args:
        shape: Of its outputs, without the axes of the examples.
    """
    known = _FUSED.get() and all(isinstance(size, int) for size in shape)
    return known and math.prod(shape) >= _WORTH_FUSING


def fuse(function):
    """Returns a function of tensors that TensorFlow compiles by XLA inside `fused`."""
    return compiled(function) if _FUSED.get() else function


def compiled(function):
    """Returns a function of tensors that TensorFlow compiles by XLA."""
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)
