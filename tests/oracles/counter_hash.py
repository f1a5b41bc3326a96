"""The draws of `layers.random` for one key, in Python's unbounded integers."""

import math

WORD = 1 << 32
GOLDEN = 0x9E3779B1


def scramble(x, second_key=0):
    """`lowbias32`, with a number added before the second multiplication."""
    x ^= x >> 16
    x = x * 0x7FEB352D % WORD
    x ^= x >> 15
    x = (x + second_key) * 0x846CA68B % WORD
    return x ^ x >> 16


def fold(key, value):
    return scramble((key + scramble((value + GOLDEN) % WORD)) % WORD)


def bits(key, count):
    second_key = scramble((key + GOLDEN) % WORD)
    return [scramble((i * GOLDEN + key) % WORD, second_key) for i in range(count)]


def halves(key, count):
    """Pairs of 16-bit integers: all upper halves come before all lower halves."""
    words = bits(key, (count + 1) // 2)
    return [w // 65536 for w in words], [w % 65536 for w in words]


def uniforms(key, count):
    upper, lower = halves(key, count)
    return (upper + lower)[:count]


def bernoulli(key, count, rate):
    return [u < round(rate * 65536) for u in uniforms(key, count)]


def signs(key, count):
    return [1 if u < 32768 else -1 for u in uniforms(key, count)]


def normal(key, count):
    """Box-Muller, up to the constant that makes the variance one."""
    pairs = []
    for upper, lower in zip(*halves(key, count), strict=True):
        radius = math.sqrt(-2 * math.log((upper + 0.5) / 65536))
        angle = 2 * math.pi * (lower // 16 + 0.5) / 4096
        pairs.append((radius * math.cos(angle), radius * math.sin(angle)))
    cosines, sines = zip(*pairs, strict=True)
    return (cosines + sines)[:count]
