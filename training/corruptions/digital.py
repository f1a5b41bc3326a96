"""Brightness, contrast and saturation; elastic, pixelate and JPEG."""

import functools

import cv2
import numpy as np

from training.corruptions.common import (
    constants,
    lookup,
    nearest_side,
    positive_to_bytes,
    to_bytes,
    truncate,
)

_BRIGHTNESS = {32: (0.05, 0.1, 0.15, 0.2, 0.3), 224: (0.1, 0.2, 0.3, 0.4, 0.5)}
_CONTRAST = {32: (0.75, 0.5, 0.4, 0.3, 0.15), 224: (0.4, 0.3, 0.2, 0.1, 0.05)}
# (factor, offset) of the saturation
_SATURATE = {
    32: ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    224: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
}
# (amplitude, smoothness, shift of the corners), as fractions of the side
_ELASTIC = {
    32: ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06))
    + ((0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    224: ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02))
    + ((0.07, 0.01, 0.02), (0.12, 0.01, 0.02)),
}
_PIXELATE = {32: (0.95, 0.9, 0.85, 0.75, 0.65), 224: (0.6, 0.5, 0.4, 0.3, 0.25)}
_JPEG = {32: (80, 65, 58, 50, 40), 224: (25, 18, 15, 10, 7)}


def contrast(image, severity, rng=None):
    """Moves the values toward the mean of their channel."""
    factor = constants(_CONTRAST, image, severity)
    means = np.array(cv2.mean(image)[: image.shape[2]]) / 255
    levels = np.arange(256)[:, None] / 255
    return lookup(image, truncate((levels - means) * factor + means))


def brightness(image, severity, rng=None):
    """Adds to the value of the HSV color.

    Hue and saturation stay, so all channels grow in proportion to the largest.
    """
    added = constants(_BRIGHTNESS, image, severity)
    table, growth = _brightness_tables(added)
    if image.shape[2] == 1:
        return lookup(image, table)
    planes = _planes(image)
    value = functools.reduce(cv2.max, planes)
    brighter, growth = cv2.LUT(value, table), cv2.LUT(value, growth)
    # The largest channel comes from the table, in float64 as published.
    results = [
        cv2.copyTo(
            brighter,
            cv2.compare(plane, value, cv2.CMP_EQ),
            positive_to_bytes(plane * growth),
        )
        for plane in planes
    ]
    return cv2.merge(results)


def _planes(image):
    """Returns the channels; arrays that OpenCV makes for them take longer to fill."""
    empty = [np.empty(image.shape[:2], np.uint8) for _ in range(image.shape[2])]
    return cv2.split(image, empty)


@functools.lru_cache(maxsize=16)
def _brightness_tables(added):
    levels = np.arange(256) / 255
    brighter = np.clip(levels + added, 0, 1)
    growth = np.float32(brighter[1:] / levels[1:])
    return truncate(brighter), np.concatenate([growth[:1], growth])


def saturate(image, severity, rng=None):
    """Scales the saturation of the HSV color; a gray image has none to scale.

    Hue and value stay, so a channel's distance from the largest one grows in
    proportion to the saturation. Gray pixels have hue zero: an offset makes them red.
    """
    if image.shape[2] == 1:
        return image.copy()
    factor, offset = constants(_SATURATE, image, severity)
    planes = _planes(image)
    value = functools.reduce(cv2.max, planes)
    spread = cv2.subtract(value, functools.reduce(cv2.min, planes))
    exact = value.astype("float32")
    # One over the saturation; of gray it is infinite, and of black no number.
    growth = cv2.divide(exact, spread.astype("float32"))
    limit = factor
    if offset:
        limit = offset * growth
        limit += np.float32(factor)
    growth = cv2.min(growth, limit)
    results, part = [], np.empty_like(exact)
    for plane in planes:
        cv2.multiply(cv2.subtract(value, plane), growth, dst=part, dtype=cv2.CV_32F)
        cv2.subtract(exact, part, dst=part)
        results.append(positive_to_bytes(part))
    if offset and cv2.countNonZero(spread) < spread.size:  # All of gray is replaced.
        _, gray = cv2.threshold(spread, 0, 255, cv2.THRESH_BINARY_INV)
        paler = cv2.LUT(value, _paler(offset))
        for result, color in zip(results, (value, paler, paler), strict=True):
            cv2.copyTo(color, gray, result)
    return cv2.merge(results)


@functools.lru_cache(maxsize=16)
def _paler(offset):
    """Returns what is left of the other channels of gray by a saturation."""
    return truncate(np.arange(256) / 255 * (1 - offset))


