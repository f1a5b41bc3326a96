"""Folders of images: one folder for each class."""

import hashlib
import os
import pathlib
import zlib
from concurrent import futures

import numpy as np

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


class FolderImages:
    """Image files that are decoded when they are indexed.

    Args:
        paths: The files.
        image_size: Height and width of the decoded images.
    """

    def __init__(self, paths, image_size):
        self.paths = list(paths)
        self.shape = (len(self.paths), *image_size, 3)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return decoded(self._decode, index, self.shape)

    def _decode(self, index):
        return read_image(self.paths[index], self.shape[1:3])

    def fingerprint(self) -> str:
        """Returns what changes when the files do."""
        digest = hashlib.sha256(str(self.shape).encode())
        for path in self.paths:
            state = os.stat(path)
            digest.update(f"{path} {state.st_size} {state.st_mtime_ns}\n".encode())
        return digest.hexdigest()


def decoded(decode, index, shape) -> np.ndarray:
    """Decodes the images of an index as NumPy understands it, in threads.

    Args:
        decode: A function of the number of an image.
        index: A number, a slice, or an array of numbers.
        shape: Of all images together.

    Returns:
        One image, or an array of them.
    """
    if isinstance(index, slice):
        index = range(*index.indices(shape[0]))
    if np.ndim(index) == 0:
        return decode(index)
    if not len(index):
        return np.empty((0, *shape[1:]), np.uint8)
    with futures.ThreadPoolExecutor() as pool:
        return np.stack(list(pool.map(decode, index)))


def read_image(path: pathlib.Path, image_size: tuple[int, int]) -> np.ndarray:
    """Reads an image as RGB, resized by its shorter side and cropped at the center.

    Transparent pixels become white.

    Args:
        path: The file.
        image_size: Height and width.

    Returns:
        uint8 array of shape `(*image_size, 3)`.

    Raises:
        ValueError: If the file is not an image.
    """
    return decode_image(path, image_size, path)


def decode_image(file, image_size: tuple[int, int], name) -> np.ndarray:
    """Does what `read_image` does, for a path or an open file.

    Args:
        file: What `PIL.Image.open` takes.
        image_size: Height and width.
        name: What an error calls the image.
    """
    from PIL import Image, ImageOps

    image = _opened(file, name, lambda x: ImageOps.exif_transpose(x).convert("RGBA"))
    white = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(white, image).convert("RGB")
    return np.asarray(fit(image, image_size))


def read_pixels(file, name) -> np.ndarray:
    """Reads an image as it is; see `decode_image`."""
    return _opened(file, name, np.asarray)


def _opened(file, name, read):
    from PIL import Image

    try:
        with Image.open(file) as opened:
            return read(opened)
    # Pillow's readers of damaged files raise any of these, and refuse large images.
    except (
        *(OSError, SyntaxError, ValueError, EOFError, IndexError),
        Image.DecompressionBombError,
    ) as error:
        raise ValueError(f"Cannot read the image '{name}': {error}") from error


def fit(image, image_size: tuple[int, int]):
    """Resizes a Pillow image by its shorter side and crops it at the center.

    Bilinear; when an image becomes smaller, over all pixels that the new one covers.
    """
    from PIL import Image, ImageOps

    return ImageOps.fit(image, image_size[::-1], Image.Resampling.BILINEAR)


def load_folder(folder: pathlib.Path, split: str, image_size: tuple[int, int]):
    """Lists the images of a folder.

    Args:
        folder: Holds one folder for each class, or folders `train` and `test` that do.
        split: `"train"` or `"test"`; without these folders, one file in ten, chosen by
            its name, is for testing.
        image_size: Height and width of the decoded images.

    Returns:
        The images, their labels and the names of the classes.

    Raises:
        FileNotFoundError: If there are no images.
    """
    if all((folder / part).is_dir() for part in ("train", "test")):
        return list_classes(folder / split, image_size)
    wanted = split == "test"
    return list_classes(folder, image_size, lambda p: _is_test(p, folder) == wanted)


def list_classes(root: pathlib.Path, image_size: tuple[int, int], chosen=None):
    """Lists the images of a folder that holds one folder for each class.

    Args:
        root: The folder.
        image_size: Height and width of the decoded images.
        chosen: Tells by the path which files to take; all by default.

    Returns:
        The images, their labels and the names of the classes.

    Raises:
        FileNotFoundError: If there are no images.
    """
    classes = tuple(sorted(path.name for path in root.iterdir() if path.is_dir()))
    found = [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted((root / name).rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    if not found:
        raise FileNotFoundError(
            f"Folder '{root}' holds no images. Expected one folder for each class with "
            f"files that end in {', '.join(IMAGE_SUFFIXES)}."
        )
    taken = [(path, label) for path, label in found if not chosen or chosen(path)]
    if not taken:
        raise FileNotFoundError(
            f"None of the {len(found)} images in folder '{root}' falls into this "
            "split, which takes one in ten for testing. Put them into folders train "
            "and test."
        )
    paths, labels = zip(*taken, strict=True)
    return FolderImages(paths, image_size), np.array(labels, "int32"), classes


def _is_test(path, root):
    return zlib.crc32(str(path.relative_to(root)).encode()) % 10 == 0
