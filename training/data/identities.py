"""A number for each image, equal for equal pixels: which images are in two sets."""

import hashlib

import numpy as np

_CHUNK = 1000  # Images that are read at once.


def of_pixels(images) -> np.ndarray:
    """Returns the first 64 bits of SHA-256 over the bytes of each image.

    The bytes are in the order of the channels first, as CIFAR is published, so the
    number is known wherever an image lies, in any order of a data set.

    Args:
        images: uint8 array of shape `(images, height, width, channels)`, or an object
            that gives such arrays when it is sliced; all of them are read.

    Returns:
        uint64 array of shape `(images,)`.
    """
    found = np.empty(len(images), "uint64")
    for start in range(0, len(images), _CHUNK):
        block = np.asarray(images[start : start + _CHUNK])
        found[start : start + len(block)] = _of_block(block)
    return found


def _of_block(images):
    blocks = np.ascontiguousarray(np.moveaxis(images, -1, 1))
    return [hash_bytes(image) for image in blocks]


def hash_bytes(content) -> int:
    """Returns the first 64 bits of SHA-256 over bytes."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")


class Recorded:
    """Images whose numbers are taken when they are read, without a second pass.

    Args:
        images: uint8 array of shape `(images, height, width, channels)`, or an object
            that gives such arrays when it is indexed.
    """

    def __init__(self, images):
        self._images, self.shape = images, images.shape
        self._found = np.zeros(len(images), "uint64")
        self._known = np.zeros(len(images), bool)
        self._places = np.arange(len(images))

    def __len__(self):
        return self.shape[0]

    def __getattr__(self, name):  # Such as paths, or a fingerprint.
        return getattr(self.__dict__["_images"], name)

    def __getitem__(self, index):
        block = self._images[index]
        places = np.atleast_1d(self._places[index])
        new = ~self._known[places]
        if new.any():
            some = places[new]
            images = np.asarray(block).reshape(-1, *self.shape[1:])
            self._found[some] = _of_block(images[new])
            self._known[some] = True
        return block

    def identities(self) -> np.ndarray:
        """Returns `of_pixels` of all; only those that nobody asked for are read now."""
        missing = np.flatnonzero(~self._known)
        for start in range(0, len(missing), _CHUNK):
            self[missing[start : start + _CHUNK]]
        return self._found.copy()
