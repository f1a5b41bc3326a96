"""Data sets by name: images and labels that can be addressed by index."""

import functools
import os
import pathlib
from collections.abc import Sequence

from absl import logging

from training.data import (
    camvid,
    corrupted,
    functions,
    grids,
    perturbed,
    resize,
    shifted,
    small,
    tables,
    validation,
)
from training.data.image_data import ImageData
from training.data.readers import (
    cifar_files,
    folders,
    mask_folders,
    number_files,
    tfds,
)
from training.data.readers.fashion_mnist import load_fashion_mnist
from training.data.resize import to_image_shape
from zoo import dataset_name, spelling
from zoo.storage import urls

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
            splits such as `train` and `val`; or, with a number to predict, the path of
            a `.csv` or `.npz` file, see `training.data.readers.number_files`,
            `"diabetes"`, `"california_housing"`, `"friedman1"` to `"friedman3"`, or
            `"function_abs"` and others of `training.data.functions`; or, with a label
            for each pixel,
            `"camvid"` or a folder of images and masks, see
            `training.data.readers.mask_folders`. Any of them shifted:
            `"fashion_mnist_c/fog/3"`, `"fashion_mnist_rotation/45"`,
            `"fashion_mnist_translation/4"`, `"fashion_mnist_p/brightness"`,
            `"fashion_mnist_size/64"`.
        split: `"train"`, `"validation"` or `"test"`, which have no image in common. The
            validation set is what its publisher calls so beside a test set, or else a
            part of the training set; see `training.data.validation.part`. A folder
            without folders of splits is split by the file names, nine to one; see
            `training.data.readers.folders.load_folder`. Or `"all"`, for all images of a
            folder, of `"digits"` and of the 5,000 of `"mnist"`.
        data_dir: Where the data lie: the four IDX files for Fashion-MNIST, the files of
            CIFAR as published (see `training.data.readers.cifar_files.load`), published
            corrupted or perturbed sets, else the `data_dir` of TensorFlow Datasets. By
            default, or where that has none, Fashion-MNIST comes from the package (test
            images), from the Debian package `dataset-fashion-mnist`, or from TensorFlow
            Datasets, the first that has it.
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
    if derived := grids.split(name):
        base, kind, _ = derived
        clean = functools.partial(load, base, split, data_dir, image_size, holdout)
        return DERIVED[kind](name, split, data_dir, clean)
    if split in ("test", "all") or publishes_validation(name, data_dir):
        return _load_published(name, split, data_dir, image_size)
    whole = _load_published(name, "train", data_dir, image_size)
    return validation.part(whole, split, holdout)


def publishes_validation(name: str, data_dir: str | None = None) -> bool:
    """Returns whether a set has a validation set of its publisher beside a test set."""
    if (folder := pathlib.Path(name)).is_dir():
        return {"validation", "test"} <= _splits(folder)
    if number_files.is_one(name):
        return False
    if name in NAMED:
        return name in WITH_VALIDATION
    _check_name(name)
    return tfds.has_validation(name, data_dir)


def _load_published(name, split, data_dir, image_size):
    """Loads a split as it is published."""
    if number_files.is_one(name):
        return number_files.load(name, split)
    if pathlib.Path(name).is_dir():
        folder = pathlib.Path(name)
        if mask_folders.is_one(folder):
            layout = mask_folders.find(folder)
            size = image_size or mask_folders.own_size(layout) or IMAGE_SIZE
            return mask_folders.load(layout, split, size)
        size = image_size or folders.own_size(folder) or IMAGE_SIZE
        images, labels, classes, source = folders.load_folder(folder, split, size)
        return ImageData(folders.name_of(folder), images, labels, classes, 1, source)
    if split == "all" and name not in WHOLE:
        raise ValueError(
            f"All images together are there of folders, {', '.join(WHOLE)}. "
            f"Received: name={name}, split={split}"
        )
    image_size = image_size or IMAGE_SIZE
    if name in NAMED:
        return NAMED[name](split, data_dir, image_size)
    _check_name(name)
    return tfds.load(name, split, data_dir, image_size)


def _check_name(name):
    """Tells a folder that is not there from a set of TensorFlow Datasets."""
    if dataset_name.parse(name).kind == "attack":
        raise ValueError(
            "Images of an attack are made of those of a set, for a model: name the set "
            f"and give zoo-evaluate --attack and --epsilon. Received: dataset={name}"
        )
    if ("/" in name or "\\" in name) and not tfds.is_known(name):
        raise FileNotFoundError(
            f"There is no folder '{name}' to take images from. Derived data sets are "
            f"named {', '.join(f'<data set>_{kind}/...' for kind in DERIVED)}."
        )


def load_ood(
    name: str,
    image_shape: tuple[int, int, int],
    split: str = "test",
    data_dir: str | None = None,
) -> ImageData:
    """Loads an out-of-distribution data set in the shape of a model's images.

    Args:
        name: What `load` takes. `"digits"`, the 5,000 images of `"mnist"` and folders
            without folders of splits are taken whole, as no part of them was trained
            on.
        image_shape: Shape of the model's images; see `to_image_shape`.
        split: `"train"`, `"validation"`, `"test"` or `"all"`, as in `load`.
        data_dir: Where the data lie; see `load`.

    Returns:
        Images of that shape. The labels mean nothing to the model.
    """
    if split in SPLITS and is_undivided(name):
        split = "all"
    found = load(name, split, data_dir, image_shape[:2])
    return to_image_shape(found, image_shape)


