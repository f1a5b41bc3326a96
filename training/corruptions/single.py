"""The corruption of one image."""

import hashlib

import numpy as np

from training.corruptions.table import CORRUPTIONS, DETERMINISTIC, check


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
        seed: Seed of the random numbers.
        index: The number of the image in its data set; each has its own numbers.

    Returns:
        uint8 array of the same shape.

    Raises:
        ValueError: If the name, the severity, or the kind of image is not known, or
            `seed` or `index` is not a natural number.

    Example:

    >>> image = np.full((28, 28, 1), 100, "uint8")
    >>> int(corrupt(image, "brightness", 5).mean())
    176
    """
    check(name, severity)
    check_images(image, 3)
    check_natural(seed=seed, index=index)
    rng = generator(seed, index, name, severity)
    return CORRUPTIONS[name](image, severity, rng)


def generator(seed: int, index: int, name: str, severity: int):
    """Returns the random numbers of an image, None if the corruption needs none."""
    if name in DETERMINISTIC:
        return None
    key = f"{seed} {index} {name} {severity}".encode()
    digest = hashlib.blake2b(key, digest_size=32).digest()
    return np.random.Generator(np.random.PCG64(_Digest(digest)))


class _Digest(np.random.bit_generator.ISeedSequence):
    """Seeds by a hash, in half the time of `np.random.SeedSequence`.

    That counts for small images, which each have a generator of their own.
    """

    def __init__(self, digest):
        self._digest = digest

    def generate_state(self, n_words, dtype=np.uint32):
        """Returns the words that `PCG64` asks for, four of 64 bits."""
        return np.frombuffer(self._digest, "<u8", n_words).astype(dtype)


def check_images(images: np.ndarray, rank: int) -> None:
    """Raises a ValueError for what is not an image, or a stack of them for rank 4."""
    dtype, shape = getattr(images, "dtype", type(images)), np.shape(images)
    if dtype != np.uint8:
        raise ValueError(
            "Corruptions need uint8 pixels in [0, 255], as the published ones do. "
            f"Received: dtype={dtype}"
        )
    if len(shape) != rank or shape[-1] not in (1, 3) or min(shape[-3:-1]) < 8:
        count = "images, " if rank == 4 else ""
        raise ValueError(
            f"Expected the shape ({count}height, width, channels) with 1 or 3 channels "
            f"and at least 8 x 8 pixels. Received: shape={shape}"
        )


def check_natural(**values: int) -> None:
    """Raises a ValueError for what is not an integer from zero on."""
    for name, value in values.items():
        if not isinstance(value, int | np.integer) or value < 0:
            raise ValueError(
                f"`{name}` must be a natural number, zero included. "
                f"Received: {name}={value!r}"
            )
