"""Corrupted data sets by name: `fashion_mnist_c/fog/3`."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import numpy as np

from training import corruptions
from training.corruptions import warps
from training.corruptions.table import MOVES, OTHER_ORDER
from training.data import grids
from training.data.image_data import DerivedImages, ImageData, Numbers, cached, read_npy
from training.data.readers import cifar_files, folders, tfds

# Counts the changes of the corruptions' pixels, so that older files are not used; those
# of frost from photographs changed once more.
_EDITION = 2
_EDITION_OF_PHOTOGRAPHS = 3
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer") + (
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
# Corrupted sets of TensorFlow Datasets, by the clean one, and what they call
# differently.
_TFDS = {
    "cifar10": (
        "cifar10_corrupted",
        {"glass_blur": "frosted_glass_blur", "elastic_transform": "elastic"},
    ),
    "imagenet2012": ("imagenet2012_corrupted", {}),
}


def load(name: str, split: str, data_dir: str | None, clean: Callable) -> ImageData:
    """Loads a corrupted data set.

    The first that is there, of:

    * in `data_dir`, the files of CIFAR-10-C or CIFAR-100-C (`fog.npy`, `labels.npy`);
    * in `data_dir`, the folders of ImageNet-C (`fog/3/<class>/<image>.JPEG`), whose
      images of 224 x 224 pixels are taken as they are;
    * `cifar10_corrupted` or `imagenet2012_corrupted` as TensorFlow Datasets prepared
      them, the same;
    * images that are derived from the clean ones and cached in `corrupted/`,
      `ZOO_CACHE` or `~/.cache/smoothzoo`, unless they take more than 2 GB.

    Args:
        name: `<data set>_c/<corruption>/<severity>`, for example
            `"fashion_mnist_c/fog/3"` or `"path/to/folder_c/frost/1"`.
        split: `"train"` or `"test"`; published sets have test images alone.
        data_dir: Folder of the published files, or of the clean data set.
        clean: Loads the clean data set.

    Returns:
        The corrupted images with the labels of the clean ones; with a label for each
        pixel, those of a corruption that moves pixels are moved too.

    Raises:
        ValueError: If the corruption or the severity is not known, or a file is
            damaged.
        FileNotFoundError: If the files are not there.
    """
    base, _, rest = grids.split(name)
    corruption, severity = grids.corruption(rest)
    folder = pathlib.Path(data_dir) if data_dir else None
    if folder and (folder / "labels.npy").exists():
        check_split(split)
        return _load_published(name, folder)
    if folder and (folder / corruption / str(severity)).is_dir():
        check_split(split)
        return _load_folders(name, folder / corruption / str(severity))
    if base in _TFDS:
        builder, renamed = _TFDS[base]
        config = f"{builder}/{renamed.get(corruption, corruption)}_{severity}"
        if tfds.is_prepared(config, data_dir):
            check_split(split)
            prepared = tfds.load(config, split, data_dir)
            return dataclasses.replace(prepared, name=name)
    data = clean()
    images = _corrupted(data.images, corruption, severity)
    images = cached(
        images, f"corrupted/{data.name}-{split}", f"{corruption}-{severity}"
    )
    source = f"{corruption} made here"
    if corruption == "frost":
        source += f" of {corruptions.frost_source()} textures"
    return dataclasses.replace(
        data,
        name=f"{data.name}_c/{rest}",
        images=images,
        labels=_moved(data.labels, corruption, severity),
        source=source,
    )


def _moved(labels, corruption, severity):
    """Returns labels of pixels where a corruption moves these, as it does by itself."""
    if corruption not in MOVES:
        return labels
    move = functools.partial(corruptions.corrupt, name=corruption, severity=severity)
    return warps.moved_all(labels, move)


def _corrupted(images, corruption, severity):
    source = corruptions.frost_source() if corruption == "frost" else ""
    make = functools.partial(_corrupt, name=corruption, severity=severity)
    photographs = source not in ("", "procedural")
    edition = _EDITION_OF_PHOTOGRAPHS if photographs else _EDITION
    key = f"{edition} {source} {corruption} {severity}"
    return DerivedImages(images, make, key, scattered=True)


def _corrupt(images, first, name, severity):
    return corruptions.corrupt_all(images, name, severity, first=first)


def check_split(split: str) -> None:
    """Raises a ValueError for another split than `"test"`."""
    if split != "test":
        raise ValueError(
            "The published corrupted data sets have test images alone. "
            f"Received: split={split}"
        )


def _load_published(name, folder):
    """Reads a severity of CIFAR-10-C or CIFAR-100-C; a fifth of the rows each."""
    base, _, rest = grids.split(name)
    if base == "cifar100/coarse":
        raise ValueError(
            f"The published labels in '{folder}' are those of the 100 classes, not of "
            f"the 20 superclasses. Received: name={name}"
        )
    corruption, severity = grids.corruption(rest)
    images = read_npy(folder / f"{corruption}.npy")
    labels = read_npy(folder / "labels.npy")
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) % 5:
        raise ValueError(
            f"'{folder / f'{corruption}.npy'}' must hold uint8 images of shape "
            "(5 * examples, height, width, channels), one fifth for each severity. "
            f"Received: dtype={images.dtype}, shape={images.shape}"
        )
    if len(labels) != len(images):
        raise ValueError(
            f"'{folder / 'labels.npy'}' must hold a label for each image of "
            f"{corruption}.npy. Received: {len(labels)} labels, {len(images)} images"
        )
    count = len(images) // 5
    rows = slice(count * (severity - 1), count * severity)
    labels = np.array(labels[rows], "int32")
    source = f"published {corruption}.npy{_order(base, folder, labels)}"
    return ImageData(
        name, images[rows], labels, class_names(base, labels), source=source
    )


def _order(base, folder, labels) -> str:
    """Says whether clean images beside published ones have the order of these."""
    clean = _clean_labels(base, str(folder))
    if clean is None:
        return ""
    same = np.array_equal(clean, labels)
    return ", in the order of the clean images" if same else f", {OTHER_ORDER}"


@functools.lru_cache(maxsize=1)  # For 95 sets in a row.
def _clean_labels(base, folder):
    if base not in cifar_files.NAMES:
        return None
    found = cifar_files.load(base, "test", folder)
    return None if found is None else found.labels


def class_names(base: str, labels: np.ndarray) -> tuple[str, ...]:
    """Returns the names of the classes of a published set, or numbers."""
    if base == "cifar10":
        return _CIFAR10
    return Numbers(100 if base == "cifar100" else int(labels.max()) + 1)


def _load_folders(name, folder):
    """Reads a severity of ImageNet-C."""
    images, labels, classes = folders.list_classes(folder, (224, 224))
    return ImageData(name, images, labels, classes, source=f"published {folder.name}")
