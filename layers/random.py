"""The one source of random masks, signs and normals: a keyed counter hash.

Every draw is a pure function of a 32-bit key and a position, computed in unsigned
integers, so it is equal bit for bit in TensorFlow (eager, graph, XLA), JAX and
LiteRT. Normals are Box-Muller transforms whose logarithm and cosine are looked up
in tables, because the backends' own differ in the last bit.

A layer that draws derives from `RandomLayer`. Outside a `stream` its keys come from
a counter that is one of its weights, hence saved with the model; inside a `stream`
they come from the stream alone, and no state is read or written.
"""

import contextlib
import contextvars
import functools
import math
import random
import zlib

import keras
import numpy as np
from keras import ops

# The multipliers of `lowbias32` (Wellons, 2018, https://nullprogram.com/blog/
# 2018/07/31), a bijection of 32-bit integers, and the golden ratio times 2**32.
_MULTIPLIERS = 0x7FEB352D, 0x846CA68B
_GOLDEN = 0x9E3779B1
_ANGLE_BITS = 12


def _uint32(value):
    if isinstance(value, (int, np.integer)):
        value = np.uint32(int(value) & 0xFFFFFFFF)
    return ops.cast(ops.convert_to_tensor(value), "uint32")


def _xor_shift(x, shift: int):
    return ops.bitwise_xor(x, ops.right_shift(x, _uint32(shift)))


def _hash(x, second_key=None):
    x = _xor_shift(x, 16) * _uint32(_MULTIPLIERS[0])
    x = _xor_shift(x, 15)
    if second_key is not None:
        x = x + second_key
    return _xor_shift(x * _uint32(_MULTIPLIERS[1]), 16)


def fold(key, value):
    """Mixes an integer into a key.

    Args:
        key: Integer or uint32 tensor.
        value: Integer or integer tensor that broadcasts with `key`.

    Returns:
        A uint32 tensor. For one key, different values give different keys.
    """
    return _hash(_uint32(key) + _hash(_uint32(value) + _uint32(_GOLDEN)))


def bits(key, count):
    """Returns `count` uniform 32-bit integers for each key.

    Args:
        key: uint32 tensor of any shape.
        count: Integer or integer tensor.

    Returns:
        uint32 tensor of shape `(*key.shape, count)`.
    """
    key = ops.expand_dims(_uint32(key), -1)
    position = ops.cast(ops.arange(count, dtype="int32"), "uint32")
    # The second key keeps two streams from being shifted copies of each other.
    return _hash(position * _uint32(_GOLDEN) + key, _hash(key + _uint32(_GOLDEN)))


def _split(x):
    """Returns the upper and the lower 16 bits as int32 tensors."""
    # LiteRT has no bitwise and, but its products of uint32 wrap.
    lower = ops.right_shift(x * _uint32(1 << 16), _uint32(16))
    upper = ops.right_shift(x, _uint32(16))
    return ops.cast(upper, "int32"), ops.cast(lower, "int32")


