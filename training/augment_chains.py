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
from training import augment_operations as operations

CHAINS, LONGEST, SEVERITY = 3, 3, 3
_TONES = "autocontrast", "equalize", "posterize", "solarize"
OPERATIONS = (
    *_TONES,
    *("rotate", "shear_x", "shear_y", "translate_x", "translate_y"),
)


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
    draws = random.uniform(rows, 2 + 3 * LONGEST)
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
    share = ops.reshape(random.uniform(random.fold(keys, 3), 1), (-1, 1, 1, 1))
    mixed = (1 - share) * plain + share * ops.sum(weights * chains, axis=1)
    if not keras.backend.is_float_dtype(images.dtype):
        mixed = ops.round(mixed)
    return ops.cast(mixed, images.dtype)


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
    toned = operations.look_up(images, _tables(images, operation, level))
    maps = _affine_maps(images.shape[1:3], operation, level, sign)
    is_moved = ops.greater_equal(operation, len(_TONES))[:, None, None, None]
    return ops.where(is_moved, operations.moved(images, maps), toned)


def _tables(images, operation, level):
    """Returns the tables of the images, of shape `(batch, channels, 256)`."""
    counts = operations.histograms(images)
    operation, level = operation[:, None, None], level[:, None, None]
    made = {
        "autocontrast": operations.autocontrast(counts),
        "equalize": operations.equalize(counts),
        "posterize": operations.posterize(4 - _whole(level, 4)),
        "solarize": operations.solarize(256 - _whole(level, 256)),
    }
    tables = ops.broadcast_to(operations.values(), ops.shape(counts))
    for number, name in enumerate(_TONES):
        tables = ops.where(ops.equal(operation, number), made[name], tables)
    return tables


def _whole(level, most):
    """Returns the integer of a level of which 10 is the most."""
    return ops.cast(level * (most / 10), "int32")


def _affine_maps(size, operation, level, sign):
    """Returns maps from the places of pixels to where they come from."""
    height, width = size

    def amount(name, value):
        value = sign * ops.cast(value, "float32")
        return operations.signed_amount(operation, OPERATIONS.index(name), value)

    return operations.affine_maps(
        size,
        angle=operations.radians(amount("rotate", _whole(level, 30))),
        shear_x=amount("shear_x", level * 0.03),
        shear_y=amount("shear_y", level * 0.03),
        shift_x=amount("translate_x", _whole(level, width / 3)),
        shift_y=amount("translate_y", _whole(level, height / 3)),
    )
