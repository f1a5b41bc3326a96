"""Mixtures of chains of operations, the augmentation of AugMix.

All chains of a batch are computed side by side: at each of their places every row has
one operation, of the tones or of the geometry, or none.

Reference:
    [AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty](
    https://arxiv.org/abs/1912.02781) (Hendrycks et al., 2020), Algorithm 1, with the
    operations and levels of its published code at severity 3.
"""

import math

import keras
from keras import ops

from layers import random

CHAINS, LONGEST, SEVERITY = 3, 3, 3
OPERATIONS = (
    *("autocontrast", "equalize", "posterize", "solarize"),
    *("rotate", "shear_x", "shear_y", "translate_x", "translate_y"),
)


def mix_chains(images, keys):
    """Mixes each image with chains of random operations on it.

    Each of three chains applies one to three operations at random levels. The mixture
    of the chains has weights from Dirichlet(1, 1, 1), that with the image one from
    Beta(1, 1). Operations that are corruptions of the benchmarks too, such as
    brightness and contrast, are left out.

    Args:
        images: Tensor of shape `(batch, height, width, channels)`, in [0, 255].
        keys: uint32 tensor of shape `(batch,)`.

    Returns:
        A tensor like `images`; integers are rounded.
    """
    shape = ops.shape(images)
    rows = ops.reshape(
        random.fold(keys[:, None], 16 + ops.arange(CHAINS, dtype="int32")), (-1,)
    )
    draws = _uniform(rows, 2 + 3 * LONGEST)
    plain = ops.cast(images, "float32")
    chains = ops.cast(ops.round(plain), "int32")
    chains = ops.repeat(chains, CHAINS, axis=0)  # Those of an image lie together.
    depth = 1 + ops.cast(draws[:, 0] * LONGEST, "int32")
    for place in range(LONGEST):
        choice, level, side = ops.unstack(draws[:, 2 + place :: LONGEST], axis=1)
        operation = ops.cast(choice * len(OPERATIONS), "int32")
        operation = ops.where(place < depth, operation, -1)
        level = 0.1 + (SEVERITY - 0.1) * level
        chains = apply(chains, operation, level, ops.where(side < 0.5, -1.0, 1.0))
    # Exponential variates over their sum are uniform on the simplex.
    weights = ops.reshape(-ops.log1p(-draws[:, 1]), (-1, CHAINS))
    weights = weights / ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1e-12)
    weights = ops.reshape(weights, (-1, CHAINS, 1, 1, 1))
    chains = ops.reshape(ops.cast(chains, "float32"), (-1, CHAINS, *shape[1:]))
    share = ops.reshape(_uniform(random.fold(keys, 3), 1), (-1, 1, 1, 1))
    mixed = (1 - share) * plain + share * ops.sum(weights * chains, axis=1)
    if not keras.backend.is_float_dtype(images.dtype):
        mixed = ops.round(mixed)
    return ops.cast(mixed, images.dtype)


def _uniform(keys, count):
    """Returns numbers in [0, 1), of shape `(*keys.shape, count)`."""
    return ops.cast(ops.right_shift(random.bits(keys, count), 8), "float32") / 2**24


def apply(images, operation, level, sign):
    """Applies one operation to each image.

    Args:
        images: int32 tensor of shape `(batch, height, width, channels)`, in [0, 255].
        operation: int32 tensor of shape `(batch,)`, of places in `OPERATIONS`; others
            leave an image as it is.
        level: Tensor of shape `(batch,)`, in [0, 3]; 10 would be the most of each.
        sign: Tensor of shape `(batch,)`, 1 or -1: the direction of what has one.

    Returns:
        A tensor like `images`.
    """
    rows = {"operation": operation, "level": level, "sign": sign}
    rows = {name: ops.reshape(value, (-1, 1, 1, 1)) for name, value in rows.items()}
    toned = images
    for name, function in _TONES.items():
        chosen = ops.equal(rows["operation"], OPERATIONS.index(name))
        toned = ops.where(chosen, function(images, rows["level"]), toned)
    is_moved = ops.greater_equal(rows["operation"], len(_TONES))
    maps = _affine_maps(images.shape[1:3], operation, level, sign)
    moved = ops.image.affine_transform(ops.cast(toned, "float32"), maps)
    return ops.where(is_moved, ops.cast(ops.round(moved), "int32"), toned)


def _autocontrast(images, level):
    """Stretches the values of each channel to the whole range."""
    low = ops.min(images, axis=(1, 2), keepdims=True)
    width = ops.max(images, axis=(1, 2), keepdims=True) - low
    stretched = (images - low) * 255 // ops.maximum(width, 1)
    return ops.where(width > 0, stretched, images)


def _equalize(images, level):
    """Makes the histogram of each channel flat, as far as equal values stay equal."""
    batch, _, _, channels = ops.shape(images)
    first = 256 * ops.arange(batch * channels, dtype="int32")
    places = images + ops.reshape(first, (batch, 1, 1, channels))
    flat = ops.reshape(places, (-1,))
    counts = ops.segment_sum(ops.ones_like(flat), flat, batch * channels * 256)
    counts = ops.reshape(counts, (-1, 256))
    below = ops.reshape(ops.cumsum(counts, axis=1) - counts, (-1,))
    below = ops.take(below, places)
    step = ops.max(below, axis=(1, 2), keepdims=True) // 255
    equal = ops.minimum((step // 2 + below) // ops.maximum(step, 1), 255)
    return ops.where(step > 0, equal, images)


def _posterize(images, level):
    """Keeps the highest bits, four or three."""
    unit = ops.where(_whole(level, 4) > 0, 32, 16)
    return images // unit * unit


def _solarize(images, level):
    """Inverts the brightest values."""
    return ops.where(images < 256 - _whole(level, 256), images, 255 - images)


_TONES = {
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "posterize": _posterize,
    "solarize": _solarize,
}


def _whole(level, most):
    """Returns the integer of a level of which 10 is the most."""
    return ops.cast(level * (most / 10), "int32")


def _affine_maps(size, operation, level, sign):
    """Returns maps from the places of pixels to where they come from."""
    height, width = size

    def amount(name, value):
        chosen = ops.equal(operation, OPERATIONS.index(name))
        return ops.where(chosen, sign * ops.cast(value, "float32"), 0.0)

    angle = amount("rotate", _whole(level, 30)) * (math.pi / 180)
    shear_x, shear_y = (amount(f"shear_{axis}", level * 0.03) for axis in "xy")
    shift_x = amount("translate_x", _whole(level, width / 3))
    shift_y = amount("translate_y", _whole(level, height / 3))
    # A rotation is about the center, and a shear fixes the corner of the image, which
    # is half a pixel before the first one.
    x, y = (width - 1) / 2, (height - 1) / 2
    cosine, sine = ops.cos(angle), ops.sin(angle)
    zero = ops.zeros_like(angle)
    rows = (
        *(cosine, shear_x - sine, x - cosine * x + sine * y + shear_x / 2 + shift_x),
        *(shear_y + sine, cosine, y - sine * x - cosine * y + shear_y / 2 + shift_y),
        *(zero, zero),
    )
    return ops.stack(rows, axis=1)
