"""Data sets by name: images and labels that can be addressed by index."""

from training.data.grids import expand as expand
from training.data.grids import grid as grid
from training.data.image_data import ImageData as ImageData
from training.data.loading import DERIVED as DERIVED
from training.data.loading import IMAGE_SIZE as IMAGE_SIZE
from training.data.loading import NAMED as NAMED
from training.data.loading import NEAR as NEAR
from training.data.loading import SPLITS as SPLITS
from training.data.loading import base_of as base_of
from training.data.loading import is_undivided as is_undivided
from training.data.loading import load as load
from training.data.loading import load_ood as load_ood
from training.data.loading import own_size as own_size
from training.data.readers.fashion_mnist import (
    FASHION_MNIST_CLASSES as FASHION_MNIST_CLASSES,
)
from training.data.readers.fashion_mnist import read_idx as read_idx
from training.data.resize import to_image_shape as to_image_shape

adapt = to_image_shape  # Its name until posteriors had an `adapt`.
