"""The images that weights were trained on: 64 bits of a hash of each of them."""

import os
import pathlib

import numpy as np

from zoo.presets.preset import Preset
from zoo.storage import download, files, remote, urls

# Beside weights, in the folder of a training or a published one.
FILE = "training_images.npy"


def write(path: str | os.PathLike, identities: np.ndarray):
    """Writes a file of images; it is whole or not there.

    Args:
        path: Path of the file.
        identities: uint64 array of any order, the hashes of the images as
            `training.data.identities` has them. Those of equal images are kept once.

    Raises:
        ValueError: If they are of another type.
    """
    if np.asarray(identities).dtype != np.uint64:  # A float has 53 bits of them.
        raise ValueError(
            "`identities` must be of type uint64. Received: dtype="
            f"{np.asarray(identities).dtype}"
        )
    content = np.unique(identities).astype("<u8")
    with files.replacing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, content, allow_pickle=False)


def read(path: str | os.PathLike) -> np.ndarray:
    """Returns the sorted hashes of the images in a file, of type uint64.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or another file.
    """
    try:
        found = np.load(path, allow_pickle=False)
    except (EOFError, ValueError) as error:
        raise ValueError(
            f"'{path}' is damaged or not a list of training images: {error}"
        ) from error
    if getattr(found, "dtype", None) != np.dtype("<u8") or found.ndim != 1:
        raise ValueError(
            f"'{path}' is not a list of training images, one uint64 for each. Received:"
            f" {getattr(found, 'shape', found)}"
        )
    return found


def place(folder: str | os.PathLike, sha256: str) -> pathlib.Path:
    """Returns where a package has the images of trainings that saw the same ones.

    Args:
        folder: That of `presets.json`.
        sha256: SHA-256 of the file.
    """
    return pathlib.Path(folder) / "training_images" / f"{sha256[:16]}.npy"


def beside(weights: str | os.PathLike) -> np.ndarray | None:
    """Returns the images of a training that wrote weights, or None without a record.

    Args:
        weights: Its folder, or the weights file in it.
    """
    path = pathlib.Path(weights)
    path = (path if path.is_dir() else path.parent) / FILE
    remote.fetch(path)
    return read(path) if path.is_file() else None


def of_preset(
    preset: Preset, package: str | os.PathLike, folder: str | os.PathLike | None = None
) -> np.ndarray | None:
    """Returns the images that published weights were trained on, if they are recorded.

    Args:
        preset: What is known of the weights.
        package: The folder of `presets.json`.
        folder: A published folder, a path or a URL, in place of the package.

    Raises:
        FileNotFoundError: If the file that the preset names is not there.
        ConnectionError: If it cannot be downloaded.
        ValueError: If it was altered.
    """
    sha256 = preset.seen.get("sha256")
    if not sha256:
        return None
    if folder is None and preset.url:
        folder = preset.url.rpartition("/")[0]
    if folder is None:
        path = place(package, sha256)
    elif urls.is_url(folder):
        path = place(download.cache_folder(), sha256)
        download.fetch(urls.join(folder, FILE), path, sha256, preset.seen["bytes"])
    else:
        path = pathlib.Path(folder) / FILE
    files.check(path, sha256)
    return read(path)
