"""What the slow versions of the corruptions share."""

import numpy as np
from scipy import ndimage

# The shorter side decides on the constants.
SHAPES = [(32, 32, 3), (28, 31, 1), (90, 101, 3)]


def smooth_image(shape, seed=0):
    image = np.random.default_rng(seed).normal(size=shape)
    image = ndimage.gaussian_filter(image, (2, 2, 0))
    return np.uint8(np.clip(128 + 60 * image / image.std(), 0, 255))


def assert_same_bytes(actual, expected, share=0.004):
    """Checks bytes that come from truncating the same values with other rounding."""
    difference = np.abs(actual.astype(int) - expected.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < share


def truncated(values):
    return np.uint8(np.clip(values, 0, 1) * 255)
