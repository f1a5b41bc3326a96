"""Data sets by name: images and labels that can be addressed by index."""

import functools
import gzip
import os
import pathlib
import struct

import numpy as np
from absl import logging

from training import (
    cifar_files,
    corrupted,
    folders,
    names,
    ood,
    perturbed,
    prepared,
    resized,
    shifted,
    validation,
)
from training.images import ImageData as ImageData
from training.names import expand as expand
from training.names import grid as grid
from training.ood import adapt as adapt

ASSETS = pathlib.Path(__file__).parent / "assets"
# Where the Debian package `dataset-fashion-mnist` puts its four files.
DEBIAN = pathlib.Path("/usr/share/datasets/fashion-mnist")
SPLITS = ("train", "validation", "test")
IMAGE_SIZE = (224, 224)


def load(
    name: str,
    split: str = "train",
    data_dir: str | None = None,
    image_size: tuple[int, int] | None = None,
    holdout: int = validation.COUNT,
) -> ImageData:
    """Loads a data set.

    `docs/data.md` has a table of all names.

    Args:
        name: `"fashion_mnist"`, `"cifar10"`, `"cifar100"`, `"cifar100/coarse"`,
            `"mnist"`, `"digits"`, `"noise"`, another image classification set of
            TensorFlow Datasets (`"svhn_cropped"`, `"emnist/letters"`), or the path of a
            folder with one folder of images for each class, possibly inside folders of
            splits such as `train` and `val`. Any of them shifted:
            `"fashion_mnist_c/fog/3"`, `"fashion_mnist_rotation/45"`,
            `"fashion_mnist_translation/4"`, `"fashion_mnist_p/brightness"`,
            `"fashion_mnist_size/64"`.
        split: `"train"`, `"validation"` or `"test"`, which have no image in common. The
            validation set is what its publisher calls so beside a test set, or else a
            part of the training set; see `training.validation.part`. A folder without
            folders of splits is split by the file names, nine to one; see
            `training.folders.load_folder`. Or `"all"`, for all images of a folder, of
            `"digits"` and of the 5,000 of `"mnist"`.
        data_dir: Where the data lie: the four IDX files for Fashion-MNIST, the files of
            CIFAR as published (see `training.cifar_files.load`), published corrupted or
            perturbed sets, else the `data_dir` of TensorFlow Datasets. By default
            Fashion-MNIST comes from the package (test images), from the Debian package
            `dataset-fashion-mnist`, or from TensorFlow Datasets, the first that has it.
        image_size: Height and width of images that have no size of their own, those of
            folders, some of TensorFlow Datasets, and noise. They are resized by the
            shorter side, then cropped at the center. By default the images of a folder
            that all have one size keep it; otherwise it is 224 x 224.
        holdout: How many training images are for validation, at most one in ten; at 0
            all are for training.

    Returns:
        The images and labels.

    Raises:
        ValueError: If the data set or split is not known, or a file is damaged.
        FileNotFoundError: If the files are not there.
    """
    if split not in (*SPLITS, "all"):
        raise ValueError(
            f"`split` must be one of {', '.join(SPLITS)}, all. Received: split={split}"
        )
    if made := names.split(name):
        base, kind, _ = made
        clean = functools.partial(load, base, split, data_dir, image_size, holdout)
        return MADE[kind](name, split, data_dir, clean)
    if split in ("test", "all") or _publishes_validation(name, data_dir):
        return _load_published(name, split, data_dir, image_size)
    whole = _load_published(name, "train", data_dir, image_size)
    return validation.part(whole, split, holdout)


def _publishes_validation(name, data_dir) -> bool:
    if (folder := pathlib.Path(name)).is_dir():
        return {"validation", "test"} <= set(folders.splits(folder))
    if name in NAMED:
        return False
    _check_name(name)
    return prepared.has_validation(name, data_dir)


def _load_published(name, split, data_dir, image_size):
    """Loads a split as it is published."""
    if pathlib.Path(name).is_dir():
        folder = pathlib.Path(name)
        size = image_size or folders.own_size(folder) or IMAGE_SIZE
        images, labels, classes, source = folders.load_folder(folder, split, size)
        return ImageData(folders.name_of(folder), images, labels, classes, 1, source)
    if split == "all" and name not in ood.WHOLE:
        raise ValueError(
            f"All images together are there of folders, {', '.join(ood.WHOLE)}. "
            f"Received: name={name}, split={split}"
        )
    image_size = image_size or IMAGE_SIZE
    if name in NAMED:
        return NAMED[name](split, data_dir, image_size)
    _check_name(name)
    return prepared.load(name, split, data_dir, image_size)


def _check_name(name):
    """Tells a folder that is not there from a set of TensorFlow Datasets."""
    if ("/" in name or "\\" in name) and not prepared.is_known(name):
        raise FileNotFoundError(
            f"There is no folder '{name}' to take images from. What is made of a data "
            f"set is named {', '.join(f'<data set>_{kind}/...' for kind in MADE)}."
        )


