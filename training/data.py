"""Data sets by name: images and labels that can be addressed by index."""

import dataclasses
import gzip
import pathlib
import struct

import numpy as np

from training import folders
from training.names import expand as expand
from training.names import grid as grid

ASSETS = pathlib.Path(__file__).parent / "assets"
# Where the Debian package `dataset-fashion-mnist` puts its four files.
DEBIAN = pathlib.Path("/usr/share/datasets/fashion-mnist")
SPLITS = ("train", "test")


@dataclasses.dataclass(frozen=True)
class ImageData:
    """A labeled set of images.

    Attributes:
        name: For example `"fashion_mnist"`.
        images: uint8 array of shape `(examples, height, width, channels)`, or an
            object that gives such arrays when it is indexed.
        labels: Integer array of shape `(examples,)`.
        classes: The names of the classes, by label.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    def __post_init__(self):
        if len(self.images) != len(self.labels) or not len(self.labels):
            raise ValueError(
                f"Data set '{self.name}' needs as many labels as images and at least "
                f"one. Received: {len(self.images)} images, {len(self.labels)} labels"
            )
        low, high = int(np.min(self.labels)), int(np.max(self.labels))
        if low < 0 or high >= len(self.classes):
            raise ValueError(
                f"Labels of data set '{self.name}' must be in "
                f"[0, {len(self.classes)}). Received: labels from {low} to {high}"
            )

    def __len__(self):
        return len(self.labels)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return tuple(self.images.shape[1:])

    def take(self, count: int | None) -> "ImageData":
        """Returns the first `count` examples, or all of them for None."""
        if count is None or count >= len(self):
            return self
        images, labels = self.images[:count], self.labels[:count]
        return dataclasses.replace(self, images=images, labels=labels)


def load(
    name: str,
    split: str = "train",
    data_dir: str | None = None,
    image_size: tuple[int, int] = (224, 224),
) -> ImageData:
    """Loads a data set.

    Args:
        name: `"fashion_mnist"`, another image classification set of TensorFlow
            Datasets with images of one size (`"cifar10"`, `"cifar100"`, `"mnist"`), or
            the path of a folder with one folder of images for each class, possibly
            inside folders `train` and `test`. Any of them with a corruption and a
            severity from 1 to 5: `"fashion_mnist_c/fog/3"`; see `training.corrupted`.
        split: `"train"` or `"test"`. A folder without these two is split by the file
            names, nine to one.
        data_dir: Where the data lie: the four IDX files for Fashion-MNIST, else the
            `data_dir` of TensorFlow Datasets. By default Fashion-MNIST comes from the
            package (test images), from the Debian package `dataset-fashion-mnist`, or
            from TensorFlow Datasets, the first that has it.
        image_size: Height and width to which the images of a folder are resized, the
            shorter side first, then cropped at the center.

    Returns:
        The images and labels.

    Raises:
        ValueError: If the data set or split is not known.
        FileNotFoundError: If the files are not there.
    """
    if split not in SPLITS:
        raise ValueError(
            f"`split` must be one of {', '.join(SPLITS)}. Received: split={split}"
        )
    if pathlib.Path(name).is_dir():
        folder = pathlib.Path(name)
        images, labels, classes = folders.load_folder(folder, split, image_size)
        return ImageData(folder.name, images, labels, classes)
    from training import corrupted  # Needs this module itself.

    if corrupted.is_corrupted(name):
        return corrupted.load(name, split, data_dir, image_size)
    if "/" in name or "\\" in name:
        raise FileNotFoundError(f"There is no folder '{name}' to take images from.")
    if name == "fashion_mnist":
        for folder in [pathlib.Path(data_dir)] if data_dir else [ASSETS / name, DEBIAN]:
            if (folder / _IDX_FILES[split][0]).exists():
                return _load_idx(name, folder, split)
    return _load_tfds(name, split, data_dir)


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
    return ImageData(
        name, images[..., None], labels.astype("int32"), FASHION_MNIST_CLASSES
    )


def _load_tfds(name, split, data_dir):
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    downloader.MAX_RETRIES = 2  # Its own default waits minutes without a network.
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        builder.download_and_prepare()
        dataset = builder.as_dataset(split=split, as_supervised=True)
        batches = list(tfds.as_numpy(dataset.batch(1000)))
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(
            f"Unknown data set '{name}': neither a folder nor one of TensorFlow "
            "Datasets. For example: fashion_mnist, cifar10, cifar100, path/to/folder."
        ) from error
    except (OSError, tfds.download.DownloadError) as error:
        raise FileNotFoundError(
            f"Data set '{name}' is not in data_dir={data_dir} and cannot be downloaded "
            f"({type(error).__name__}). Without a network: for fashion_mnist install "
            "the Debian package dataset-fashion-mnist or give the folder of its four "
            "IDX files as data_dir; for others the folder where TensorFlow Datasets "
            "prepared them."
        ) from error
    images, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
    classes = tuple(builder.info.features["label"].names)
    return ImageData(name, images, labels.astype("int32"), classes)
