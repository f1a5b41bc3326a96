"""Snow, fog, and spatter; `frost.py` has the fourth kind of weather."""

import functools
import math

import cv2
import numpy as np

from training.corruptions import liquids
from training.corruptions.common import (
    center,
    constants,
    gaussian,
    motion,
    normal,
    to_bytes,
    zoom_matrix,
)

# (mean and standard deviation of the flakes, zoom, threshold, radius and standard
# deviation of their motion, share of the image)
_SNOW = {
    32: (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    224: (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
}
# (weight, decay of the roughness from one scale to the next)
_FOG = {
    32: ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    224: ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
}
# (mean and standard deviation of the liquid, its blur, threshold, strength of water or
# blur of mud, whether it is mud)
_SPATTER = {
    32: (
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    224: (
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
}


def snow(image, severity, rng):
    """Lays moving flakes over a whitened image."""
    loc, scale, zoom, threshold, *path, share = constants(_SNOW, image, severity)
    size = [_used(side, zoom) for side in image.shape[:2]]  # The rest is cropped.
    flakes = normal(size, rng) * scale + loc
    if zoom > 1:
        flakes = _stretched(flakes.T, image.shape[1], zoom).T
        flakes = _stretched(flakes, image.shape[0], zoom)
    _, flakes = cv2.threshold(flakes, threshold, 0, cv2.THRESH_TOZERO)
    flakes = to_bytes(255 * flakes)[..., None]
    flakes = to_bytes(motion(flakes, *path, rng.uniform(-135, -45))).astype(np.float32)
    flakes = flakes[..., 0] + flakes[::-1, ::-1, 0]

    pixels = image.astype(np.float32)
    gray = pixels if image.shape[2] == 1 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    white = cv2.scaleAdd(gray, 1.5, np.full_like(gray, 127.5))
    snowed = [
        share * plane + (1 - share) * cv2.max(plane, white) + flakes
        for plane in cv2.split(pixels)
    ]
    return to_bytes(cv2.merge(snowed).reshape(image.shape))


def _used(side, factor):
    crop = center(side, factor)
    return crop.stop - crop.start


def _stretched(lines, side, factor):
    """Applies `zoom_matrix` to the lines in the center, all that a zoom uses."""
    first, second, share = _neighbors(side, factor)
    return lines[first] * (1 - share) + lines[second] * share


@functools.lru_cache(maxsize=16)
def _neighbors(side, factor):
    """Returns the two lines that each enlarged one mixes, and the second's share."""
    matrix = zoom_matrix(side, factor)[:, center(side, factor)]
    first = np.argmax(matrix > 0, axis=1)
    share = 1 - matrix[np.arange(side), first]
    second = np.minimum(first + 1, matrix.shape[1] - 1)
    return first, second, np.float32(share)[:, None]


def fog(image, severity, rng):
    """Lays a fractal fog over the image and scales back to its brightest value."""
    weight, decay = constants(_FOG, image, severity)
    height, width = image.shape[:2]
    side = 1 << math.ceil(math.log2(max(height, width)))
    brightest = float(image.max()) / 255
    scale = brightest / (brightest + weight)
    haze = _plasma(side, decay, rng)[:height, :width] * np.float32(255 * weight * scale)
    layers = cv2.merge([haze] * image.shape[2]).reshape(image.shape)
    return to_bytes(cv2.scaleAdd(np.float32(image), scale, layers).reshape(image.shape))


def _plasma(side, decay, rng):
    """Returns a height map by the diamond-square algorithm on a torus, in [0, 1]."""
    heights = np.zeros((side, side), np.float32)
    step, roughness = side, 100.0
    while step >= 2:
        half = step // 2
        noise = rng.random((3, side // step, side // step), np.float32) * 2 - 1
        noise *= roughness**2
        corners = heights[::step, ::step]
        upper = corners + _following(corners, 1)
        left = corners + _following(corners, 0)
        centers = 0.25 * (left + _following(left, 1)) + noise[0]
        heights[half::step, half::step] = centers
        between = centers + _previous(centers, 0)
        heights[::step, half::step] = 0.25 * (between + upper) + noise[1]
        between = centers + _previous(centers, 1)
        heights[half::step, ::step] = 0.25 * (between + left) + noise[2]
        step, roughness = half, roughness / decay
    heights -= heights.min()
    return heights / max(heights.max(), np.finfo(np.float32).tiny)


def _following(array, axis):
    """Returns `np.roll(array, -1, axis)` with less overhead."""
    if axis == 0:
        return np.concatenate((array[1:], array[:1]))
    return np.concatenate((array[:, 1:], array[:, :1]), axis=1)


def _previous(array, axis):
    """Returns `np.roll(array, 1, axis)` with less overhead."""
    if axis == 0:
        return np.concatenate((array[-1:], array[:-1]))
    return np.concatenate((array[:, -1:], array[:, :-1]), axis=1)


def spatter(image, severity, rng):
    """Splashes water (severities 1 to 3) or mud (4 and 5) on the image."""
    loc, scale, blur, threshold, strength, is_mud = constants(_SPATTER, image, severity)
    liquid = gaussian(normal(image.shape[:2], rng) * scale + loc, blur)
    if is_mud:
        amount = gaussian((liquid > threshold).astype(liquid.dtype), strength)
        amount[amount < 0.8] = 0
        return liquids.blend(image, liquids.MUD, amount, 1 - amount)
    _, liquid = cv2.threshold(liquid, threshold, 0, cv2.THRESH_TOZERO)
    amount = liquids.relief(liquid)
    most = amount.max()
    if not most:
        return image.copy()
    return liquids.blend(image, liquids.WATER, amount * (strength / most), None)
