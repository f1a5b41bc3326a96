"""Subsampling by frequency low-cut pooling, against Fourier transforms."""

import numpy as np
import pytest
import tensorflow as tf

from layers import FLCPooling2D
from layers.frequency import low_cut
from tests.helpers import marks
from tests.helpers.checks import check_layer

SIZES = [(8, 12), (14, 6), (28, 10), (7, 9), (15, 14), (1, 2), (3, 5)]


def some_maps(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def by_transforms(x, axis, strides=2):
    """Keeps the lowest frequencies of a discrete Fourier transform, symmetrically."""
    x = np.moveaxis(np.asarray(x, "float64"), axis, -1)
    size = x.shape[-1]
    count = -(-size // strides)
    before = np.fft.fft(x, norm="forward")
    after = np.zeros((*x.shape[:-1], count), complex)
    for k in range(-(count // 2), count // 2 + 1):
        weight = 0.5 if 2 * abs(k) == count else 1.0
        after[..., k % count] += weight * before[..., k % size]
    y = np.fft.ifft(after, norm="forward")
    np.testing.assert_allclose(y.imag, 0, atol=1e-12)
    return np.moveaxis(y.real, -1, axis)


def cropped(x):
    """The published crop of the shifted spectrum, of images `(height, width)`."""
    spectrum = np.fft.fftshift(np.fft.fft2(x, norm="forward"))
    rows, columns = (slice(n // 4, 3 * n // 4) for n in x.shape)
    return np.fft.ifft2(np.fft.ifftshift(spectrum[rows, columns]), norm="forward").real


@pytest.mark.parametrize("strides", marks.few([2, 3], [3]))
def test_maps_are_those_of_fourier_transforms(strides):
    layer = FLCPooling2D(strides)
    compiled = tf.function(layer, [tf.TensorSpec((None, None, None, 3))])
    for height, width in SIZES:
        x = some_maps(2, height, width, 3)
        expected = by_transforms(by_transforms(x, 1, strides), 2, strides)
        for y in (layer(x), compiled(x)):
            assert y.shape == expected.shape
            np.testing.assert_allclose(y, expected, atol=2e-5)


def test_a_band_limited_map_is_subsampled_exactly_and_other_waves_vanish():
    for size in (8, 10, 14, 28):
        count = size // 2
        points = np.arange(size) / size
        kept = [k for k in range(size // 2 + 1) if 2 * k < count]
        angles = np.random.default_rng(1).uniform(0, 6, len(kept))
        row = sum(
            np.cos(2 * np.pi * k * points + a)
            for k, a in zip(kept, angles, strict=True)
        )
        x = np.multiply.outer(row, row[::-1])[None, :, :, None].astype("float32")
        y = FLCPooling2D()(x)
        np.testing.assert_allclose(y, x[:, ::2, ::2], atol=1e-4 * np.abs(x).max())
        for k in range(count // 2 + 1, size // 2 + 1):
            wave = np.cos(2 * np.pi * k * points + 0.3)
            np.testing.assert_allclose(low_cut(size, 2) @ wave, 0, atol=1e-5)


def test_the_highest_wave_that_is_kept_has_half_its_amplitude():
    wave = np.cos(np.pi / 2 * np.arange(16))  # A fourth of a cycle per point.
    np.testing.assert_allclose(low_cut(16, 2) @ wave, [0.5, -0.5] * 4, atol=1e-6)


def test_constants_stay_at_every_size_and_the_published_crop_loses_them():
    for size in range(1, 40):
        for strides in (1, 2, 3, 4):
            rows = low_cut(size, strides).sum(axis=1)
            np.testing.assert_allclose(rows, 1, atol=1e-5, err_msg=f"{size}")
    for size in (6, 10, 14):
        assert abs(cropped(np.ones((size, size))).mean()) < 1e-9
    for half in ("bfloat16", "float16"):
        y = FLCPooling2D(dtype=f"mixed_{half}")(np.ones((1, 14, 10, 2)))
        np.testing.assert_allclose(np.asarray(y, "float32"), 1, atol=0.02)


def test_it_is_the_published_crop_at_multiples_of_four_but_in_one_frequency():
    x = np.random.default_rng(0).normal(size=(12, 8))
    found = FLCPooling2D()(x[None, :, :, None].astype("float32"))[0, :, :, 0]
    found, expected = (np.fft.fft2(np.asarray(y)) for y in (found, cropped(x)))
    differ = np.abs(found - expected) > 1e-4
    assert set(zip(*np.nonzero(differ), strict=True)) <= {(3, 2)}  # Of 6 x 4.


def test_a_shift_by_a_stride_around_the_border_shifts_the_output_by_one():
    x = some_maps(1, 14, 12, 2)
    y = np.asarray(FLCPooling2D()(np.roll(x, (2, 4), axis=(1, 2))))
    expected = np.roll(FLCPooling2D()(x), (1, 2), axis=(1, 2))
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_strides_of_one_change_nothing():
    x = some_maps(2, 7, 6, 3)
    np.testing.assert_allclose(FLCPooling2D(1)(x), x, atol=1e-5)


@pytest.mark.parametrize("strides", marks.few([2, 3], [3]))
def test_keeps_the_contract(strides):
    layer = FLCPooling2D(strides)
    check_layer(layer, (2, 6, 9, 3))
    assert layer.weights == []


def test_other_arguments_are_refused():
    for strides in (0, 1.5, "2", None):
        with pytest.raises(ValueError, match=f"`strides` must be.*strides={strides}"):
            FLCPooling2D(strides)
    with pytest.raises(ValueError, match="channels last"):
        FLCPooling2D(data_format="channels_first")


def test_a_batch_without_images_gives_none():
    layer = tf.function(FLCPooling2D(), [tf.TensorSpec((None, 6, 6, 2))])
    assert layer(np.zeros((0, 6, 6, 2), "float32")).shape == (0, 3, 3, 2)
