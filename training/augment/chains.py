"""Mixtures of chains of operations, the augmentation of AugMix.

All chains of a batch are computed side by side: at each of their places every row has
one operation, of the tones or of the geometry, or none.

Reference:
    [AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty](
    https://arxiv.org/abs/1912.02781) (Hendrycks et al., 2020), Algorithm 1, with the
    operations and levels of its published code at severity 3.
"""

import keras
from keras import ops

from layers import random
from training.augment import operations

CHAINS, LONGEST, SEVERITY = 3, 3, 3


def mix_chains(images, keys):
    """Mixes each image with chains of random operations on it.

    Each of three chains applies one to three operations at random levels. The mixture
    of the chains has weights from Dirichlet(1, 1, 1), that with the image one from
    Beta(1, 1). Operations that are corruptions of the benchmarks too, such as
    brightness and contrast, are left out.

    At severity 3, of 10 at most, a rotation is by 8 degrees at most, a shear by .09, a
    shift of 32 pixels by 3, the threshold of `solarize` is in [180, 254], and
    `posterize` keeps 3 or 4 bits.

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
    draws = random.fractions(rows, 2 + 3 * LONGEST)
    plain = ops.cast(images, "float32")
    chains = ops.cast(ops.round(plain), "uint8")
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
    share = ops.reshape(random.fractions(random.fold(keys, 3), 1), (-1, 1, 1, 1))
    mixed = (1 - share) * plain + share * ops.sum(weights * chains, axis=1)
    if not keras.backend.is_float_dtype(images.dtype):
        mixed = ops.round(mixed)
    return ops.cast(mixed, images.dtype)


def apply(images, operation, level, sign):
    """Applies one operation to each image.

    Args:
        images: uint8 tensor of shape `(batch, height, width, channels)`.
        operation: int32 tensor of shape `(batch,)`, of places in `OPERATIONS`; others
            leave an image as it is.
        level: Tensor of shape `(batch,)`, in [0, 3]; 10 would be the most of each.
        sign: Tensor of shape `(batch,)`, 1 or -1: the direction of what has one.

    Returns:
        A tensor like `images`.
    """
    for number, function in enumerate(_TONES.values()):
        chosen = ops.equal(operation, number)
        images = operations.where(chosen, function, images, level[:, None, None, None])
    is_moved = ops.greater_equal(operation, len(_TONES))
    return operations.where(is_moved, _moved, images, operation, level, sign)


def _whole(level, most):
    """Returns the integer of a level of which 10 is the most."""
    return ops.cast(level * (most / 10), "int32")


_TONES = {
    "autocontrast": lambda images, level: operations.autocontrast(images),
    "equalize": lambda images, level: operations.equalize(images),
    "posterize": lambda images, level: operations.posterize(
        images, 4 - _whole(level, 4)
    ),
    "solarize": lambda images, level: operations.solarize(
        images, 256 - _whole(level, 256)
    ),
}
OPERATIONS = *_TONES, *operations.MOVES


def _moved(images, operation, level, sign):
    height, width = images.shape[1:3]
    shear, sides = level * 0.03, (width / 3, height / 3)
    shifts = (_whole(level, most) for most in sides)
    amounts = _whole(level, 30), shear, shear, *shifts
    return operations.move(images, operation - len(_TONES), amounts, sign)
