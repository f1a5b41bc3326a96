"""Rotated and translated data sets by name: `fashion_mnist_rotation/45`.

Reference:
    [Can You Trust Your Model's Uncertainty?](https://arxiv.org/abs/1906.02530)
    (Ovadia et al., 2019), whose shifts of MNIST these are.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from training.corruptions import warps
from training.data import grids
from training.data.image_data import DerivedImages, ImageData
from zoo import arrays


def rotate(images: np.ndarray, degrees: float) -> np.ndarray:
    """Rotates images counterclockwise about their center.

    By a cubic spline, black beyond the border, as published; but about the exact
    center, where the published crop of the rotated image is off by half a pixel at
    some angles. Rounded to the nearest byte.

    Args:
        images: uint8 array of shape `(images, height, width, channels)`.
        degrees: The angle.

    Returns:
        uint8 array of the same shape.

    Example:

    >>> image = np.array([[[[10], [20]], [[30], [40]]]], "uint8")
    >>> rotate(image, 90)[0, ..., 0].tolist()
    [[20, 40], [10, 30]]
    """
    from scipy import ndimage

    arrays.check_images(images)
    rotated = np.empty(images.shape, np.uint8)
    for image, target in zip(images, rotated, strict=True):
        for channel in range(image.shape[-1]):
            values = ndimage.rotate(
                image[..., channel].astype(np.float64), degrees, reshape=False
            )
            target[..., channel] = np.clip(np.rint(values), 0, 255)
    return rotated


def translate(images: np.ndarray, pixels: int) -> np.ndarray:
    """Moves images to the right; what leaves there enters on the left, as published.

    Args:
        images: uint8 array of shape `(images, height, width, channels)`.
        pixels: How far; to the left if negative.

    Returns:
        uint8 array of the same shape.

    Example:

    >>> translate(np.array([[[[1], [2], [3]]]], "uint8"), 1)[0, 0, :, 0].tolist()
    [3, 1, 2]
    """
    arrays.check_images(images)
    return np.roll(images, pixels, axis=2)


def load(name: str, split: str, data_dir: str | None, clean: Callable) -> ImageData:
    """Loads a shifted data set, whose images are derived when they are indexed.

    Args:
        name: `<data set>_rotation/<degrees>` or `<data set>_translation/<pixels>`.
        split: Split of the clean images; see `training.data.load`.
        data_dir: Where the clean images lie; see `training.data.load`.
        clean: Loads the clean data set.

    Returns:
        The shifted images with the labels of the clean ones; with a label for each
        pixel, these are shifted too.

    Raises:
        ValueError: If it is not a valid angle or number of pixels.
    """
    _, kind, rest = grids.split(name)
    amount = grids.KINDS[kind](rest)
    data = clean()
    make = functools.partial(_SHIFTS[kind], amount)
    images = DerivedImages(data.images, make, f"{kind} {amount}")

    def move(plane, index):
        return make(plane[None], index)[0]

    return dataclasses.replace(
        data,
        name=f"{data.name}_{kind}/{rest}",
        images=images,
        labels=warps.moved_all(data.labels, move),
        source=f"{kind} of it",
    )


def _rotated(degrees, images, first):
    return rotate(images, degrees)


def _translated(pixels, images, first):
    return translate(images, pixels)


# By what follows the name of the clean data set. Functions of a module can be pickled.
_SHIFTS = {"rotation": _rotated, "translation": _translated}