def _pairs(key, shape, transform):
    """Fills `shape` from two values per hash; `key` covers its leading axes."""
    rank = len(key.shape)
    count = math.prod(shape[rank:])  # Python integers or scalar tensors.
    pair = transform(*_split(bits(key, (count + 1) // 2)))
    return ops.reshape(ops.concatenate(pair, -1)[..., :count], shape)


def bernoulli(key, shape, rate: float):
    """Samples booleans that are true with probability `rate`.

    The probability is rounded to a multiple of `2**-16`; `quantize` returns it.

    Args:
        key: uint32 tensor whose shape is a prefix of `shape`: `()` for one stream,
            `(batch,)` for one stream per example.
        shape: Tuple of integers or integer tensors.
        rate: Probability, in `[0, 1]`.

    Returns:
        Boolean tensor of that shape.
    """
    threshold = round(rate * 65536)
    return _pairs(key, shape, lambda *u: [ops.less(v, threshold) for v in u])


def quantize(rate: float) -> float:
    """Returns the probability that `bernoulli` realizes for `rate`."""
    return round(rate * 65536) / 65536


def signs(key, shape, dtype: str = "float32"):
    """Samples -1 and +1 with equal probability; arguments as in `bernoulli`."""
    values = _pairs(key, shape, lambda *u: [2 * ops.right_shift(v, 15) for v in u])
    return ops.cast(1 - values, dtype)


@functools.cache
def _tables():
    uniform = (np.arange(1 << 16) + 0.5) / (1 << 16)
    radius = np.sqrt(-2 * np.log(uniform))
    radius *= np.sqrt(2 / np.mean(radius**2))  # Exactly unit variance.
    angle = 2 * np.pi * (np.arange(1 << _ANGLE_BITS) + 0.5) / (1 << _ANGLE_BITS)
    tables = radius, np.cos(angle), np.sin(angle)
    return tuple(table.astype("float32") for table in tables)


def normal(key, shape, dtype: str = "float32"):
    """Samples standard normals, in pairs of equal radius.

    The radius has 65,536 levels, up to 4.86, and the angle 4,096.

    Args:
        key: uint32 tensor whose shape is a prefix of `shape`.
        shape: Tuple of integers or integer tensors.
        dtype: Of the result.

    Returns:
        Tensor of that shape.

    Reference:
        [A Note on the Generation of Random Normal Deviates](
        https://doi.org/10.1214/aoms/1177706645) (Box and Muller, 1958).
    """
    radii, cosines, sines = _tables()

    def transform(upper, lower):
        radius = ops.take(radii, upper)
        angle = ops.right_shift(lower, 16 - _ANGLE_BITS)
        return [radius * ops.take(cosines, angle), radius * ops.take(sines, angle)]

    return ops.cast(_pairs(key, shape, transform), dtype)


class _Stream:
    def __init__(self, key, offset):
        self.key, self.offset, self.calls = key, offset, {}

    def next_key(self, name: str):
        """Returns the key of the next call of the layer of that name."""
        call = self.calls[name] = self.calls.get(name, -1) + 1
        return fold(fold(self.key, zlib.crc32(name.encode())), call)


_STREAM = contextvars.ContextVar("stream", default=None)


@contextlib.contextmanager
def stream(key, offset=0):
    """Makes every random layer called inside draw from `key`.

    A draw then depends on the key, on the layer's name, on how often the layer was
    called inside and on the example's number alone: not on the batch split, and no
    state is written.

    Args:
        key: Integer or scalar integer tensor.
        offset: The number of the first example of the batch.

    Example:

    >>> from layers import MCDropout, stream
    >>> dropout, x = MCDropout(0.5), keras.ops.ones((1, 8))
    >>> with stream(7):
    ...     first = dropout(x)
    >>> with stream(7):
    ...     print(bool(keras.ops.all(dropout(x) == first)))
    True
    """
    token = _STREAM.set(_Stream(key, offset))
    try:
        yield
    finally:
        _STREAM.reset(token)


def _fold_replica(key):
    # Replicas hold equal counters; without this they would draw equal masks.
    if keras.backend.backend() != "tensorflow":
        return key
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return key
    return fold(key, context.replica_id_in_sync_group)


class RandomLayer(keras.layers.Layer):
    """Base class of layers that draw random numbers.

    Args:
        seed: Integer in `[0, 2**32)` that makes the draws reproducible. By default
            it is taken from Python's `random`, which `keras.utils.set_random_seed`
            seeds.
    """

    stochastic = True  # Whether it draws in inference too.

    def __init__(self, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if seed is not None and not 0 <= seed < 2**32:
            raise ValueError(
                f"`seed` must be an integer in [0, 2**32). Received: seed={seed}"
            )
        self.seed = seed
        start = random.getrandbits(32) if seed is None else seed
        self.random_state = self.add_weight(
            shape=(2,),
            initializer=lambda *_, **__: _uint32(np.array([start, 0], "uint32")),
            dtype="uint32",
            trainable=False,
            autocast=False,
            name="random_state",
        )

    def next_key(self):
        """Returns a new key, different on each replica of a `tf.distribute` strategy.

        Returns:
            A scalar uint32 tensor.
        """
        if (active := _STREAM.get()) is not None:
            return active.next_key(self.name)
        # The sum is a tensor; in TensorFlow the variable itself would be read again.
        state = self.random_state + _uint32(np.array([0, 1], "uint32"))
        self.random_state.assign(state)
        return _fold_replica(fold(state[0], state[1]))

    def next_row_keys(self, num_rows):
        """Returns new keys, one for each example.

        Args:
            num_rows: The number of examples in the batch.

        Returns:
            A uint32 tensor of shape `(num_rows,)`.
        """
        return self.row_keys(self.next_key(), num_rows)

    def row_keys(self, key, num_rows):
        """Returns a key for each example, made from one of `next_key`.

        Args:
            key: Scalar uint32 tensor.
            num_rows: The number of examples in the batch.

        Returns:
            A uint32 tensor of shape `(num_rows,)`. In a `stream`, examples are
            counted from its offset.
        """
        rows = ops.arange(num_rows, dtype="int32")
        if (active := _STREAM.get()) is not None:
            rows = rows + active.offset
        return fold(key, rows)

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


def set_seed(model: keras.Model, seed: int):
    """Restarts all random layers of a model from one seed.

    Args:
        model: Keras model; layers of nested models are included.
        seed: Integer in `[0, 2**32)`. Layers of different names draw differently.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, RandomLayer):
            start = fold(seed, zlib.crc32(layer.name.encode()))
            layer.random_state.assign(ops.stack([start, _uint32(0)]))


def is_stochastic(model: keras.Model) -> bool:
    """Returns whether two predictions of a model for the same images may differ."""
    return any(
        isinstance(layer, RandomLayer) and layer.stochastic
        for layer in model._flatten_layers()
    )
