"""The common corruptions of Hendrycks and Dietterich, 15 + 4, at five severities.

Reference:
    [Benchmarking Neural Network Robustness to Common Corruptions and Perturbations](
    https://arxiv.org/abs/1903.12261) (Hendrycks and Dietterich, 2019).
"""

import difflib
import zlib

import numpy as np

from training.corruptions import blur, digital, noise, weather
from training.corruptions.frost import frost
from training.corruptions.frost import frost_source as frost_source

SEVERITIES = (1, 2, 3, 4, 5)


def corrupt(
    image: np.ndarray, name: str, severity: int, seed: int = 0, index: int = 0
) -> np.ndarray:
    """Corrupts an image.

    The random numbers depend on the arguments alone, so that an image of a data set
    is corrupted in the same way whatever the batches and their order are.

    Args:
        image: uint8 array of shape `(height, width, channels)`, gray (one channel) or
            RGB, at least 8 pixels high and wide.
        name: One of `CORRUPTIONS`.
        severity: From 1 to 5. Its constants are the published ones for 32 or 224
            pixels, whichever is nearer to the shorter side on a logarithmic scale.
        seed: Of the random numbers.
        index: The number of the image in its data set; each has its own numbers.

    Returns:
        uint8 array of the same shape.

    Raises:
        ValueError: If the name, the severity, or the kind of image is not known.

    Example:

    >>> image = np.full((28, 28, 1), 100, "uint8")
    >>> int(corrupt(image, "brightness", 5).mean())
    176
    """
    check(name, severity)
    check_images(image, 3)
    rng = _generator(seed, index, name, severity)
    return CORRUPTIONS[name](image, severity, rng)


def _generator(seed, index, name, severity):
    if name in DETERMINISTIC:
        return None
    return np.random.default_rng((seed, index, zlib.crc32(name.encode()), severity))


def check(name: str, severity: int) -> None:
    """Raises a ValueError for an unknown corruption or severity."""
    if name not in CORRUPTIONS:
        close = difflib.get_close_matches(str(name), CORRUPTIONS, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise ValueError(
            f"Unknown corruption.{hint} Known: {', '.join(CORRUPTIONS)}. "
            f"Received: name={name}"
        )
    if isinstance(severity, bool) or severity not in SEVERITIES:
        raise ValueError(
            f"`severity` must be an integer from 1 to 5. Received: severity={severity}"
        )


def check_images(images: np.ndarray, rank: int) -> None:
    """Raises a ValueError for what is not an image, or a stack of them for rank 4."""
    dtype, shape = getattr(images, "dtype", type(images)), np.shape(images)
    if dtype != np.uint8:
        raise ValueError(
            "Corruptions need uint8 pixels in [0, 255], as the published ones do. "
            f"Received: dtype={dtype}"
        )
    if len(shape) != rank or shape[-1] not in (1, 3) or min(shape[-3:-1]) < 8:
        wanted = (
            "(images, height, width, channels)"
            if rank == 4
            else "(height, width, channels)"
        )
        raise ValueError(
            f"Expected the shape {wanted} with 1 or 3 channels and at least 8 x 8 "
            f"pixels. Received: shape={shape}"
        )


# In the published order: the 15 of the benchmark, and 4 to validate on.
CORRUPTIONS = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": frost,
    "fog": weather.fog,
    "brightness": digital.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
    "speckle_noise": noise.speckle_noise,
    "gaussian_blur": blur.gaussian_blur,
    "spatter": weather.spatter,
    "saturate": digital.saturate,
}
BENCHMARK = tuple(CORRUPTIONS)[:15]
# Those that draw no random numbers.
DETERMINISTIC = frozenset(
    ["defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression", "gaussian_blur", "saturate"]
)
