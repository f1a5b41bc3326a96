"""The corruption of a part of an array, on one core."""

from collections.abc import Sequence

import numpy as np

from training.corruptions.single import generator
from training.corruptions.table import CORRUPTIONS, POINTWISE

# Pixels that a corruption which treats every pixel alone takes at once.
_STACK = 2**16


def corrupt_part(
    images: np.ndarray,
    corrupted: np.ndarray,
    start: int,
    stop: int,
    name: str,
    severity: int,
    seed: int,
    numbers: Sequence[int],
) -> None:
    """Writes `corrupted[start:stop]` on one core; see `corrupt_all`.

    The two arrays may be one.
    """
    corruption = CORRUPTIONS[name]
    height, width = images.shape[1:3]
    if name in POINTWISE and width <= height:
        # Small images on top of one another are one image of the same width.
        many = max(1, _STACK // (height * width))
        for top in range(start, stop, many):
            bottom = min(top + many, stop)
            stack = np.ascontiguousarray(images[top:bottom])
            tall = corruption(stack.reshape(-1, *images.shape[2:]), severity)
            corrupted[top:bottom] = tall.reshape(stack.shape)
        return
    for index in range(start, stop):
        rng = generator(seed, numbers[index], name, severity)
        image = np.ascontiguousarray(images[index])
        corrupted[index] = corruption(image, severity, rng)
