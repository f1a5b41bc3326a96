"""Maps of the plane: affine ones, and a tilt in space; and of the labels of pixels."""

import functools
import math
from collections.abc import Callable

import numpy as np

from zoo.arrays import UNLABELED


def moved_labels(move: Callable, labels: np.ndarray) -> np.ndarray:
    """Moves the labels of an image as something moves its pixels.

    A pixel gets the label that most of it comes from, and none where most of it comes
    from beyond the border, which is black.

    Args:
        move: From a uint8 array of shape `(height, width, 1)` to one of shape `(...,
            height, width, 1)`: any map that moves and blends pixels, always the same.
        labels: Integer array of shape `(height, width)`.

    Returns:
        An array of the type of the labels, of shape `(..., height, width)`.
    """
    found = np.unique(labels)
    shares = np.stack(
        [move(np.uint8(255) * (labels == label)[..., None])[..., 0] for label in found]
    )
    moved = found[shares.argmax(axis=0)]
    moved[shares.sum(axis=0, dtype="int32") < 128] = UNLABELED
    return moved


def moved_all(labels: np.ndarray, move: Callable) -> np.ndarray:
    """Moves the labels of images as something moves their pixels.

    Args:
        labels: Integer array of shape `(images, height, width)`; one of shape
            `(images,)`, of whole images, is returned as it is.
        move: Called as `move(plane, index=index)`, with the index of the image: as
            that of `moved_labels`.

    Returns:
        An array of the type of the labels, of shape `(images, ...)`.
    """
    if labels.ndim == 1:
        return labels
    moves = (functools.partial(move, index=index) for index in range(len(labels)))
    return np.stack([moved_labels(*pair) for pair in zip(moves, labels, strict=True)])


def affine(
    image: np.ndarray, degrees: float = 0.0, slant: float = 0.0, scale: float = 1.0
) -> np.ndarray:
    """Maps an image about its center, bilinear, black beyond the border.

    The published maps are about the point half a pixel right of and below the center.

    Args:
        image: uint8 array of shape `(height, width, channels)`.
        degrees: How far it turns clockwise.
        slant: How far its vertical lines lean to the left below, in degrees.
        scale: How much larger it becomes.

    Returns:
        uint8 array of the same shape.
    """
    from PIL import Image

    height, width = image.shape[:2]
    angle, slant = math.radians(degrees), math.radians(degrees + slant)
    forward = np.array(
        [[math.cos(angle), -math.sin(slant)], [math.sin(angle), math.cos(slant)]]
    )
    inverse = np.linalg.inv(scale * forward)
    middle = np.array([width / 2, height / 2])
    rows = np.column_stack([inverse, middle - inverse @ middle])
    flat = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    mapped = flat.transform(
        (width, height),
        Image.Transform.AFFINE,
        rows.ravel().tolist(),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(mapped).reshape(image.shape)


@functools.lru_cache(maxsize=128)
def tilted(width: int, height: int, degrees: float) -> np.ndarray:
    """Returns the matrix of the published tilt by two equal angles.

    A camera looks from the distance `f` of an image's diagonal at its center. As
    published, the image turns about a point one pixel before it, which makes it smaller
    by `f / (f + 1)` at the angle zero.
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    distance = math.hypot(width, height)
    about_x = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    about_y = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    centered = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])
    turned = about_x @ about_y @ centered
    turned[2, 2] += distance
    camera = [[distance, 0, width / 2], [0, distance, height / 2], [0, 0, 1]]
    return np.array(camera) @ turned
