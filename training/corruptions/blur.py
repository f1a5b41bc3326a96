"""Blurs."""

import functools

import cv2
import numpy as np

from training.corruptions.common import (
    constants,
    gaussian,
    motion,
    precision,
    to_bytes,
    zoom_matrix,
)

_GAUSSIAN = {32: (0.4, 0.6, 0.7, 0.8, 1), 224: (1, 2, 3, 4, 6)}
# (radius, standard deviation of the rim)
_DEFOCUS = {
    32: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    224: ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
}
# (standard deviation, reach in pixels, repetitions)
_GLASS = {
    32: ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    224: ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
}
# (radius, standard deviation)
_MOTION = {
    32: ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    224: ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
}
# (end, step) of the zoom factors from one on
_ZOOM = {
    32: ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    224: ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
}


def gaussian_blur(image, severity, rng=None):
    """Averages by a Gaussian."""
    return to_bytes(gaussian(image, constants(_GAUSSIAN, image, severity)))


def defocus_blur(image, severity, rng=None):
    """Averages over a disk with a soft rim."""
    kernel = _disk(*constants(_DEFOCUS, image, severity))
    pixels = image.astype(precision(image))
    return to_bytes(cv2.filter2D(pixels, -1, kernel).reshape(image.shape))


@functools.lru_cache(maxsize=16)
def _disk(radius, rim):
    reach, size = (8, 3) if radius <= 8 else (radius, 5)
    line = np.arange(-reach, reach + 1)
    disk = np.float32(line[:, None] ** 2 + line**2 <= radius**2)
    disk = cv2.GaussianBlur(disk / disk.sum(), (size, size), rim)
    # Without the empty border, a small disk is a small and fast kernel.
    used = np.flatnonzero(disk.any(axis=0))
    return disk[used[0] : used[-1] + 1, used[0] : used[-1] + 1].copy()


def motion_blur(image, severity, rng):
    """Averages along a line at an angle between -45 and 45 degrees."""
    radius, sigma = constants(_MOTION, image, severity)
    return to_bytes(motion(image, radius, sigma, rng.uniform(-45, 45)))


def glass_blur(image, severity, rng):
    """Replaces pixels by random neighbors, between two Gaussian blurs.

    The published loop goes over the pixels from the last to the first and says `x[p],
    x[q] = x[q], x[p]` for a random neighbor `q`. As `x[p]` and `x[q]` are views of one
    array, it does not swap: it copies `q` to `p`. So each pixel shows the content of
    `q` before the pass if `q` comes later in the loop, and what `q` itself has got if
    `q` came earlier. Following these references gives the same pixels without a loop.
    """
    sigma, reach, repetitions = constants(_GLASS, image, severity)
    start = to_bytes(gaussian(image, sigma))
    source = None
    for _ in range(repetitions):
        step = _neighbors(*image.shape[:2], reach, rng)
        source = step if source is None else source[step]
    moved = start.reshape(-1, image.shape[2])[source].reshape(image.shape)
    return to_bytes(gaussian(moved, sigma))


def _neighbors(height, width, reach, rng):
    """Returns for each pixel the one whose content it shows after one pass."""
    source = np.arange(height * width, dtype=np.int32)
    inner = np.s_[reach + 1 : height - reach + 1, reach + 1 : width - reach + 1]
    places = source.reshape(height, width)[inner]
    down, right = rng.integers(-reach, reach, (2, *places.shape), np.int32)
    places += down * np.int32(width) + right
    # A neighbor behind the pixel was replaced before: go on from there.
    pixels = np.flatnonzero(source > np.arange(height * width))
    ahead = source[pixels]
    table = source.copy()
    while pixels.size:
        following = table[ahead]
        source[pixels] = following
        going = following > ahead
        pixels, ahead = pixels[going], following[going]
    return source


def zoom_blur(image, severity, rng=None):
    """Averages the image and enlarged copies of its center.

    The average is linear in the pixels, so all copies together are one sparse matrix,
    made once for each size and severity.
    """
    factors = constants(_ZOOM, image, severity)
    matrix = _zoom_average(*image.shape[:2], *factors, precision(image))
    planes = image.astype(matrix.dtype).reshape(-1, image.shape[2]).T.copy()
    blurred = np.stack([matrix @ plane for plane in planes], axis=-1)
    return to_bytes(blurred.reshape(image.shape))


@functools.lru_cache(maxsize=4)
def _zoom_average(height, width, end, step, dtype):
    from scipy import sparse

    factors = np.arange(1, end, step)
    total = sparse.eye_array(height * width, format="csr")
    for factor in factors:
        rows = sparse.csr_array(zoom_matrix(height, factor))
        columns = sparse.csr_array(zoom_matrix(width, factor))
        total = total + sparse.kron(rows, columns, format="csr")
    return (total / (len(factors) + 1)).astype(dtype)
