"""Operations that augmentations choose from, each of other images of one batch.

Those of tones are tables: which value a value of a channel becomes. All of a batch, one
for each image, are looked up at once. Those of the plane are affine maps, of which the
same is true. Images are int32 in [0, 255], and results those of Pillow.
"""

import math

from keras import ops

VALUES = 256


def histograms(images):
    """Counts the values of each channel.

    Args:
        images: int32 tensor of shape `(batch, height, width, channels)`, in [0, 255].

    Returns:
        int32 tensor of shape `(batch, channels, 256)`.
    """
    batch, _, _, channels = ops.shape(images)
    flat = ops.reshape(_places(images), (-1,))
    size = batch * channels * VALUES
    counts = ops.segment_sum(ops.ones_like(flat), flat, size)
    return ops.reshape(counts, (batch, channels, VALUES))


def _places(images):
    """Returns where the value of each pixel is among those of all channels."""
    batch, _, _, channels = ops.shape(images)
    first = VALUES * ops.arange(batch * channels, dtype="int32")
    return images + ops.reshape(first, (batch, 1, 1, channels))


def look_up(images, tables):
    """Returns images whose values are those of tables.

    Args:
        images: int32 tensor of shape `(batch, height, width, channels)`, in [0, 255].
        tables: int32 tensor of shape `(batch, channels, 256)`.

    Returns:
        A tensor like `images`.
    """
    return ops.take(ops.reshape(tables, (-1,)), _places(images))


def values():
    """Returns the table of an image as it is, of shape `(1, 1, 256)`."""
    return ops.reshape(ops.arange(VALUES, dtype="int32"), (1, 1, VALUES))


def autocontrast(counts):
    """Returns tables that stretch the values of each channel to the whole range.

    Args:
        counts: From `histograms`.

    Returns:
        int32 tensor of the shape of `counts`; a channel of one value keeps it.
    """
    found = ops.greater(counts, 0)
    low = ops.min(ops.where(found, values(), VALUES), axis=-1, keepdims=True)
    high = ops.max(ops.where(found, values(), 0), axis=-1, keepdims=True)
    width = high - low
    stretched = (values() - low) * 255 // ops.maximum(width, 1)
    stretched = ops.clip(stretched, 0, 255)
    return ops.where(ops.greater(width, 0), stretched, values())


def equalize(counts):
    """Returns tables that make histograms flat, as far as equal values stay equal.

    Args:
        counts: From `histograms`.

    Returns:
        int32 tensor of the shape of `counts`.
    """
    below = ops.cumsum(counts, axis=-1) - counts
    present = ops.where(ops.greater(counts, 0), below, 0)
    step = ops.max(present, axis=-1, keepdims=True) // 255
    equal = ops.minimum((step // 2 + below) // ops.maximum(step, 1), 255)
    return ops.where(ops.greater(step, 0), equal, values())


def posterize(bits):
    """Returns tables that keep the highest bits.

    Args:
        bits: int32 tensor in [0, 8] that broadcasts with tables.
    """
    unit = ops.left_shift(ops.ones_like(bits), 8 - bits)
    return values() // unit * unit


def solarize(threshold):
    """Returns tables that invert values from a threshold on.

    Args:
        threshold: int32 tensor that broadcasts with tables.
    """
    return ops.where(ops.less(values(), threshold), values(), 255 - values())


def affine_maps(size, angle=0.0, shear_x=0.0, shear_y=0.0, shift_x=0.0, shift_y=0.0):
    """Returns maps from the places of pixels to where they come from.

    One of them is to be other than zero for each image: they are not composed.

    Args:
        size: Height and width of the images.
        angle: Angles of rotations about the center, in radians.
        shear_x: Shear along the rows; it fixes the corner of the image, which is half a
            pixel before the first one.
        shear_y: Shear along the columns, likewise.
        shift_x: How far to the right the pixels come from.
        shift_y: How far from below they come.

    Returns:
        float32 tensor of shape `(batch, 8)`, for `keras.ops.image.affine_transform`.
    """
    height, width = size
    x, y = (width - 1) / 2, (height - 1) / 2
    cosine, sine = ops.cos(angle), ops.sin(angle)
    zero = ops.zeros_like(angle)
    rows = (
        *(cosine, shear_x - sine, x - cosine * x + sine * y + shear_x / 2 + shift_x),
        *(shear_y + sine, cosine, y - sine * x - cosine * y + shear_y / 2 + shift_y),
        *(zero, zero),
    )
    return ops.stack(rows, axis=1)


def moved(images, maps):
    """Returns images that are mapped, bilinear, and black where nothing comes from.

    Args:
        images: int32 tensor of shape `(batch, height, width, channels)`.
        maps: From `affine_maps`.

    Returns:
        A tensor like `images`, rounded.
    """
    found = ops.image.affine_transform(ops.cast(images, "float32"), maps)
    return ops.cast(ops.round(found), "int32")


def signed_amount(operation, number: int, amount):
    """Returns amounts of the images that have an operation, and zero of others.

    Args:
        operation: int32 tensor of shape `(batch,)`.
        number: Number of the operation.
        amount: Tensor that broadcasts with it.

    Returns:
        float32 tensor of shape `(batch,)`.
    """
    return ops.where(ops.equal(operation, number), ops.cast(amount, "float32"), 0.0)


def radians(degrees):
    """Returns angles in radians."""
    return ops.cast(degrees, "float32") * (math.pi / 180)
