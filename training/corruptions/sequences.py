"""Sequences of frames in which one perturbation of an image grows or moves.

The constants are those of CIFAR-10-P for images whose shorter side is nearer to 32
pixels, and of ImageNet-P for those nearer to 224. There, frames that show what lies
beyond the border of 224 pixels have it from an image of 256; here it is black, as in
CIFAR-10-P.

Reference:
    [Benchmarking Neural Network Robustness to Common Corruptions and Perturbations](
    https://arxiv.org/abs/1903.12261) (Hendrycks and Dietterich, 2019).
"""

import zlib

import cv2
import numpy as np

from training.corruptions import liquids
from training.corruptions.common import (
    gaussian,
    motion,
    nearest_side,
    precision,
    to_bytes,
    zoom_matrix,
)
from training.corruptions.single import check_images
from training.corruptions.warps import affine, moved_labels, tilted


def perturb(image: np.ndarray, name: str, seed: int = 0, index: int = 0) -> np.ndarray:
    """Perturbs an image.

    Args:
        image: uint8 array of shape `(height, width, channels)`, gray (one channel) or
            RGB, at least 8 pixels high and wide.
        name: One of `PERTURBATIONS`.
        seed: Seed of the random numbers.
        index: The number of the image in its data set; each has its own numbers.

    Returns:
        uint8 array of shape `(frames, height, width, channels)`. The noises and
        `zoom_blur` begin with the image itself.

    Example:

    >>> frames = perturb(np.full((28, 28, 1), 100, "uint8"), "brightness")
    >>> frames.shape, frames[[0, 15, 30], 0, 0, 0].tolist()
    ((31, 28, 28, 1), [42, 100, 157])
    """
    check_images(image, 3)
    function, table = PERTURBATIONS[name]
    rng = np.random.default_rng((seed, index, zlib.crc32(name.encode())))
    return function(image, rng, *table[nearest_side(image)])


def perturb_labels(labels: np.ndarray, name: str) -> np.ndarray:
    """Returns the labels of the pixels of all frames of an image.

    Args:
        labels: Integer array of shape `(height, width)`.
        name: One of `PERTURBATIONS`; only those of `MOVES` move labels.

    Returns:
        Array of shape `(frames, height, width)`.
    """
    if name in MOVES:
        return moved_labels(lambda plane: perturb(plane, name), labels)
    count = num_frames(name, np.empty((*labels.shape, 1), np.uint8))
    return np.repeat(labels[None], count, axis=0)


def num_frames(name: str, image: np.ndarray) -> int:
    """Returns how many frames a perturbation makes of an image."""
    function, table = PERTURBATIONS[name]
    if function in (translate, motion_blur):
        return len(table[nearest_side(image)][-1])
    return 31


def gaussian_noise(image, rng, scale):
    """Adds normal noise, new in each frame."""
    noise = rng.standard_normal((30, *image.shape), np.float32) * (255 * scale)
    return np.concatenate([image[None], to_bytes(noise + image)])


def shot_noise(image, rng, count):
    """Replaces a pixel `x` in [0, 1] by `Poisson(x * count) / count`."""
    rates = np.broadcast_to(image * (count / 255), (30, *image.shape))
    noisy = to_bytes(rng.poisson(rates) * (255 / count))
    return np.concatenate([image[None], noisy])


def speckle_noise(image, rng, scale):
    """Adds normal noise in proportion to the pixel."""
    noise = rng.standard_normal((30, *image.shape), np.float32) * scale
    return np.concatenate([image[None], to_bytes((noise + 1) * image)])


def motion_blur(image, rng, radius, sigma, angles):
    """Blurs along a line that turns."""
    return np.stack([to_bytes(motion(image, radius, sigma, a)) for a in angles])


