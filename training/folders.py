"""Folders of images: one folder for each class."""

import functools
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
        if isinstance(index, slice):
            index = range(*index.indices(len(self)))
        if np.ndim(index) == 0:
            return read_image(self.paths[index], self.shape[1:3])
        paths = [self.paths[i] for i in index]
        with futures.ThreadPoolExecutor() as pool:
            read = functools.partial(read_image, image_size=self.shape[1:3])
            return np.stack(list(pool.map(read, paths)))


def read_image(path: pathlib.Path, image_size: tuple[int, int]) -> np.ndarray:
    """Reads an image as RGB, resized by its shorter side and cropped at the center.

    Transparent pixels become white.

    Args:
        path: The file.
        image_size: Height and width.

    Returns:
        uint8 array of shape `(*image_size, 3)`.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file).convert("RGBA")
    except OSError as error:
        raise ValueError(f"Cannot read the image '{path}': {error}") from error
    white = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(white, image).convert("RGB")
    return np.asarray(ImageOps.fit(image, image_size[::-1], Image.Resampling.BILINEAR))


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
    split_by_name = not all((folder / part).is_dir() for part in ("train", "test"))
    root = folder if split_by_name else folder / split
    classes = tuple(sorted(path.name for path in root.iterdir() if path.is_dir()))
    files = [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted((root / name).rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    if not files:
        raise FileNotFoundError(
            f"Folder '{root}' holds no images. Expected one folder for each class with "
            f"files that end in {', '.join(IMAGE_SUFFIXES)}."
        )
    if split_by_name:
        wanted = split == "test"
        files = [(p, label) for p, label in files if _is_test(p, root) == wanted]
    paths, labels = zip(*files, strict=True)
    return FolderImages(paths, image_size), np.array(labels, "int32"), classes


def _is_test(path, root):
    return zlib.crc32(str(path.relative_to(root)).encode()) % 10 == 0
