"""Augmentation: pure functions of images and one random key for each."""

import functools

from keras import ops

from layers import random


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


# By their name in a recipe.
AUGMENTATIONS = {
    "flip": flip,
    "crop2": functools.partial(crop, padding=2),
    "crop4": functools.partial(crop, padding=4),
}
