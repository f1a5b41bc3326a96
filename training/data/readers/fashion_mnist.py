"""Fashion-MNIST, from its four files."""

import gzip
import pathlib
import struct

import numpy as np

from training.data.image_data import ImageData
from training.data.readers import tfds

ASSETS = pathlib.Path(__file__).parents[2] / "assets"
# Where the Debian package `dataset-fashion-mnist` puts its four files.
DEBIAN = pathlib.Path("/usr/share/datasets/fashion-mnist")


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


def load_fashion_mnist(split: str, data_dir: str | None, image_size) -> ImageData:
    """Returns Fashion-MNIST; see `training.data.load`. It has a size of its own."""
    name = "fashion_mnist"
    own = [pathlib.Path(data_dir)] if data_dir else []
    # One folder is given for all data sets of a command, and may be that of another.
    is_elsewhere = not (data_dir and tfds.is_prepared(name, data_dir))
    for folder in [*own, *([ASSETS / name, DEBIAN] if is_elsewhere else [])]:
        if (folder / _IDX_FILES[split][0]).exists():
            return _load_idx(name, folder, split)
    return tfds.load(name, split, data_dir)
