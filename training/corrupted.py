"""Corrupted data sets by name: `fashion_mnist_c/fog/3`."""

import dataclasses
import hashlib
import os
import pathlib

import numpy as np

from training import corruptions, data
from zoo import download, files

# Counts the changes of the corruptions' pixels, so that older files are not used.
_EDITION = 1
# Larger data sets are corrupted when they are read and not kept, in bytes.
_LARGEST = 2**31
_CHUNK = 4096
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer") + (
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


class CorruptedImages:
    """Images that are corrupted when they are indexed.

    Args:
        images: uint8 array of shape `(examples, height, width, channels)`, or an object
            that gives such arrays when it is indexed.
        corruption: One of `corruptions.CORRUPTIONS`.
        severity: From 1 to 5.
    """

    def __init__(self, images, corruption: str, severity: int):
        self.shape = tuple(images.shape)
        self._images = images
        self._corruption = corruption, severity

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                images = np.asarray(self._images[start:stop])
                return corruptions.corrupt_all(images, *self._corruption, first=start)
            index = range(start, stop, step)
        if np.ndim(index) == 0:
            place = int(index) % len(self)
            image = np.asarray(self._images[place])
            return corruptions.corrupt(image, *self._corruption, index=place)
        return np.stack([self[i] for i in index])


def is_corrupted(name: str) -> bool:
    """Returns whether a name is that of a corrupted data set."""
    return "_c/" in name


def load(
    name: str, split: str, data_dir: str | None, image_size: tuple[int, int]
) -> data.ImageData:
    """Loads a corrupted data set.

    If `data_dir` holds the files of CIFAR-10-C or CIFAR-100-C (`fog.npy`, `labels.npy`
    and so on), the images are theirs. Otherwise they are made from the clean data set
    and kept in `corrupted/` of the cache, `ZOO_CACHE` or `~/.cache/smoothzoo`, unless
    they take more than 2 GB.

    Args:
        name: `<data set>_c/<corruption>/<severity>`, for example
            `"fashion_mnist_c/fog/3"` or `"path/to/folder_c/frost/1"`.
        split: `"train"` or `"test"`.
        data_dir: Of the published files, or of the clean data set.
        image_size: See `training.data.load`.

    Returns:
        The corrupted images with the labels of the clean ones.

    Raises:
        ValueError: If the corruption or the severity is not known, or a file is
            damaged.
        FileNotFoundError: If the files are not there.
    """
    base, _, rest = name.rpartition("_c/")
    corruption, found, severity = rest.partition("/")
    if not found or not severity.lstrip("-").isdigit():
        raise ValueError(
            "The name of a corrupted data set is <data set>_c/<corruption>/<severity>, "
            f"for example fashion_mnist_c/fog/3. Received: name={name}"
        )
    severity = int(severity)
    corruptions.check(corruption, severity)
    if data_dir and (pathlib.Path(data_dir) / "labels.npy").exists():
        return _load_published(name, split, pathlib.Path(data_dir))
    clean = data.load(base, split, data_dir, image_size)
    images = CorruptedImages(clean.images, corruption, severity)
    if np.prod(images.shape, dtype=np.int64) <= _LARGEST:
        images = _cached(images, f"{clean.name}-{split}", corruption, severity, clean)
    return dataclasses.replace(clean, name=name, images=images)


def _cached(images, folder, corruption, severity, clean):
    """Returns the images from a file, which is made first if it is not there."""
    source = corruptions.frost_source() if corruption == "frost" else ""
    key = f"{_EDITION} {source} {_fingerprint(clean.images)}"
    key = hashlib.sha256(key.encode()).hexdigest()[:12]
    folder = download.cache_folder() / "corrupted" / folder
    path = folder / f"{corruption}-{severity}-{key}.npy"
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with files.locked(path.with_suffix(".lock")):
            if not path.exists():
                _write(images, path)
    return _read(path)


def _write(images, path):
    with files.replacing(path) as temporary:
        target = np.lib.format.open_memmap(
            temporary, mode="w+", dtype=np.uint8, shape=images.shape
        )
        for start in range(0, len(images), _CHUNK):
            target[start : start + _CHUNK] = images[start : start + _CHUNK]
        target.flush()


def _fingerprint(images):
    """Returns what changes when the images do: their bytes, or those of their files."""
    digest = hashlib.sha256(str(images.shape).encode())
    if isinstance(images, np.ndarray):
        digest.update(np.ascontiguousarray(images))
    else:
        for path in images.paths:
            state = os.stat(path)
            digest.update(f"{path} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _load_published(name, split, folder):
    """Reads a severity of CIFAR-10-C or CIFAR-100-C; a fifth of the rows each."""
    base, _, rest = name.rpartition("_c/")
    corruption, _, severity = rest.partition("/")
    if split != "test":
        raise ValueError(
            "The published corrupted data sets have test images alone. "
            f"Received: split={split}"
        )
    images = _read(folder / f"{corruption}.npy")
    labels = _read(folder / "labels.npy")
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
    rows = slice(count * (int(severity) - 1), count * int(severity))
    labels = np.array(labels[rows], "int32")
    classes = {"cifar10": _CIFAR10, "cifar100": range(100)}.get(base)
    classes = classes or range(int(labels.max()) + 1)
    return data.ImageData(name, images[rows], labels, tuple(map(str, classes)))


def _read(path):
    try:
        return np.load(path, mmap_mode="r")
    except FileNotFoundError as error:
        there = ", ".join(sorted(file.stem for file in path.parent.glob("*.npy")))
        raise FileNotFoundError(
            f"There is no file '{path}'. That folder has: {there or 'none'}."
        ) from error
    except (EOFError, ValueError) as error:
        raise ValueError(
            f"'{path}' is truncated or not an .npy file ({error}). Delete it and get "
            "it again."
        ) from error