def elastic_transform(image, severity, rng):
    """Moves the pixels by a random affine map and a smooth random field.

    The published constants are fractions of the side of 32 and, for images of 224, of
    244 pixels; other sizes take the same fractions of their shorter side.
    """
    height, width = image.shape[:2]
    side = min(height, width) * (244 / 224 if nearest_side(image) == 224 else 1)
    fractions = constants(_ELASTIC, image, severity)
    amplitude, smoothness, shift = (fraction * side for fraction in fractions)
    pixels = _sheared(np.float32(image), shift, rng)
    field = rng.random((2, height, width), np.float32) * 2 - 1
    if not amplitude:
        return to_bytes(pixels.reshape(image.shape))
    right, down = np.float32(amplitude) * _smoothed(field, smoothness)
    down += np.arange(height, dtype=np.float32)[:, None]
    right += np.arange(width, dtype=np.float32)
    return to_bytes(_sampled(pixels, down, right).reshape(image.shape))


def _sheared(pixels, shift, rng):
    """Maps three points near the center to points that are shifted at random."""
    center = np.float32(pixels.shape[:2]) // 2
    reach = min(pixels.shape[:2]) // 3
    corner = [center[0] + reach, center[1] - reach]
    points = np.float32([center + reach, corner, center - reach])
    moved = points + np.float32(rng.uniform(-shift, shift, points.shape))
    affine = cv2.getAffineTransform(points, moved)
    size, border = pixels.shape[1::-1], cv2.BORDER_REFLECT_101
    return cv2.warpAffine(pixels, affine, size, borderMode=border)


def _smoothed(field, sigma):
    """Applies the published Gaussian filter to the last two axes.

    The filter mirrors at the border, so it is a product after a cosine transform,
    which does not take longer when the filter is wider than the image.
    """
    from scipy import fft

    axes = (1, 2)
    waves = fft.dctn(field, axes=axes)
    waves *= np.outer(*(_response(side, sigma) for side in field.shape[1:]))
    return fft.idctn(waves, axes=axes)


@functools.lru_cache(maxsize=16)
def _response(side, sigma):
    radius = int(3 * sigma + 0.5)
    steps = np.arange(-radius, radius + 1)
    taps = np.exp(-0.5 * (steps / sigma) ** 2)
    waves = np.cos(np.pi / side * np.outer(np.arange(side), steps))
    return np.float32(waves @ taps / taps.sum())


def _sampled(pixels, down, right):
    """Interpolates linearly at coordinates, the image mirrored at its border.

    As `scipy.ndimage.map_coordinates(order=1, mode="reflect")`. The weights are
    exact, unlike those of `cv2.remap`, which has steps of 1/32; only its nearest
    pixels are used.
    """
    rows, columns = np.floor(down), np.floor(right)
    down, right = down - rows, right - columns
    total = 0
    for row, below in enumerate((1 - down, down)):
        for column, beside in enumerate((1 - right, right)):
            corner = cv2.remap(
                pixels,
                columns + np.float32(column),
                rows + np.float32(row),
                cv2.INTER_NEAREST,
                borderMode=cv2.BORDER_REFLECT,
            )
            weights = cv2.merge([below * beside] * (corner.size // down.size))
            total = (
                cv2.add(total, corner * weights) if row or column else corner * weights
            )
    return total


def pixelate(image, severity, rng=None):
    """Averages over blocks."""
    from PIL import Image

    height, width, channels = image.shape
    scale = constants(_PIXELATE, image, severity)
    size = max(1, int(width * scale)), max(1, int(height * scale))
    # `Image.fromarray` and `np.asarray` take twice as long for small images.
    kind = "L" if channels == 1 else "RGB"
    pixels = np.ascontiguousarray(image)
    small = Image.frombuffer(kind, (width, height), pixels, "raw", kind, 0, 1)
    small = small.resize(size, Image.Resampling.BOX)
    small = np.frombuffer(small.tobytes(), np.uint8).reshape(*size[::-1], channels)
    rows, columns = _nearest(height, size[1]), _nearest(width, size[0])
    return np.take(np.take(small, columns, axis=1), rows, axis=0)


@functools.lru_cache(maxsize=32)
def _nearest(side, small):
    """Returns the pixels that an enlarging box filter takes."""
    return ((np.arange(side) + 0.5) * (small / side)).astype(np.intp)


def jpeg_compression(image, severity, rng=None):
    """Compresses and decompresses as JPEG.

    OpenCV gives the same pixels as Pillow, with which the published sets were made,
    because both leave the work to libjpeg with the same settings.
    """
    gray = image.shape[2] == 1
    swapped = image if gray else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    quality = cv2.IMWRITE_JPEG_QUALITY, constants(_JPEG, image, severity)
    _, file = cv2.imencode(".jpg", swapped, quality)
    decoded = cv2.imdecode(file, cv2.IMREAD_UNCHANGED)
    decoded = decoded if gray else cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return decoded.reshape(image.shape)