def load_ood(
    name: str,
    image_shape: tuple[int, int, int],
    split: str = "test",
    data_dir: str | None = None,
) -> ImageData:
    """Loads a data set to be told from that of a model, in the shape of its images.

    Args:
        name: What `load` takes. `"digits"`, the 5,000 images of `"mnist"` and folders
            without folders of splits are taken whole, as no part of them was trained
            on.
        image_shape: Of the model; see `adapt` for the rule.
        split: See `load`.
        data_dir: See `load`.

    Returns:
        Images of that shape. The labels mean nothing to the model.
    """
    if split in SPLITS and is_undivided(name):
        split = "all"
    return adapt(load(name, split, data_dir, image_shape[:2]), image_shape)


def base_of(name: str) -> str:
    """Returns the name of the set that others are made of, `"a"` of `"a_c/fog/3"`."""
    while made := names.split(name):
        name = made[0]
    return name


def is_undivided(name: str) -> bool:
    """Returns whether nothing but a rule of this package divides a set into splits."""
    base = base_of(name)
    if pathlib.Path(base).is_dir():
        return not folders.splits(pathlib.Path(base))
    return base in ood.WHOLE


def own_size(name: str) -> tuple[int, int] | None:
    """Returns the height and width of images of a folder that all have one; else None.

    Args:
        name: What `load` takes.
    """
    folder = pathlib.Path(base_of(name))
    return folders.own_size(folder) if folder.is_dir() else None


def absolute(name: str) -> str | None:
    """Returns the name of a data set of a folder from any working directory.

    Args:
        name: What `load` takes.

    Returns:
        The name with the absolute path, also of what is made of a folder; None for a
        data set that is no folder.

    Example:

    >>> absolute("fashion_mnist_size/64")
    """
    base = base_of(name)
    if not pathlib.Path(base).is_dir():
        return None
    return f"{os.path.abspath(base)}{name.removeprefix(base)}"


def default_count(count: int | None, default: int, there: int, use: str) -> int:
    """Returns a number of images: as asked, or a default that there are, and says so.

    Args:
        count: What was asked for; None is nothing.
        default: For that case, if there are as many.
        there: The number of images.
        use: What they are for, in a word.
    """
    if count is not None:
        return count
    if there < default:
        logging.warning(
            "The %s takes all %d images in place of %d.", use, there, default
        )
    return min(default, there)


_IDX_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def read_idx(path: pathlib.Path) -> np.ndarray:
    """Reads a gzipped IDX file of unsigned bytes.

    Args:
        path: The file.

    Returns:
        uint8 array.

    Raises:
        ValueError: If the file is truncated or not of this format.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
        zero, kind, rank = struct.unpack(">HBB", content[:4])
        shape = struct.unpack(f">{rank}I", content[4 : 4 + 4 * rank])
        if zero or kind != 8:
            raise ValueError("not an IDX file of unsigned bytes")
        return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (EOFError, OSError, ValueError, struct.error) as error:
        raise ValueError(f"Cannot read the IDX file '{path}': {error}") from error


def _load_idx(name, folder, split):
    images, labels = (read_idx(folder / file) for file in _IDX_FILES[split])
    labels = labels.astype("int32")
    source = f"{_IDX_FILES[split][0]} and its labels"
    return ImageData(
        name, images[..., None], labels, FASHION_MNIST_CLASSES, source=source
    )


def _load_fashion_mnist(split, data_dir, image_size):
    name = "fashion_mnist"
    for folder in [pathlib.Path(data_dir)] if data_dir else [ASSETS / name, DEBIAN]:
        if (folder / _IDX_FILES[split][0]).exists():
            return _load_idx(name, folder, split)
    return prepared.load(name, split, data_dir)


def _load_cifar(split, data_dir, image_size, name):
    found = cifar_files.load(name, split, data_dir)
    if found is not None:
        return found
    layouts = cifar_files.LAYOUTS[name.partition("/")[0]]
    expected = " or ".join(f"{x.folder} ({x.archives[0]})" for x in layouts)
    try:
        if "/" in name:
            raise FileNotFoundError(
                f"Data set '{name}' is read from published files alone, and data_dir="
                f"{data_dir} has none."
            )
        return prepared.load(name, split, data_dir)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error} As published, {name} is in {expected}; give the folder, or the "
            "archive as downloaded, as data_dir."
        ) from error


# Sets with a reader of their own; others are taken from TensorFlow Datasets.
NAMED = {
    "fashion_mnist": _load_fashion_mnist,
    **{n: functools.partial(_load_cifar, name=n) for n in cifar_files.NAMES},
    **ood.SMALL,
}
# Sets that are made of another one, by what follows its name; see `training.names`.
MADE = {
    "c": corrupted.load,
    "rotation": shifted.load,
    "translation": shifted.load,
    "p": perturbed.load,
    "size": resized.load,
}
