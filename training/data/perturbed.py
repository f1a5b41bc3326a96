"""Sequences of perturbed frames by name: `fashion_mnist_p/brightness`."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import numpy as np

from training.corruptions import sequences as perturbations
from training.data import corrupted, grids
from training.data.image_data import DerivedImages, ImageData, read_npy


def load(name: str, split: str, data_dir: str | None, clean: Callable) -> ImageData:
    """Loads a data set of sequences, all frames of the first example first.

    If `data_dir` holds the file of CIFAR-10-P or CIFAR-100-P (`brightness.npy` of shape
    `(examples, frames, height, width, channels)`), the frames are its own. Otherwise
    they are derived from the clean images when they are indexed.

    Args:
        name: `<data set>_p/<perturbation>`; see `training.corruptions.sequences`.
        split: `"train"` or `"test"`; published sets have test images alone.
        data_dir: Folder of the published files, or of the clean data set.
        clean: Loads the clean data set.

    Returns:
        The frames; `frames` of the set says how many there are of each example. Each
        has the label of its example.

    Raises:
        ValueError: If the perturbation is not known, or a file is damaged.
    """
    base, _, rest = grids.split(name)
    grids.perturbation(rest)
    if data_dir and (path := pathlib.Path(data_dir) / f"{rest}.npy").exists():
        return _load_published(name, base, split, path)
    data = clean()
    frames = perturbations.num_frames(rest, np.empty(data.input_shape, np.uint8))
    make = functools.partial(_perturb, name=rest)
    return dataclasses.replace(
        data,
        name=f"{data.name}_p/{rest}",
        images=DerivedImages(data.images, make, f"perturbed {rest}", frames),
        labels=_labels_of_frames(data.labels, rest, frames),
        frames=frames,
        source=f"{rest} made here",
    )


def _labels_of_frames(labels, name, frames):
    """Returns the labels of all frames, where they are for each pixel as it moves."""
    if labels.ndim == 1:
        return np.repeat(labels, frames)
    return np.concatenate([perturbations.perturb_labels(own, name) for own in labels])


def _perturb(images, first, name):
    sequences = [
        perturbations.perturb(image, name, index=first + i)
        for i, image in enumerate(images)
    ]
    return np.concatenate(sequences)


def _load_published(name, base, split, path):
    corrupted.check_split(split)
    images = read_npy(path)
    if images.dtype != np.uint8 or images.ndim != 5:
        raise ValueError(
            f"'{path}' must hold uint8 images of shape (examples, frames, height, "
            f"width, channels). Received: dtype={images.dtype}, shape={images.shape}"
        )
    count, frames = images.shape[:2]
    labels = _labels(path.with_name("labels.npy"), count)
    return ImageData(
        name,
        images.reshape(-1, *images.shape[2:]),
        np.repeat(labels, frames),
        corrupted.class_names(base, labels),
        frames,
        f"published {path.name}",
    )


def _labels(path, count):
    """Reads the labels, also those of CIFAR-10-C, which are five times the same."""
    try:
        labels = read_npy(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"There is no file '{path}'. The published sequences come without labels, "
            "in the order of those of CIFAR-10-C or CIFAR-100-C: copy its labels.npy."
        ) from error
    if labels.shape not in ((count,), (5 * count,)):
        raise ValueError(
            f"'{path}' must hold a label for each of the {count} examples, or five as "
            f"that of CIFAR-10-C does. Received: shape={labels.shape}"
        )
    return np.array(labels[:count], "int32")
