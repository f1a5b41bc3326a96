"""Numbers of images, equal for equal pixels."""

import hashlib

import numpy as np
import pytest

from training.data import identities
from training.data.image_data import ChosenImages

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 4, 5, 3), np.uint8)


def expected(image):
    content = image.transpose(2, 0, 1).tobytes()
    return int(hashlib.sha256(content).hexdigest()[:16], 16)


def test_a_number_is_the_start_of_a_sum_over_channels_first():
    found = identities.of_pixels(IMAGES)
    assert found.dtype == "uint64"
    assert found.tolist() == [expected(image) for image in IMAGES]
    decoded = ChosenImages(IMAGES, np.array([5, 0, 5]))
    assert identities.of_pixels(decoded).tolist() == found[[5, 0, 5]].tolist()


class Decoded:
    """Images that count how often each of them is read."""

    def __init__(self):
        self.shape, self.paths = IMAGES.shape, list("abcdefg")
        self.reads = np.zeros(len(IMAGES), int)

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, index):
        np.add.at(self.reads, index, 1)
        return IMAGES[index]


@pytest.mark.parametrize(
    "indices", [[[3, 1, 6], slice(2, 4), 0], [np.arange(7)], [[-1, 2], [2, 6]], []]
)
def test_what_was_read_already_is_not_read_again(indices):
    decoded = Decoded()
    images = identities.Recorded(decoded)
    assert (len(images), images.shape, images.paths[2]) == (7, IMAGES.shape, "c")
    for index in indices:
        np.testing.assert_array_equal(images[index], IMAGES[index])
    before = decoded.reads.copy()
    assert images.identities().tolist() == [expected(image) for image in IMAGES]
    np.testing.assert_array_equal(decoded.reads, np.maximum(before, 1))
