"""What the corruptions share: tables of two sizes, filters, and bytes."""

import functools
import math

import cv2
import numpy as np

# Constants were published for these two sides of an image.
SIDES = (32, 224)
# The side between the two on a logarithmic scale, sqrt(32 * 224).
_MIDDLE_SIDE = 85
# By how much rounding may miss a whole number from below, in each precision.
_WHOLE = {np.dtype(np.float32): 3e-4, np.dtype(np.float64): 1e-10}
# What OpenCV calls them.
DEPTHS = {np.dtype(np.float32): cv2.CV_32F, np.dtype(np.float64): cv2.CV_64F}
# Luminance of red, green and blue (ITU-R BT.601), as in OpenCV.
LUMINANCE = np.float32((0.299, 0.587, 0.114))


def nearest_side(image: np.ndarray) -> int:
    """Returns the published side that is nearest to an image's shorter side.

    Nearest on a logarithmic scale, because the constants are lengths and strengths
    relative to the objects in the image: 28 and 64 pixels belong to 32, and 96 and 299
    pixels to 224; the limit is 85.
    """
    return 32 if min(image.shape[:2]) < _MIDDLE_SIDE else 224


def constants(table: dict, image: np.ndarray, severity: int):
    """Returns the row of a table of published constants for an image."""
    return table[nearest_side(image)][severity - 1]


def precision(image: np.ndarray) -> type:
    """Returns float64 for small images, where it is cheap, else float32.

    Small images then get the published pixels wherever the order of sums does not
    decide on them.
    """
    return np.float64 if nearest_side(image) == 32 else np.float32


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Truncates floating-point values in [0, 255] to bytes, clipped.

    The published data sets were truncated, not rounded. A value that rounding errors
    may have pushed below a whole number counts as that number, so white stays white.
    """
    flat = values.reshape(len(values), -1)
    shift = _WHOLE[values.dtype] - 0.5
    return cv2.add(flat, shift, dtype=cv2.CV_8U).reshape(values.shape)


def positive_to_bytes(values: np.ndarray) -> np.ndarray:
    """As `to_bytes` of float32 values that are negative by rounding alone, but faster.

    OpenCV drops the sign of the sum, which is of a value that becomes zero.
    """
    return cv2.convertScaleAbs(values, alpha=1, beta=_WHOLE[values.dtype] - 0.5)


def lookup(image: np.ndarray, table) -> np.ndarray:
    """Maps bytes by a table of 256 values, or of shape `(256, channels)`."""
    table = np.asarray(table).reshape(256, 1, -1)
    return cv2.LUT(image, table).reshape(image.shape)


def truncate(values: np.ndarray) -> np.ndarray:
    """Clips float64 values in [0, 1] and truncates them to bytes, as published."""
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draws one of 2**16 normal quantiles, faster than `rng.standard_normal`.

    The probabilities are exact up to 2**-17, and no number is beyond 4.33.

    Args:
        shape: Shape of the result.
        rng: The source of random numbers.

    Returns:
        float32 array.
    """
    return np.take(_quantiles(), rng.integers(0, 2**16, shape, np.uint16))


@functools.cache
def _quantiles() -> np.ndarray:
    from scipy import special

    return np.float32(special.ndtri((np.arange(2**16) + 0.5) / 2**16))


@functools.lru_cache(maxsize=64)
def _gaussian_taps(sigma: float) -> np.ndarray:
    radius = int(4 * sigma + 0.5)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return taps / taps.sum()


def gaussian(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blurs an image, of bytes or `precision(image)`, by a Gaussian.

    The filter of `skimage.filters.gaussian`: cut at four standard deviations, the
    border repeated.
    """
    taps = _gaussian_taps(sigma)
    border = cv2.BORDER_REPLICATE
    depth = DEPTHS[np.dtype(precision(image))]
    blurred = cv2.sepFilter2D(image, depth, taps, taps, borderType=border)
    return blurred.reshape(image.shape)


def motion(image: np.ndarray, radius: int, sigma: float, angle: float) -> np.ndarray:
    """Blurs bytes along a line, as `-motion-blur` of ImageMagick.

    Each pixel becomes the mean of the pixels on a ray of `2 * radius + 1` steps from
    it, weighted by half a Gaussian, the border repeated.

    Args:
        image: uint8 array of shape `(height, width, channels)`.
        radius: Half of the length.
        sigma: Standard deviation of the weights.
        angle: Direction of the ray, in degrees.

    Returns:
        float32 array of the same shape.
    """
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    # accumulateWeighted is `mean += share * (pixels - mean)`: this share of each step
    # gives the weighted mean of all steps so far.
    shares = weights / np.cumsum(weights)
    slope = math.radians(angle)
    right = np.ceil(steps * math.cos(slope) - 0.5).astype(int)
    down = np.ceil(steps * math.sin(slope) - 0.5).astype(int)
    top, left = max(0, -down.min()), max(0, -right.min())
    bottom, far = max(0, down.max()), max(0, right.max())
    border = cv2.BORDER_REPLICATE
    padded = cv2.copyMakeBorder(image, top, bottom, left, far, border)
    height, width = image.shape[:2]
    mean = np.zeros(padded[:height, :width].shape, np.float32)
    for y, x, share in zip(down + top, right + left, shares, strict=True):
        cv2.accumulateWeighted(padded[y : y + height, x : x + width], mean, share)
    return mean.reshape(image.shape)


@functools.lru_cache(maxsize=256)
def zoom_matrix(side: int, factor: float) -> np.ndarray:
    """Returns the matrix that zooms into the center of a line of pixels.

    `zoom_matrix(h, f) @ image @ zoom_matrix(w, f).T` is the published `clipped_zoom`:
    the crop of `ceil(side / factor)` pixels at the center, enlarged by
    `scipy.ndimage.zoom(order=1)`, and trimmed to the old side.

    Args:
        side: The number of pixels.
        factor: How much larger the center becomes, at least one.

    Returns:
        float64 array of shape `(side, side)`.
    """
    from scipy import ndimage

    used = center(side, factor)
    crop = used.stop - used.start
    enlarged = ndimage.zoom(np.eye(crop), (factor, 1), order=1)
    trim = (len(enlarged) - side) // 2
    matrix = np.zeros((side, side))
    matrix[:, used] = enlarged[trim : trim + side]
    return matrix


def center(side: int, factor: float) -> slice:
    """Returns where the crop of `zoom_matrix` lies."""
    crop = math.ceil(side / factor)
    start = (side - crop) // 2
    return slice(start, start + crop)
