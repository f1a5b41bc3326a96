"""Images of another shape, and data sets in another size by name."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from training.corruptions.common import LUMINANCE
from training.corruptions.warps import moved_all
from training.data import grids
from training.data.image_data import DerivedImages, ImageData
from training.data.readers import image_files
from training.data.small import NoiseImages


def to_image_shape(dataset: ImageData, image_shape: tuple[int, int, int]) -> ImageData:
    """Gives the images of a data set another shape.

    The one rule for all: resized by the shorter side and cropped at the center,
    bilinear, as the images of a folder; gray becomes RGB by repetition, RGB becomes
    gray by its luminance (ITU-R BT.601), rounded. Values keep their meaning: what is
    white on black stays so. Uniform noise is drawn anew in that shape instead.

    Args:
        dataset: Any data set.
        image_shape: Height, width and channels, 1 or 3.

    Returns:
        The same examples, whose images are changed when they are indexed, and with
        them the labels of pixels; the data set itself if they have that shape.

    Raises:
        ValueError: If it is not a shape of gray or RGB images.

    Example:

    >>> from training.data import small
    >>> to_image_shape(small.digits("test"), (28, 28, 3)).input_shape
    (28, 28, 3)
    """
    shape = tuple(image_shape)
    if len(shape) != 3 or min(shape) < 1 or shape[2] not in (1, 3):
        raise ValueError(
            "`image_shape` must be a height, a width, and 1 or 3 channels. "
            f"Received: image_shape={image_shape}"
        )
    if dataset.input_shape == shape:
        return dataset
    if isinstance(dataset.images, NoiseImages):
        images = NoiseImages(len(dataset), shape, dataset.images.seed)
    else:
        make = functools.partial(_reshaped, image_shape=shape)
        key = f"adapted to {shape}"  # As in fingerprints of stored predictions.
        images = DerivedImages(
            dataset.images, make, key, image_shape=shape, scattered=True
        )
    labels = dataset.labels
    if shape[:2] != labels.shape[1:]:

        def move(plane, index):
            return _of_shape(plane, *shape[:2], 1)

        labels = moved_all(labels, move)
    return dataclasses.replace(dataset, images=images, labels=labels)


def _reshaped(images, first, image_shape):
    return np.stack([_of_shape(image, *image_shape) for image in images])


def _of_shape(image, height, width, channels):
    from PIL import Image

    gray = image.shape[2] == 1
    if image.shape[:2] != (height, width):
        flat = Image.fromarray(image[..., 0] if gray else image)
        resized = np.asarray(image_files.fit(flat, (height, width)))
        image = resized.reshape(height, width, -1)
    if gray:
        return np.repeat(image, channels, axis=2)
    if channels == 1:
        return np.rint(image @ LUMINANCE).astype(np.uint8)[..., None]
    return image


def load(name: str, split: str, data_dir: str | None, clean: Callable) -> ImageData:
    """Loads a data set whose images are resized when they are indexed.

    By the rule of `training.data.to_image_shape`, to a square. A network whose stem
    subsamples sees small images so.

    Args:
        name: `<data set>_size/<pixels>`.
        split: Split of the clean images; see `training.data.load`.
        data_dir: Where the clean images lie; see `training.data.load`.
        clean: Loads the data set as it is.

    Returns:
        The resized images with the same labels.

    Raises:
        ValueError: If it is not a valid size.
    """
    _, kind, rest = grids.split(name)
    side = grids.KINDS[kind](rest)
    data = clean()
    resized = to_image_shape(data, (side, side, data.input_shape[2]))
    return dataclasses.replace(
        resized, name=f"{data.name}_{kind}/{rest}", source=f"{data.source}, resized"
    )
