"""Random filters of maps in training, against loops over their definitions."""

import math

import keras
import numpy as np
import pytest

from layers import FrequencyDropout, random, stream
from layers.frequency_dropout import DEFAULT_FILTERS, KERNELS
from tests.helpers.checks import assert_mean_close, check_layer

array = keras.ops.convert_to_numpy


def kernel_oracle(name, size, s):
    kernel = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            row, column = i - size // 2, j - size // 2
            half = (row**2 + column**2) / (2 * s**2)
            kernel[i, j] = {
                "gaussian": math.exp(-half),
                "log": (1 - half) * math.exp(-half),
                "gabor": math.exp(-(column**2) / (2 * s**2))
                * math.cos(2 * math.pi * column / 3),
            }[name]
    return kernel if name == "gabor" else kernel / kernel.sum()


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_are_those_of_the_definition(name):
    scales = np.array([0.2, 0.3, 0.7, 1.0, 3.0], "float32")
    for size in (3, 7) if name != "log" else (3,):
        found = array(KERNELS[name](size, scales))
        for place, scale in enumerate(scales):
            expected = kernel_oracle(name, size, float(scale))
            np.testing.assert_allclose(found[..., place], expected, atol=2e-6)
    sums = array(KERNELS[name](3, scales)).sum(axis=(0, 1))
    closed = 3 * (1 - np.exp(-1 / (2 * scales**2))) if name == "gabor" else 1
    np.testing.assert_allclose(sums, closed, atol=2e-6)


def test_kernels_of_extreme_scales_are_a_point_and_a_box():
    point, box = np.zeros((3, 3)), np.full((3, 3), 1 / 9)
    point[1, 1] = 1
    found = array(KERNELS["gaussian"](3, np.array([1e-3, 1e3], "float32")))
    np.testing.assert_allclose(found[..., 0], point, atol=1e-6)
    np.testing.assert_allclose(found[..., 1], box, atol=1e-6)


def test_kinds_shares_and_scales_have_the_stated_frequencies():
    count = 30_000
    with stream(1):
        kernels = array(FrequencyDropout(name="it").draw_kernels(count))
    sides, centers = kernels[1, 0], kernels[1, 1]
    same = (kernels[0, 0] == 0) & (sides == 0) & (centers == 1) & (kernels[0, 1] == 0)
    rates = [rate for rate, _, _ in DEFAULT_FILTERS.values()]
    assert_mean_close(same, np.mean(rates))
    gabor = ~same & (kernels[0, 1] == 1)  # Ones in the middle column.
    assert_mean_close(gabor, (1 - rates[2]) / 3)
    rate, low, high = DEFAULT_FILTERS["gaussian"]
    with stream(2):
        layer = FrequencyDropout(filters={"gaussian": (rate, low, high)}, name="it")
        kernels = array(layer.draw_kernels(count)).astype("float64")
    drawn = kernels[1, 0] > 0
    assert_mean_close(drawn, 1 - rate)
    ratio = kernels[1, 0, drawn] / kernels[1, 1, drawn]
    scales = np.sqrt(-1 / (2 * np.log(ratio)))
    assert low - 1e-4 < scales.min() < scales.max() < high + 1e-4
    assert_mean_close(scales, (low + high) / 2)
    assert_mean_close((scales - (low + high) / 2) ** 2, (high - low) ** 2 / 12)


def test_training_filters_each_map_by_its_kernel_and_inference_none():
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 40)).astype("float32")
    layer = FrequencyDropout(name="it")
    with stream(3):
        y = array(layer(x, training=True))
    with stream(3):
        kernels = array(layer.draw_kernels(40))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = sum(
        kernels[i, j] * padded[:, i : i + 5, j : j + 6]
        for i in range(3)
        for j in range(3)
    )
    np.testing.assert_allclose(y, expected, atol=1e-5)
    assert len(np.unique(kernels[1, 0])) > 10  # Each channel has its own.
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer(x, training=False), x)


def test_each_step_draws_anew_and_a_seed_repeats_it():
    x = np.ones((1, 4, 4, 32), "float32")
    first, second = (FrequencyDropout(seed=7) for _ in range(2))
    steps = [array(first(x, training=True)) for _ in range(2)]
    assert np.any(steps[0] != steps[1])
    for expected in steps:
        np.testing.assert_array_equal(second(x, training=True), expected)


def test_a_rate_of_one_leaves_all_maps_as_they_are():
    filters = {name: (1.0, *row[1:]) for name, row in DEFAULT_FILTERS.items()}
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 16)).astype("float32")
    y = FrequencyDropout(filters=filters)(x, training=True)
    np.testing.assert_allclose(y, x, rtol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [FrequencyDropout(), FrequencyDropout(5, {"gabor": (0.1, 0.5, 2.0)}, seed=1)],
)
def test_keeps_the_contract(layer):
    check_layer(layer, (2, 6, 9, 3))


def test_a_filter_that_is_larger_than_its_map_is_refused():
    layer = FrequencyDropout(5, {"gaussian": (0.4, 0.2, 1.0)})
    for training in (True, False):
        with pytest.raises(
            ValueError, match="larger than its map.*kernel_size=5, maps of 8 x 4"
        ):
            layer(np.zeros((1, 8, 4, 2), "float32"), training=training)
    with pytest.raises(ValueError, match="larger than its map"):
        FrequencyDropout()(keras.Input((2, 8, 4)))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"kernel_size": 4}, "must be odd.*kernel_size=4"),
        ({"kernel_size": 5}, "sum, which nearly vanishes.*kernel_size=5, scales from"),
        ({"filters": {}}, r"a rate and two scales.*filters=\{\}"),
        ({"filters": {"box": (0, 1, 2)}}, "one of gaussian, log, gabor.*filters=box"),
        ({"filters": {"gabor": (2, 0, 1)}}, r"in \[0, 1\].*Received: filters="),
        ({"filters": {"gabor": (0.5, 2, 1)}}, "smallest and the largest"),
        ({"filters": {"gabor": (0.5, 1)}}, "smallest and the largest"),
    ],
)
def test_other_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        FrequencyDropout(**arguments)


def test_uniform_numbers_have_the_moments_and_the_support_of_their_kind():
    numbers = array(random.uniform(random.uint32(3), (40_000,)))
    assert 0 < numbers.min() < 1e-3
    assert 1 - 1e-3 < numbers.max() < 1
    assert_mean_close(numbers, 0.5)
    assert_mean_close((numbers - 0.5) ** 2, 1 / 12)
    assert_mean_close((numbers[::2] - 0.5) * (numbers[1::2] - 0.5), 0)
