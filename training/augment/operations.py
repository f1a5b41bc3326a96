"""Operations that augmentations choose from, each image another one.

Images are int32 in [0, 255], and results those of Pillow. Between operations they are
bytes, since to copy takes as long as to compute.
"""

import math
from collections.abc import Callable, Sequence

import keras
from keras import ops

MOVES = "rotate", "shear_x", "shear_y", "translate_x", "translate_y"
_VALUES = 256


def where(chosen, function: Callable, images, *others):
    """Returns images of which the chosen ones are those of a function.

    TensorFlow computes the function of these alone. Backends that know the number of
    rows when they compile compute it of all, and choose.

    Args:
        chosen: Boolean tensor of shape `(batch,)`.
        function: From images, as int32, and others, of any batch, to int32 images.
        images: uint8 tensor of shape `(batch, height, width, channels)`.
        *others: Tensors of shape `(batch, ...)`.

    Returns:
        A tensor like `images`.
    """

    def computed(images, *others):
        found = function(ops.cast(images, "int32"), *others)
        return ops.cast(found, images.dtype)

    if keras.backend.backend() != "tensorflow":
        chosen = chosen[:, None, None, None]
        return ops.where(chosen, computed(images, *others), images)
    import tensorflow as tf

    rows = tf.where(chosen)
    part = computed(*(tf.gather(x, rows[:, 0]) for x in (images, *others)))
    return tf.tensor_scatter_nd_update(images, rows, part)


def autocontrast(images):
    """Stretches the values of each channel to the whole range.

    Args:
        images: int32 tensor of shape `(batch, height, width, channels)`, in [0, 255].
    """
    # Without an initial value Keras would refuse a batch of no image.
    low = ops.min(images, axis=(1, 2), keepdims=True, initial=255)
    width = ops.max(images, axis=(1, 2), keepdims=True, initial=0) - low
    stretched = _quotient((images - low) * 255, ops.maximum(width, 1))
    return ops.where(ops.greater(width, 0), stretched, images)


def equalize(images):
    """Makes the histogram of each channel flat, as far as equal values stay equal.

    Args:
        images: int32 tensor of shape `(batch, height, width, channels)`, in [0, 255].
    """
    batch, _, _, channels = ops.shape(images)
    first = _VALUES * ops.arange(batch * channels, dtype="int32")
    places = images + ops.reshape(first, (batch, 1, 1, channels))
    counts = _histograms(images, places)
    below = ops.cumsum(counts, axis=1) - counts
    present = ops.where(ops.greater(counts, 0), below, 0)
    step = ops.max(present, axis=1, keepdims=True, initial=0) // 255
    equal = _quotient(step // 2 + below, ops.maximum(step, 1))
    as_it_is = ops.arange(_VALUES, dtype="int32")
    table = ops.where(ops.greater(step, 0), ops.minimum(equal, 255), as_it_is)
    return ops.take(ops.reshape(table, (-1,)), places)


def _histograms(images, places):
    """Counts the values of each channel, in an array `(batch * channels, 256)`."""
    batch, height, width, channels = ops.shape(images)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        rows = tf.reshape(tf.transpose(images, (0, 3, 1, 2)), (-1, height * width))
        ones = tf.constant([], "int32")
        return tf.raw_ops.DenseBincount(input=rows, size=_VALUES, weights=ones)
    flat, size = ops.reshape(places, (-1,)), batch * channels * _VALUES
    counts = ops.segment_sum(ops.ones_like(flat), flat, size)
    return ops.reshape(counts, (-1, _VALUES))


def _quotient(x, y):
    """Returns `x // y` of integers below `2**24`, for which floats are exact and fast.

    A quotient that is no integer is off the next one by `1 / y`, more than it rounds.
    """
    return ops.cast(ops.floor(ops.cast(x, "float32") / ops.cast(y, "float32")), "int32")


def posterize(images, bits):
    """Keeps the highest bits of each value.

    Args:
        images: int32 tensor in [0, 255].
        bits: int32 tensor in [0, 8] that broadcasts with it.
    """
    unit = ops.left_shift(ops.ones_like(bits), 8 - bits)
    return images // unit * unit


def solarize(images, threshold):
    """Inverts values from a threshold on.

    Args:
        images: int32 tensor in [0, 255].
        threshold: int32 tensor that broadcasts with it.
    """
    return ops.where(ops.less(images, threshold), images, 255 - images)


def move(images, kind, amounts: Sequence, sign):
    """Moves each image in one way, bilinear, and black where nothing comes from.

    Args:
        images: int32 tensor of shape `(batch, height, width, channels)`.
        kind: int32 tensor of shape `(batch,)`, of places in `MOVES`.
        amounts: For each of `MOVES` numbers or tensors of shape `(batch,)`: degrees of
            a rotation about the center, shears, which fix the corner of the image that
            is half a pixel before the first one, and pixels of shifts.
        sign: Tensor of shape `(batch,)`, 1 or -1: the direction.

    Returns:
        A tensor like `images`, rounded.
    """
    degrees, shear_x, shear_y, shift_x, shift_y = (
        ops.where(ops.equal(kind, number), sign * ops.cast(amount, "float32"), 0.0)
        for number, amount in enumerate(amounts)
    )
    height, width = images.shape[1:3]
    x, y = (width - 1) / 2, (height - 1) / 2
    angle = degrees * (math.pi / 180)
    cosine, sine, zero = ops.cos(angle), ops.sin(angle), ops.zeros_like(angle)
    # From the places of pixels to where they come from.
    rows = (
        *(cosine, shear_x - sine, x - cosine * x + sine * y + shear_x / 2 + shift_x),
        *(shear_y + sine, cosine, y - sine * x - cosine * y + shear_y / 2 + shift_y),
        *(zero, zero),
    )
    found = ops.image.affine_transform(
        ops.cast(images, "float32"), ops.stack(rows, axis=1)
    )
    return ops.cast(ops.round(found), "int32")
