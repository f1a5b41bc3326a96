"""What is compiled: by XLA inside of a step, and what is called eagerly."""

import contextlib
import contextvars
import functools
import math
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

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


def is_fused() -> bool:
    """Returns whether TensorFlow is to compile parts by XLA here; see `fused`."""
    return _FUSED.get()


def pays(shape) -> bool:
    """Returns whether an elementwise operation is to be compiled here; see `fused`.

    Args:
        shape: Shape of its outputs, without the axes of the examples.
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


def compiled_map(function):
    """Returns a function from a feature map to one, computed by XLA in float32.

    XLA would round half precision after each operation, which takes longer than the
    operation does. The result has the type of the map; where that is half precision, it
    has a shape too that TensorFlow's optimizer knows, which fuses what follows.

    Args:
        function: From a float32 tensor, and others, to one of the same batch.
    """

    @compiled
    def run(x, *others):
        return ops.cast(function(ops.cast(x, "float32"), *others), x.dtype)

    def call(x, *others):
        outputs = run(x, *others)
        if x.dtype == "float32":
            return outputs
        import tensorflow as tf

        return tf.ensure_shape(outputs, outputs.shape)

    return call


def while_loop(goes_on, body, start: tuple, at_once: int):
    """`ops.while_loop` whose rounds take so much memory that they are counted.

    Other backends take one round after the other. TensorFlow begins those that need
    nothing of earlier ones while these are computed, by default ten together, which
    keeps more cores busy, and the memory of each.

    Args:
        goes_on: From what the loop changes to whether there is a further round.
        body: From that to what it is after a round.
        start: What it is at the beginning.
        at_once: How many rounds TensorFlow may compute together.
    """
    if keras.backend.backend() != "tensorflow":
        return ops.while_loop(goes_on, body, start)
    import tensorflow as tf

    return tf.while_loop(goes_on, body, start, parallel_iterations=at_once)


def program(
    function,
    owner: keras.layers.Layer | None = None,
    autograph: bool = False,
    reduce_retracing: bool = False,
):
    """Returns a function of tensors that the backend compiles when it is called.

    On TensorFlow that is a graph without XLA, since on CPUs its convolutions are the
    faster ones; on JAX the function is jitted, and on others it stays as it is.

    Args:
        function: Function of tensors.
        owner: A layer whose variables it reads, and does not change. JAX takes them
            anew in each call; without it they are constants.
        autograph: Whether the function may branch on tensors, as layers of others do.
        reduce_retracing: Whether one graph serves all shapes but the first; on
            TensorFlow alone.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(
            function, autograph=autograph, reduce_retracing=reduce_retracing
        )
    if backend != "jax":
        return function
    import jax

    if owner is None:
        return jax.jit(function)
    variables = owner.variables

    @jax.jit
    def stateless(values, tensors):
        pairs = zip(variables, values, strict=True)
        with keras.StatelessScope(state_mapping=list(pairs)):
            return function(*tensors)

    def stateful(*tensors):
        return stateless([variable.value for variable in variables], tensors)

    return stateful


def unconverted(function):
    """Returns a function as AutoGraph takes it, which converts others slowly."""
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.autograph.experimental.do_not_convert(function)


class Compiled:
    """A function that is compiled when it is called with values.

    Inside of another compiled function it is a part of that one. TensorFlow compiles
    it once for the first shape and once for all others, JAX once for each; weights may
    change in between. On TensorFlow draws are compiled by XLA and the rest is not:
    on CPUs, its convolutions are the faster ones.

    Args:
        function: Function of tensors and then settings, which are hashable and known
            beforehand.
        owner: The layer whose variables it reads.
        pure: Whether it changes no variables. On JAX, others are not compiled.
    """

    def __init__(self, function: Callable, owner: keras.layers.Layer, pure: bool):
        self._function, self._owner, self._pure = function, owner, pure
        self._compiled = {}  # By settings and version.

    def __call__(self, tensors: tuple, settings: tuple, version=()):
        """Returns the function of tensors, or of what becomes one, and settings.

        With another version, hashable, the function is compiled anew.
        """
        if not _is_eager(tensors):
            return self._inline(tensors, settings)
        tensors = [_as_tensor(value) for value in tensors]
        key = settings, version
        if key not in self._compiled:
            self._compiled[key] = self._compile(settings)
        return self._compiled[key](*tensors)

    def _inline(self, tensors, settings):
        variables = self._owner.variables
        held = [variable.value for variable in variables] if self._pure else []
        if keras.backend.backend() != "jax" or not held or _any_traced(held):
            return self._converted()(*tensors, *settings)
        import jax

        # Constants would be folded into each other, with other last bits than in a
        # call, whose program takes all of them as arguments.
        tensors = [_as_tensor(value) for value in tensors]
        held, tensors = jax.lax.optimization_barrier((held, tensors))
        pairs = zip(variables, held, strict=True)
        with keras.StatelessScope(state_mapping=list(pairs)):
            return self._function(*tensors, *settings)

    def _converted(self):
        return unconverted(self._function) if self._pure else self._function

    def _compile(self, settings):
        run = functools.partial(_with_settings, self._function, settings)
        if keras.backend.backend() == "jax" and not self._pure:
            return run
        return program(
            _fused(run),
            owner=self._owner,
            autograph=not self._pure,
            reduce_retracing=True,
        )


def _with_settings(function, settings, *tensors):
    return function(*tensors, *settings)


def _fused(function):
    def traced(*tensors):
        with fused():
            return function(*tensors)

    return traced


def _as_tensor(value):
    if isinstance(value, (int, np.integer)):
        value = np.uint32(int(value) & 0xFFFFFFFF)
    return ops.convert_to_tensor(value)


def _is_eager(tensors) -> bool:
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.executing_eagerly()
    if backend == "jax":
        return not _any_traced(tensors)
    return True


def _any_traced(values) -> bool:
    import jax

    return any(isinstance(value, jax.core.Tracer) for value in values)