def zoom_blur(image, rng, step):
    """Averages the image and more and more enlarged copies."""
    total, frames = image.astype(np.int64), [image]
    for i in range(1, 31):
        total = total + affine(image, scale=1 + step * i)
        frames.append((total // (i + 1)).astype(np.uint8))
    return np.stack(frames)


def gaussian_blur(image, rng, sigma, step):
    """Averages by a Gaussian that grows."""
    return np.stack([to_bytes(gaussian(image, sigma + step * i)) for i in range(31)])


def brightness(image, rng, step):
    """Adds to the value of the HSV color, from less to more."""
    value = image.max(axis=2, keepdims=True)
    share = image / np.maximum(value, 1)
    share[value[..., 0] == 0] = 1  # Black becomes gray.
    levels = np.arange(256) / 255
    frames = [
        to_bytes(share * 255 * np.clip(levels + step * i, 0, 1)[value])
        for i in range(-15, 16)
    ]
    return np.stack(frames)


def snow(image, rng, zoom, radius, sigma):
    """Lays flakes over a whitened image, whose direction turns."""
    height, width = image.shape[:2]
    flakes = rng.normal(0.05, 0.3, (height, width))
    flakes = zoom_matrix(height, zoom) @ flakes @ zoom_matrix(width, zoom).T
    flakes[flakes < 0.5] = 0
    flakes = to_bytes(255 * flakes)[..., None]
    pixels = image.astype(np.float32)
    gray = pixels if image.shape[2] == 1 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    white = np.maximum(pixels, gray.reshape(height, width, 1) * 1.5 + 127.5)
    whitened = np.float32(0.85) * pixels + np.float32(0.15) * white
    frames = []
    for i in range(31):
        moved = to_bytes(motion(flakes, radius, sigma, 4 * i - 150)).astype(np.float32)
        frames.append(to_bytes(whitened + moved + moved[::-1, ::-1]))
    return np.stack(frames)


def spatter(image, rng, loc, scale, blur, threshold, taps):
    """Splashes water on the image, which runs down."""
    liquid = rng.normal(loc, scale, image.shape[:2]).astype(precision(image))
    liquid = gaussian(liquid, blur)
    liquid[liquid < threshold] = 0
    running = np.stack(
        [np.convolve(unit, taps, "same") for unit in np.eye(len(liquid))], axis=1
    )
    frames = []
    for _ in range(31):
        amount = liquids.relief(liquid)
        strongest = amount.max()
        water = amount * np.float32(0.6 / strongest if strongest else 0)
        frames.append(liquids.blend(image, liquids.WATER, water, None))
        liquid = (running @ liquid).astype(liquid.dtype)
    return np.stack(frames)


def translate(image, rng, steps):
    """Moves the image to the right, black behind it."""
    reach, width = max(map(abs, steps)), image.shape[1]
    wide = np.pad(image, ((0, 0), (reach, reach), (0, 0)))
    return np.stack([wide[:, reach - step : reach - step + width] for step in steps])


def rotate(image, rng, step):
    """Turns the image clockwise."""
    return np.stack([affine(image, degrees=step * i) for i in range(-15, 16)])


def shear(image, rng, step):
    """Slants the image."""
    return np.stack([affine(image, slant=step * i) for i in range(-15, 16)])


def scale(image, rng, first, step):
    """Enlarges the image."""
    return np.stack([affine(image, scale=first + step * i) for i in range(31)])


def tilt(image, rng, step):
    """Turns the image about a horizontal and a vertical axis at once."""
    size = image.shape[1::-1]
    frames = [
        cv2.warpPerspective(image, tilted(*size, step * i), size)
        for i in range(-15, 16)
    ]
    return np.stack(frames).reshape(-1, *image.shape)


def _both(*constants):
    return {32: constants, 224: constants}


# The function, and its constants for images of 32 and of 224 pixels: of the benchmark
# on CIFAR-10 (on ImageNet it has snow in place of spatter).
_BENCHMARK = {
    "gaussian_noise": (gaussian_noise, {32: (0.02,), 224: (0.03,)}),
    "shot_noise": (shot_noise, {32: (700,), 224: (300,)}),
    "motion_blur": (
        motion_blur,
        {32: (6, 1.8, range(-180, 1, 9)), 224: (10, 3, range(-120, 1, 4))},
    ),
    "zoom_blur": (zoom_blur, _both(0.004)),
    "spatter": (
        spatter,
        {
            32: (0.6, 0.265, 1.75, 0.7, (0.2, 0.8)),
            224: (0.65, 0.27, 3.7, 0.69, (0.05, 0.1, 0.15, 0.7)),
        },
    ),
    "brightness": (brightness, {32: (0.015,), 224: (0.02,)}),
    "translate": (translate, {32: (range(-7, 9),), 224: (range(-20, 21),)}),
    "rotate": (rotate, _both(1)),
    "tilt": (tilt, {32: (0.75,), 224: (1,)}),
    "scale": (scale, {32: (0.7, 0.02), 224: (0.4, 0.025)}),
}
# To validate on, and stronger noises.
_VALIDATION = {
    "speckle_noise": (speckle_noise, _both(0.05)),
    "gaussian_blur": (gaussian_blur, {32: (0.3, 0.015), 224: (0.25, 0.035)}),
    "snow": (snow, {32: (2, 10, 2), 224: (3, 14, 4)}),
    "shear": (shear, _both(1)),
    "gaussian_noise_2": (gaussian_noise, {32: (0.04,), 224: (0.05,)}),
    "gaussian_noise_3": (gaussian_noise, {32: (0.06,), 224: (0.08,)}),
    "shot_noise_2": (shot_noise, {32: (400,), 224: (120,)}),
    "shot_noise_3": (shot_noise, {32: (200,), 224: (60,)}),
    "speckle_noise_2": (speckle_noise, {32: (0.07,), 224: (0.1,)}),
    "speckle_noise_3": (speckle_noise, {32: (0.1,), 224: (0.15,)}),
}
PERTURBATIONS = _BENCHMARK | _VALIDATION
BENCHMARK = tuple(_BENCHMARK)
# Those that move pixels, and their labels with them.
MOVES = {"translate", "rotate", "tilt", "scale", "shear"}
