"""The corruptions that average or move pixels, against slow versions."""

import warnings

import cv2
import numpy as np
import pytest
from scipy import ndimage

from tests.oracles.corruptions import SHAPES, assert_same_bytes, smooth_image, truncated
from training.corruptions import blur, common, corrupt, digital


def gaussian_oracle(image, sigma):
    options = {"mode": "nearest", "truncate": 4}
    return ndimage.gaussian_filter(image / 255.0, (sigma, sigma, 0), **options)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_gaussian_blur_is_that_of_scipy(shape, severity):
    image = smooth_image(shape)
    sigma = common.constants(blur._GAUSSIAN, image, severity)
    expected = truncated(gaussian_oracle(image, sigma))
    assert_same_bytes(corrupt(image, "gaussian_blur", severity), expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_glass_blur_follows_the_published_loop(shape, severity):
    image = smooth_image(shape)
    sigma, reach, repetitions = common.constants(blur._GLASS, image, severity)
    # Blurring once is tested above; here it must not add differences of rounding.
    x = common.to_bytes(common.gaussian(image, sigma))
    rng = np.random.default_rng(3)
    height, width = shape[:2]
    for _ in range(repetitions):
        size = 2, height - 2 * reach, width - 2 * reach
        down, right = rng.integers(-reach, reach, size, np.int32)
        for h in range(height - reach, reach, -1):
            for w in range(width - reach, reach, -1):
                place = h - reach - 1, w - reach - 1
                other = h + down[place], w + right[place]
                x[h, w], x[other] = x[other], x[h, w]
    expected = common.to_bytes(common.gaussian(x, sigma))
    actual = blur.glass_blur(image, severity, np.random.default_rng(3))
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_zoom_blur_is_the_mean_of_zoomed_crops(shape, severity):
    image = smooth_image(shape)
    height, width = shape[:2]
    pixels = image / 255.0
    factors = np.arange(1, *blur._ZOOM[common.nearest_side(image)][severity - 1])
    total = pixels.copy()
    for factor in factors:
        tall, wide = (int(np.ceil(side / factor)) for side in (height, width))
        top, left = (height - tall) // 2, (width - wide) // 2
        crop = pixels[top : top + tall, left : left + wide]
        large = ndimage.zoom(crop, (factor, factor, 1), order=1)
        top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
        total += large[top : top + height, left : left + width]
    expected = truncated(total / (len(factors) + 1))
    assert_same_bytes(corrupt(image, "zoom_blur", severity), expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("angle", [0, 30, -44.9, -90, -134])
def test_motion_is_a_weighted_mean_along_a_ray(shape, angle):
    image = smooth_image(shape)
    radius, sigma = 9, 2.5
    weights = np.exp(-(np.arange(19) ** 2) / (2 * sigma**2))
    expected = np.zeros(shape)
    for step, weight in enumerate(weights / weights.sum()):
        right = int(np.ceil(step * np.cos(np.deg2rad(angle)) - 0.5))
        down = int(np.ceil(step * np.sin(np.deg2rad(angle)) - 0.5))
        rows = np.clip(np.arange(shape[0]) + down, 0, shape[0] - 1)
        columns = np.clip(np.arange(shape[1]) + right, 0, shape[1] - 1)
        expected += weight * image[rows][:, columns]
    actual = common.motion(image, radius, sigma, angle)
    np.testing.assert_allclose(actual, expected, atol=1e-3)


def test_motion_blur_keeps_three_different_channels():
    image = smooth_image((32, 32, 3))
    together = corrupt(image, "motion_blur", 4)
    for channel in range(3):
        alone = corrupt(image[..., channel : channel + 1], "motion_blur", 4)
        np.testing.assert_array_equal(together[..., channel : channel + 1], alone)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_defocus_blur_is_a_convolution_with_the_disk(shape, severity):
    image = smooth_image(shape)
    kernel = blur._disk(*common.constants(blur._DEFOCUS, image, severity))
    values = np.stack(
        [ndimage.correlate(c / 255.0, kernel, mode="mirror") for c in cv2.split(image)],
        axis=-1,
    )
    # The disk of radius 3 has 29 pixels: each 29th sum is a whole number.
    share = 0.04 if severity == 1 else 0.004
    actual = corrupt(image, "defocus_blur", severity)
    assert_same_bytes(actual, truncated(values), share)


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_elastic_transform_is_that_of_scipy(shape, severity):
    image = smooth_image(shape)
    side = min(shape[:2]) * (1 if min(shape[:2]) < 85 else 244 / 224)
    fractions = common.constants(digital._ELASTIC, image, severity)
    amplitude, sigma, shift = (fraction * side for fraction in fractions)
    rng = np.random.default_rng(3)
    sheared = digital._sheared(np.float32(image) / 255, shift, rng).reshape(shape)
    field = rng.random((2, *shape[:2]), np.float32) * 2 - 1
    options = {"mode": "reflect", "truncate": 3}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # A standard deviation of zero.
        right, down = (
            ndimage.gaussian_filter(f, sigma, **options) * amplitude if sigma else 0 * f
            for f in field.astype(float)
        )
    rows, columns = np.indices(shape[:2], float)
    places = rows + down, columns + right
    moved = [
        ndimage.map_coordinates(plane, places, order=1, mode="reflect")
        for plane in np.moveaxis(sheared, -1, 0)
    ]
    actual = digital.elastic_transform(image, severity, np.random.default_rng(3))
    # Coordinates are float32.
    assert_same_bytes(actual, truncated(np.stack(moved, axis=-1)), share=0.02)
