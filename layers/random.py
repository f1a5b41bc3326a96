"""The one source of random masks, signs and normals: a keyed counter hash.

Every draw is a pure function of a 32-bit key and a position, computed in unsigned
integers, so it is equal bit for bit in TensorFlow (eager, graph, XLA), JAX, PyTorch
and LiteRT. Normals are Box-Muller transforms whose logarithm and cosine are looked up
in tables, because the backends' own differ in the last bit.

`layers/streams.py` says where the keys of layers come from.
"""

import functools
import math

import keras
import numpy as np
from keras import ops

from layers import compilation

# The multipliers of `lowbias32` (Wellons, 2018, https://nullprogram.com/blog/
# 2018/07/31), a bijection of 32-bit integers, and the golden ratio times 2**32.
# Scalars of NumPy: each becomes a tensor in the operation itself.
_MULTIPLIERS = np.uint32(0x7FEB352D), np.uint32(0x846CA68B)
_GOLDEN = np.uint32(0x9E3779B1)
_ANGLE_BITS = 12
# PyTorch computes unsigned integers of 32 bits as integers of 64, which do not wrap.
_WRAPS = keras.backend.backend() != "torch"


@functools.lru_cache(maxsize=256)
def _compiled(halves, count, *settings):
    return compilation.compiled(lambda key: halves(key, count, *settings))


def _drawn(halves, key, shape, *settings):
    """Fills a shape from two values per hash, which may be compiled by themselves.

    Args:
        halves: Function of key, a number of hashes and settings to the first and the
            second values, of shape `(*key.shape, count)`.
        key: uint32 tensor that covers the leading axes of the shape.
        shape: Tuple of integers or scalar tensors.
        *settings: Numbers and words, by which a compiled function is found again.
    """
    rest = tuple(shape[len(key.shape) :])
    size = math.prod(rest)
    count = (size + 1) // 2
    if compilation.pays(rest):
        pair = _compiled(halves, count, *settings)(key)
    else:
        pair = halves(key, count, *settings)
    # Here, for XLA would compute both halves for every entry of their concatenation.
    return ops.reshape(ops.concatenate(pair, -1)[..., :size], shape)


def uint32(value):
    """Returns an integer or an integer tensor as a uint32 tensor, modulo `2**32`."""
    if isinstance(value, (int, np.integer)):
        value = np.uint32(int(value) & 0xFFFFFFFF)
    return wrapped(ops.cast(ops.convert_to_tensor(value), "uint32"))


def wrapped(x):
    """Returns a sum or product of uint32 tensors modulo `2**32`, on every backend."""
    return x if _WRAPS or isinstance(x, np.ndarray) else ops.bitwise_and(x, 0xFFFFFFFF)


def _xor_shift(x, shift: int):
    if isinstance(x, np.ndarray):
        return x ^ x >> np.uint32(shift)
    return ops.bitwise_xor(x, ops.right_shift(x, np.uint32(shift)))


def _hash(x, second_key=None):
    x = wrapped(_xor_shift(x, 16) * _MULTIPLIERS[0])
    x = _xor_shift(x, 15)
    if second_key is not None:
        x = wrapped(x + second_key)
    return _xor_shift(wrapped(x * _MULTIPLIERS[1]), 16)


def _hash_value(value):
    """Returns the hash of an integer, as a number of NumPy, or of an integer tensor."""
    if isinstance(value, (int, np.integer)):
        # An array, since numbers warn when they wrap.
        value = np.array([int(value) & 0xFFFFFFFF], "uint32")
        return _hash(value + _GOLDEN)[0]
    return _hash(wrapped(uint32(value) + _GOLDEN))


def fold(key, value):
    """Mixes an integer into a key.

    Args:
        key: Integer or uint32 tensor.
        value: Integer or integer tensor that broadcasts with `key`.

    Returns:
        A uint32 tensor. For one key, different values give different keys.
    """
    return _hash(wrapped(uint32(key) + _hash_value(value)))


def bits(key, count):
    """Returns `count` uniform 32-bit integers for each key.

    Args:
        key: uint32 tensor of any shape.
        count: Integer or integer tensor.

    Returns:
        uint32 tensor of shape `(*key.shape, count)`.
    """
    key = ops.expand_dims(uint32(key), -1)
    position = ops.cast(ops.arange(count, dtype="int32"), "uint32")
    # The second key keeps two streams from being shifted copies of each other.
    counter = wrapped(position * _GOLDEN + key)
    return _hash(counter, _hash(wrapped(key + _GOLDEN)))


def fractions(key, count):
    """Returns `count` numbers in [0, 1), multiples of `2**-24`, for each key.

    Args:
        key: uint32 tensor of any shape.
        count: Integer or integer tensor.

    Returns:
        float32 tensor of shape `(*key.shape, count)`.
    """
    upper = ops.right_shift(bits(key, count), np.uint32(8))
    return ops.cast(upper, "float32") / 2**24


def integers(key, count):
    """Returns `count` integers in `[0, 2**16)` for each key; see `fractions`."""
    upper = ops.right_shift(bits(key, count), np.uint32(16))
    return ops.cast(upper, "int32")


def _split(x):
    """Returns the upper and the lower 16 bits as int32 tensors."""
    # LiteRT has no bitwise and, but its products of uint32 wrap.
    lower = ops.right_shift(wrapped(x * np.uint32(1 << 16)), np.uint32(16))
    upper = ops.right_shift(x, np.uint32(16))
    return ops.cast(upper, "int32"), ops.cast(lower, "int32")


def _uniform(key, count):
    """Returns two uniform numbers of 16 bits per hash."""
    return _split(bits(key, count))


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
    return _drawn(_bernoulli, key, shape, round(rate * 65536))


def _bernoulli(key, count, threshold):
    return [ops.less(v, threshold) for v in _uniform(key, count)]


def quantize(rate: float) -> float:
    """Returns the probability that `bernoulli` realizes for `rate`."""
    return round(rate * 65536) / 65536


def uniform(key, shape, dtype: str = "float32"):
    """Samples the middles of 65,536 intervals of (0, 1); arguments as in `normal`."""
    return _drawn(_middles, key, shape, keras.backend.standardize_dtype(dtype))


def _middles(key, count, dtype):
    halves = _uniform(key, count)
    return [ops.cast((ops.cast(v, "float32") + 0.5) / 65536, dtype) for v in halves]


def signs(key, shape, dtype: str = "float32"):
    """Samples -1 and +1 with equal probability; arguments as in `bernoulli`."""
    return _drawn(_signs, key, shape, keras.backend.standardize_dtype(dtype))


def _signs(key, count, dtype):
    uniform = _uniform(key, count)
    return [ops.cast(1 - 2 * ops.right_shift(v, 15), dtype) for v in uniform]


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
        dtype: Type of the result.

    Returns:
        Tensor of that shape.

    Reference:
        [A Note on the Generation of Random Normal Deviates](
        https://doi.org/10.1214/aoms/1177706645) (Box and Muller, 1958).
    """
    return _drawn(_normal, key, shape, keras.backend.standardize_dtype(dtype))


def _normal(key, count, dtype):
    radii, cosines, sines = _tables()
    upper, lower = _uniform(key, count)
    radius, angle = ops.take(radii, upper), ops.right_shift(lower, 16 - _ANGLE_BITS)
    waves = ops.take(cosines, angle), ops.take(sines, angle)
    return [ops.cast(radius * wave, dtype) for wave in waves]
