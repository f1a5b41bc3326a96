"""Augmentation: pure functions of images and one random key for each."""

import functools
import math

import keras
from keras import ops

from layers import random
from training.augment_chains import mix_chains


def flip(images, keys):
    """Mirrors each image from left to right with probability one half.

    Args:
        images: Tensor of shape `(batch, height, width, channels)`.
        keys: uint32 tensor of shape `(batch,)`.

    Returns:
        A tensor like `images`.
    """
    chosen = random.bernoulli(random.fold(keys, 0), (*ops.shape(keys), 1, 1, 1), 0.5)
    return ops.where(chosen, ops.flip(images, axis=2), images)


def crop(images, keys, padding: int):
    """Shifts each image by up to `padding` pixels each way, and fills with zeros.

    Args:
        images: Tensor of shape `(batch, height, width, channels)`.
        keys: uint32 tensor of shape `(batch,)`.
        padding: The largest shift.

    Returns:
        A tensor like `images`: crops, uniform over all positions, of the padded image.
    """
    upper = ops.right_shift(
        random.bits(random.fold(keys, 1), 2), ops.cast(16, "uint32")
    )
    offsets = ops.right_shift(ops.cast(upper, "int32") * (2 * padding + 1), 16)
    amounts = (padding, padding)
    images = ops.pad(images, ((0, 0), amounts, amounts, (0, 0)))
    for axis in (1, 2):
        size = images.shape[axis] - 2 * padding
        index = offsets[:, axis - 1, None] + ops.arange(size, dtype="int32")
        index = ops.expand_dims(index, (3 - axis, 3))
        images = ops.take_along_axis(images, index, axis=axis)
    return images


def resized_crop(images, keys, smallest: float, ratio: float = 4 / 3):
    """Enlarges a random part of each image to the size of the image.

    The area of the part, as a share of the image, is uniform between `smallest` and 1,
    the logarithm of its ratio of width to height uniform between those of `1 / ratio`
    and `ratio`, each side is cut to the image, and every position is equally likely.

    Args:
        images: Tensor of shape `(batch, height, width, channels)`.
        keys: uint32 tensor of shape `(batch,)`.
        smallest: The smallest area.
        ratio: The largest ratio of the sides, against those of the image.

    Returns:
        A tensor like `images`, interpolated bilinearly.

    Reference:
        [Going Deeper with Convolutions](https://arxiv.org/abs/1409.4842)
        (Szegedy et al., 2015), section 6.
    """
    bits = ops.right_shift(random.bits(random.fold(keys, 2), 4), random.uint32(8))
    uniform = ops.transpose(ops.cast(bits, "float32") / 2**24)
    side = ops.sqrt(smallest + (1 - smallest) * uniform[0])
    stretch = ops.exp(math.log(ratio) * (uniform[1] - 0.5))
    width, height = ops.minimum(side * stretch, 1), ops.minimum(side / stretch, 1)
    # The center of pixel `i` is at `i + 1/2`, in the image and in the result.
    left = images.shape[2] * (1 - width) * uniform[2] + (width - 1) / 2
    top = images.shape[1] * (1 - height) * uniform[3] + (height - 1) / 2
    zero = ops.zeros_like(side)
    rows = width, zero, left, zero, height, top, zero, zero
    parts = ops.image.affine_transform(
        ops.cast(images, "float32"), ops.stack(rows, axis=1), fill_mode="nearest"
    )
    if not keras.backend.is_float_dtype(images.dtype):
        parts = ops.round(parts)
    return ops.cast(parts, images.dtype)


# By their name in a recipe.
AUGMENTATIONS = {
    "flip": flip,
    "crop2": functools.partial(crop, padding=2),
    "crop4": functools.partial(crop, padding=4),
    "crop8": functools.partial(crop, padding=8),
    "resized_crop": functools.partial(resized_crop, smallest=0.25),
    "augmix": mix_chains,
}