def base_of(name: str) -> str:
    """Returns the name of the set that one is derived from, `"a"` of `"a_c/fog/3"`."""
    while derived := grids.split(name):
        name = derived[0]
    return name


def is_undivided(name: str) -> bool:
    """Returns whether nothing but a rule of this package divides a set into splits."""
    base = base_of(name)
    if pathlib.Path(base).is_dir():
        return not _splits(pathlib.Path(base))
    return base in WHOLE


def _splits(folder):
    """Returns which splits a folder has folders or lists of."""
    if mask_folders.is_one(folder):
        return {*mask_folders.find(folder).splits}
    return {*folders.splits(folder)}


def own_size(name: str) -> tuple[int, int] | None:
    """Returns the height and width of images of a folder that all have one; else None.

    Args:
        name: What `load` takes.
    """
    folder = pathlib.Path(base_of(name))
    if mask_folders.is_one(folder):
        return mask_folders.own_size(mask_folders.find(folder))
    return folders.own_size(folder) if folder.is_dir() else None


def absolute(name: str) -> str | None:
    """Returns the name of a data set of a folder from any working directory.

    Args:
        name: What `load` takes.

    Returns:
        The name with the absolute path, also of a set derived from a folder; None for
        a data set that is not a folder.

    Example:

    >>> absolute("fashion_mnist_size/64")
    """
    base = base_of(name)
    if number_files.exists(base):
        return number_files.absolute(base)
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
        return tfds.load(name, split, data_dir)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error} As published, {name} is in {expected}; give the folder, or the "
            "archive as downloaded, as data_dir."
        ) from error


# Sets with a reader of their own; others are taken from TensorFlow Datasets.
NAMED = {
    "fashion_mnist": load_fashion_mnist,
    **{n: functools.partial(_load_cifar, name=n) for n in cifar_files.NAMES},
    **small.SMALL,
    "camvid": camvid.load,
    "diabetes": tables.diabetes,
    "california_housing": tables.california_housing,
    **{n: functools.partial(tables.friedman, name=n) for n in tables.FRIEDMAN},
    **{
        f"function_{n}": functools.partial(functions.load, name=n)
        for n in functions.SETS
    },
}
# Those of them with a validation set of their publishers.
WITH_VALIDATION = ("camvid",)
# Those of them with a label for each pixel.
OF_PIXELS = ("camvid",)
# Those of them with a number to predict.
OF_NUMBERS = (
    *("diabetes", "california_housing", *tables.FRIEDMAN),
    *(f"function_{name}" for name in functions.SETS),
)
# Those of them that their publishers have not divided: they take the split "all", and
# out of distribution they are taken whole.
WHOLE = ("digits", "mnist")
# Other data sets of pictures of the same kind, by the name of a data set: near to it
# although out of distribution. All others are far.
NEAR = {
    "cifar10": ("cifar100",),
    "cifar100": ("cifar10",),
    "fashion_mnist": ("mnist",),
}
# Sets that are derived from another one, by what follows its name; see
# `training.data.grids`.
DERIVED = {
    "c": corrupted.load,
    "rotation": shifted.load,
    "translation": shifted.load,
    "p": perturbed.load,
    "size": resize.load,
}

# Beside those with a reader of their own, for a name that is misspelled.
_COMMON = ("cifar10", "cifar100", "svhn_cropped", "kmnist", "imagenet2012")
KNOWN = (*NAMED, *_COMMON)
_READ = ("gs://", "s3://")  # Where TensorFlow Datasets can lie.


def check_names(datasets: Sequence[str], data_dir: str | None = None):
    """Checks names of data sets before anything is computed.

    It takes no time: what may be a set of TensorFlow Datasets is left to `load`.

    Args:
        datasets: The names.
        data_dir: Where the data lie; see `load`.

    Raises:
        ValueError: If one looks like a known name but is not, or is a URL; or if
            TensorFlow Datasets do not read from that of `data_dir`.
        FileNotFoundError: If one is a folder that is not there.
    """
    if data_dir and urls.is_url(data_dir) and not data_dir.startswith(_READ):
        raise ValueError(
            "Data are read from a local path, or by TensorFlow Datasets from "
            f"{', '.join(_READ)}. Received: data_dir={data_dir}"
        )
    for name in datasets:
        if urls.is_url(name):
            raise ValueError(
                "Folders of images are read from local paths; mount the bucket, or "
                f"copy it. Received: dataset={name}"
            )
        base = base_of(name)
        known = base in KNOWN or pathlib.Path(base).is_dir()
        if number_files.is_one(base) and not number_files.exists(base):
            raise FileNotFoundError(f"There is no file '{base}' to take numbers from.")
        known = known or number_files.exists(base)
        is_attack = dataset_name.parse(base).kind == "attack"
        if known or (not is_attack and tfds.may_be(base, data_dir)):
            continue
        _check_name(base)
        if close := spelling.nearest(base, KNOWN, cutoff=0.8):
            raise ValueError(
                f"Unknown data set '{base}'. Did you mean '{close}'? Known: "
                f"{', '.join(NAMED)}, those of TensorFlow Datasets, and folders."
            )
