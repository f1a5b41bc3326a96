"""The validation set: training images that no training sees unless it is told to."""

import dataclasses
import os

import numpy as np

from training.data.identities import hash_bytes, of_pixels
from training.data.image_data import ChosenImages, ImageData

COUNT = 5_000  # Images for validation, or one in ten of less than 50,000.
_SHARE = 10


def part(data: ImageData, split: str, holdout: int = COUNT) -> ImageData:
    """Returns the training images without those for validation, or these.

    Which images are for validation is a function of their content alone, so it is the
    same for everyone and in any order of the files: of each class, in proportion to its
    size, those with the smallest hashes. Images that are equal, pixel by pixel, are on
    the same side, whatever their labels. Images that are decoded when they are indexed
    are chosen by the names of their files, or else by their places.

    Args:
        data: All training images.
        split: `"train"` or `"validation"`.
        holdout: How many are for validation, at most one in ten; at 0 none.

    Raises:
        ValueError: If there are none for validation.
    """
    if type(holdout) is not int or holdout < 0:
        raise ValueError(
            "`holdout` is a number of images, 0 for no validation set. Received: "
            f"holdout={holdout}"
        )
    count = min(holdout, len(data) // _SHARE)
    if not count and split == "train":
        return data
    if not count:
        raise ValueError(
            f"Data set '{data.name}' has no validation set: of its {len(data)} "
            f"training images up to one in {_SHARE} is held out for it. Train on all "
            f"of them with holdout=0. Received: holdout={holdout}"
        )
    chosen = choose(identities(data.images), data.strata, count)
    if split == "validation" and not chosen.any():
        raise ValueError(
            f"Data set '{data.name}' has no validation set: no class has an image to "
            "spare beside one for training, or equal images are too many. Train on all "
            f"of them with holdout=0. Received: holdout={holdout}, {len(data)} images "
            f"of {len(data.classes)} classes"
        )
    index = np.flatnonzero(chosen == (split == "validation"))
    is_array = isinstance(data.images, np.ndarray)
    images = data.images[index] if is_array else ChosenImages(data.images, index)
    labels, held_out = data.labels[index], int(chosen.sum())
    return dataclasses.replace(data, images=images, labels=labels, held_out=held_out)


def identities(images) -> np.ndarray:
    """Returns a number for each image that is equal for equal images.

    Args:
        images: uint8 array of shape `(images, height, width, channels)`, of which these
            are `training.data.identities.of_pixels`; or an object with `paths`, which
            are hashed in place of the pixels; or any other, of which they are random.

    Returns:
        uint64 array of shape `(images,)`.
    """
    if isinstance(images, np.ndarray):
        return of_pixels(images)
    if hasattr(images, "paths"):
        names = (os.fsencode("/".join(path.parts[-2:])) for path in images.paths)
        return np.array([hash_bytes(name) for name in names], "uint64")
    return np.random.default_rng(0).integers(2**64, size=len(images), dtype="u8")


def choose(identities: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Chooses examples of each class in proportion to its size.

    Args:
        identities: uint64 array of shape `(examples,)`; examples with the same number
            are chosen together or not at all.
        labels: Integer array of shape `(examples,)`.
        count: How many to choose.

    Returns:
        Boolean array of shape `(examples,)`. There are fewer than `count` if groups of
        equal examples are too large, and at least one example of each class is left.
    """
    left = _quotas(np.bincount(labels), count)
    order = np.argsort(identities, kind="stable")
    starts = np.flatnonzero(np.diff(identities[order])) + 1
    chosen = np.zeros(len(labels), bool)
    for group in np.split(order, starts):
        wanted = np.bincount(labels[group], minlength=len(left))
        if (wanted <= left).all():
            chosen[group] = True
            left -= wanted
            if not left.any():
                break
    return chosen


def _quotas(counts, count):
    """Returns integers in proportion to counts: what is left goes to the largest."""
    exact = counts * (count / counts.sum())
    quotas = exact.astype(int)
    largest = np.argsort(quotas - exact, kind="stable")
    quotas[largest[: count - quotas.sum()]] += 1
    return np.minimum(quotas, np.maximum(counts - 1, 0))
