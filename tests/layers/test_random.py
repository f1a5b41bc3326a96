"""The statistical quality of the draws; their reproducibility is in test_streams."""

import zlib

import numpy as np
import pytest
import scipy.stats

from layers import random
from tests.helpers.checks import assert_mean_close
from tests.oracles import counter_hash

GOLDEN = 0x9E3779B1
COUNT = 1 << 17


def words(key, count):
    return np.asarray(random.bits(np.asarray(key, "uint32"), count))


def bit_planes(x):
    """Returns, for each of 32 bits, that bit of all words, eight in an octet."""
    octets = np.ascontiguousarray(x).reshape(-1, 1).view("uint8")
    return np.packbits(np.unpackbits(octets, axis=1), axis=0).T


def assert_uncorrelated(a, b, z=6.0):
    """Checks that no bit of a word in `a` says anything about its partner in `b`."""
    differing = np.bitwise_count(bit_planes(a)[:, None] ^ bit_planes(b)).sum(-1)
    score = np.max(np.abs(a.size - 2.0 * differing)) / np.sqrt(a.size)
    assert score < z, f"{score:.1f} standard errors"


def names(count):
    blocks = (f"stage{i % 9}_block{i // 9}_dropout" for i in range(count))
    return np.array([zlib.crc32(name.encode()) for name in blocks], "uint32")


def fold(key, value):
    return np.array(random.fold(key, value))


