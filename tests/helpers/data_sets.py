"""Small data sets of the tests."""

import dataclasses
import gzip
import struct

import numpy as np

from tests.helpers.networks import IMAGES
from training.data import ImageData


def stripes(count=80, size=12):
    """Images of two classes: horizontal and vertical stripes under noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    wave = 60 * np.sign(np.sin(np.arange(size) * 1.5 + rng.uniform(0, 6, (count, 1))))
    images = np.where(labels[:, None, None], wave[:, None, :], wave[:, :, None])
    images = images + 128 + rng.normal(0, 30, images.shape)
    images = np.clip(images, 0, 255).astype("uint8")[..., None]
    return ImageData("stripes", images, labels.astype("int32"), ("rows", "columns"))


def write_idx(path, array):
    header = struct.pack(">HBB", 0, 8, array.ndim)
    header += struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.astype("uint8").tobytes()))


LABELS = np.array([0, 1, 2, 0, 1, 2, 0])


@dataclasses.dataclass
class Data:
    """What `evaluate` asks of a data set, and nothing more."""

    images: object = dataclasses.field(default_factory=lambda: IMAGES)
    labels: np.ndarray = dataclasses.field(default_factory=lambda: LABELS)
    classes: tuple = ("a", "b", "c")
    name: str = "made_up"


class Slices:
    """Images that can only be sliced."""

    def __init__(self, images):
        self.stored, self.shape = images, images.shape

    def __len__(self):
        return len(self.stored)

    def __getitem__(self, index):
        assert isinstance(index, slice)
        return self.stored[index]


class Interrupting(Slices):
    """Images that count how often they are read, and interrupt after some reads."""

    def __init__(self, images, reads):
        super().__init__(images)
        self.reads = reads

    def fingerprint(self):
        return "the same images"

    def __getitem__(self, index):
        if not self.reads:
            raise KeyboardInterrupt
        self.reads -= 1
        return super().__getitem__(index)