# Keys that a model uses side by side.
KEYS = {
    "raw keys": np.arange(256),
    "calls": fold(7, np.arange(256)),
    "seeds": fold(np.arange(256), 0),
    "layers in a stream": fold(fold(7, names(256)), 0),
    "examples": fold(fold(7, 0), np.arange(256)),
    "examples of successive calls": fold(fold(7, np.arange(256)), 3),
    "replicas": fold(fold(7, 5), np.arange(256)),
    "replicas and examples": fold(fold(fold(7, 5), np.arange(2))[:, None], range(128)),
    "samples of a posterior": fold(np.arange(256), zlib.crc32(b"head")),
}


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_neighboring_keys_draw_uncorrelated_bits(keys):
    drawn = words(keys.ravel(), COUNT // 256)
    for step in (1, 2, 128):
        assert_uncorrelated(drawn[:-step], drawn[step:])
    assert_uncorrelated(drawn[:-1, :-1], drawn[1:, 1:])
    assert_uncorrelated(drawn[:-1, 1:], drawn[1:, :-1])


@pytest.mark.parametrize("keys", [fold(7, np.arange(COUNT)), fold(np.arange(COUNT), 0)])
def test_one_position_varies_well_over_many_keys(keys):
    drawn = words(keys, 1)[:, 0]
    assert scipy.stats.kstest(drawn / 2**32, "uniform").pvalue > 1e-9
    for step in (1, 64):
        assert_uncorrelated(drawn[:-step], drawn[step:])


def test_positions_are_uncorrelated():
    drawn = words(7, COUNT)
    for lag in (1, 2, 3, 7, 14, 28, 32, 64, 128, 448, 1024, 4096):
        assert_uncorrelated(drawn[:-lag], drawn[lag:])


def test_a_key_one_step_of_the_counter_further_gives_no_shifted_copy():
    drawn = words([7, 7 + GOLDEN], 1 << 16)
    assert not np.any(drawn[0, 1:] == drawn[1, :-1])


def test_the_bits_of_a_word_are_fair_and_independent():
    drawn = words(KEYS["calls"], COUNT // 256)
    planes = bit_planes(drawn)
    score = drawn.size - 2.0 * np.bitwise_count(planes).sum(-1)
    assert np.max(np.abs(score)) < 6 * np.sqrt(drawn.size)
    differing = np.bitwise_count(planes[:, None] ^ planes).sum(-1)
    score = drawn.size - 2.0 * differing[np.triu_indices(32, 1)]
    assert np.max(np.abs(score)) < 6 * np.sqrt(drawn.size)


@pytest.mark.parametrize("shift", [0, 8, 16, 24])
@pytest.mark.parametrize("keys", [7, KEYS["examples"]])
def test_octets_and_their_pairs_are_uniform(keys, shift):
    drawn = words(keys, (1 << 18) // np.size(keys))
    octets = drawn.ravel() >> shift & 255
    pairs = (octets[::2] >> 4) * 16 + (octets[1::2] >> 4)
    for values in (octets, pairs):
        p = scipy.stats.chisquare(np.bincount(values, minlength=256)).pvalue
        assert 1e-9 < p < 1 - 1e-9


def test_fold_is_injective_in_the_value_and_in_the_key():
    numbers = np.arange(1 << 20)
    for folded in (fold(7, numbers), fold(numbers, 7)):
        folded.sort()
        assert np.all(folded[1:] != folded[:-1])


@pytest.mark.parametrize("rate", [0.0, 1e-4, 0.1, 0.3, 0.5, 0.999, 1.0])
def test_bernoulli_has_its_rate(rate):
    drawn = np.asarray(random.bernoulli(KEYS["examples"], (256, 32, 32), rate))
    assert drawn.dtype == bool
    assert abs(random.quantize(rate) - rate) <= 2**-17
    assert_mean_close(drawn.ravel(), random.quantize(rate))
    # An error would hide where the mean over all is right.
    assert np.max(np.abs(drawn.mean((1, 2)) - rate)) < 6 * 0.5 / 32
    assert np.max(np.abs(drawn.mean(0) - rate)) < 6 * 0.5 / 16


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32"])
def test_signs_are_plus_or_minus_one(dtype):
    drawn = np.asarray(random.signs(KEYS["examples"], (256, 1023), dtype))
    assert drawn.dtype == dtype
    assert set(np.unique(drawn).tolist()) == {-1, 1}
    drawn = drawn.astype("float32")
    assert_mean_close(drawn.ravel(), 0.0)
    assert_mean_close((drawn[1:] * drawn[:-1]).ravel(), 0.0)
    for lag in (1, 2, 64, 511, 512):  # The halves of a word are 512 apart.
        assert_mean_close((drawn[:, lag:] * drawn[:, :-lag]).ravel(), 0.0)


@pytest.fixture(scope="module")
def normals():
    return np.asarray(random.normal(KEYS["examples"], (256, 4096)), "float64")


def test_normals_have_the_moments_and_the_distribution_of_a_gaussian(normals):
    x = normals.ravel()
    for power, moment in enumerate((0, 1, 0, 3, 0, 15), 1):
        assert_mean_close(x**power, moment)
    assert scipy.stats.kstest(x[::4], "norm").pvalue > 1e-9


@pytest.mark.parametrize("bound", [2.0, 3.0, 4.0, 4.5])
def test_normals_have_gaussian_tails(normals, bound):
    assert_mean_close(normals.ravel() > bound, scipy.stats.norm.sf(bound))
    assert_mean_close(normals.ravel() < -bound, scipy.stats.norm.sf(bound))


def test_normals_of_one_radius_are_independent(normals):
    first, second = normals[:, :2048].ravel(), normals[:, 2048:].ravel()
    assert_mean_close(first * second, 0.0)
    assert_mean_close(first**2 * second, 0.0)
    assert_mean_close(first**2 * second**2, 1.0)
    angle = np.arctan2(second, first) / (2 * np.pi) + 0.5
    assert scipy.stats.kstest(angle[::4], "uniform").pvalue > 1e-9


def test_normals_are_uncorrelated_over_positions_and_examples(normals):
    assert_mean_close((normals[1:] * normals[:-1]).ravel(), 0.0)
    for lag in (1, 2, 64, 2047):
        assert_mean_close((normals[:, lag:] * normals[:, :-lag]).ravel(), 0.0)
        squares = normals**2 - 1
        assert_mean_close((squares[:, lag:] * squares[:, :-lag]).ravel(), 0.0)


def test_draws_match_golden_values():
    assert [int(random.fold(7, value)) for value in (1, 2)] == [0x706666DC, 0xA0F933BE]
    assert words(0, 3).tolist() == [0x261863A8, 0x936A0C98, 0xD24C75C5]
    assert words(0xDEADBEEF, 3).tolist() == [0xF31A8837, 0xA51B516A, 0xD0625BFA]
    signs = random.signs(np.uint32(1), (8,), "int32")
    assert np.array(signs).tolist() == [-1, 1, 1, 1, -1, -1, 1, 1]
    drop = random.bernoulli(np.uint32(1), (8,), 0.3)
    assert np.flatnonzero(drop).tolist() == [3, 6]
    normal = [0.67039, -0.88685, 1.17957, -0.77838, -1.13460]
    np.testing.assert_allclose(random.normal(np.uint32(1), (5,)), normal, atol=5e-5)


@pytest.mark.parametrize("key", [0, 1, 0x80000000, 0xDEADBEEF, 0xFFFFFFFF])
@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_draws_match_arithmetic_in_unbounded_integers(key, count):
    uint32 = np.uint32(key)
    assert words(key, count).tolist() == counter_hash.bits(key, count)
    for value in (0, 1, 12345, 2**31, 2**32 - 1):
        assert int(random.fold(key, value)) == counter_hash.fold(key, value)
    drop = np.array(random.bernoulli(uint32, (count,), 0.3))
    assert drop.tolist() == counter_hash.bernoulli(key, count, 0.3)
    signs = np.array(random.signs(uint32, (count,)))
    assert signs.tolist() == counter_hash.signs(key, count)
    normals = random.normal(uint32, (count,))
    expected = counter_hash.normal(key, count)
    np.testing.assert_allclose(normals, expected, rtol=2e-5, atol=1e-6)
