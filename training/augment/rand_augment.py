"""RandAugment: some operations at random, all at one strength.

Reference:
    [RandAugment: Practical automated data augmentation with a reduced search space](
    https://arxiv.org/abs/1909.13719) (Cubuk et al., 2020).
"""

import math
from collections.abc import Callable

import keras
from keras import ops

from layers import checks, random
from training.augment import operations

OPERATIONS = (
    *("identity", "autocontrast", "equalize", "posterize", "solarize"),
    *("brightness", "contrast", "color", "sharpness"),
    *operations.MOVES,
)
# Corruptions of the benchmark that operations are like; images of less than full
# sharpness are blurred.
OVERLAPS = "brightness", "contrast", "saturate", "gaussian_blur"
_GRAY = 0.299, 0.587, 0.114  # Of ITU-R BT.601, as Pillow has it.


def randaugment(
    num_ops: int = 2, factor: float = 0.3, std: float = 0.0, rate: float = 1.0
) -> Callable:
    """Returns an augmentation by random operations of one strength.

    Each image has operations of its own, drawn with replacement from the 14 of the
    paper, each in a direction of its own where it has two. `keras.layers.RandAugment`
    draws the operations once for a batch, which is not what the paper does.

    Args:
        num_ops: How many operations an image has, one after the other.
        factor: Their strength, in [0, 1]: a rotation is by `30 * factor` degrees, a
            shear by `0.3 * factor`, a shift by `factor / 3` of the image, `solarize`
            has the threshold `256 * (1 - factor)`, `posterize` keeps `8 - 4 * factor`
            bits, and brightness, contrast, color and sharpness are multiplied by
            `1 + 0.9 * factor` or `1 - 0.9 * factor`. A magnitude of 9 on the scale of
            the published code, which has 10 as its most, is 0.9, and one of torchvision
            and of others with 30 is 0.3, the default.
        std: Where it is not zero, each operation has a strength of its own, with this
            standard deviation about the factor, cut off at 0 and 1. timm's
            `rand-m9-mstd1` is a factor of 0.9 and 0.1.
        rate: Probability with which an operation is applied; timm has one half.

    Returns:
        A function of images and keys, as in `training.augment`.

    Raises:
        ValueError: If there is no operation, or a number is out of its range.
    """
    checks.check_count(num_ops, "num_ops")
    if not (checks.is_number(factor) and 0 <= factor <= 1):
        raise ValueError(
            "`factor` is the strength of 'randaugment', in [0, 1]; a magnitude of 9 "
            f"with 10 as the most is 0.9. Received: factor={factor}"
        )

    if not (checks.is_number(std) and 0 <= std < math.inf):
        raise ValueError(
            "`std` is the standard deviation of the strength of 'randaugment', zero or "
            f"positive. Received: std={std}"
        )
    if not (checks.is_number(rate) and 0 <= rate <= 1):
        raise ValueError(
            "`rate` is the probability with which 'randaugment' applies an operation, "
            f"in [0, 1]. Received: rate={rate}"
        )

    def augmented(images, keys):
        draws = random.fractions(random.fold(keys, 6), 2 * num_ops)
        changed = images
        if keras.backend.is_float_dtype(images.dtype):
            changed = ops.round(images)
        changed = ops.cast(changed, "uint8")
        shape = (*ops.shape(keys), num_ops)
        if std:
            noise = random.normal(random.fold(keys, 7), shape)
            strengths = ops.clip(factor + std * noise, 0, 1)
        if rate < 1:
            used = random.bernoulli(random.fold(keys, 8), shape, rate)
        for place in range(num_ops):
            operation = ops.cast(draws[:, 2 * place] * len(OPERATIONS), "int32")
            if rate < 1:
                operation = ops.where(used[:, place], operation, 0)  # The identity.
            sign = ops.where(draws[:, 2 * place + 1] < 0.5, -1.0, 1.0)
            strength = strengths[:, place] if std else factor
            changed = apply(changed, operation, strength, sign)
        return ops.cast(changed, images.dtype)

    return augmented


def apply(images, operation, factor, sign):
    """Applies one operation to each image.

    Args:
        images: uint8 tensor of shape `(batch, height, width, channels)`.
        operation: int32 tensor of shape `(batch,)`, of places in `OPERATIONS`.
        factor: The strength, in [0, 1]: a number, or a tensor of shape `(batch,)`.
        sign: Tensor of shape `(batch,)`, 1 or -1: the direction of what has one.

    Returns:
        A tensor like `images`.
    """

    def of_each(value, dtype):
        value = ops.cast(ops.convert_to_tensor(value), dtype)
        return ops.broadcast_to(value, ops.shape(sign))

    levels = (
        1 + 0.9 * factor * sign,
        of_each(8 - _rounded(4 * factor), "int32"),
        of_each(_rounded(256 * (1 - factor)), "int32"),
    )
    levels = [level[:, None, None, None] for level in levels]
    for name, function in _TONES.items():
        chosen = ops.equal(operation, OPERATIONS.index(name))
        images = operations.where(chosen, function, images, *levels)

    height, width = images.shape[1:3]
    shear, shifts = 0.3 * factor, (_cut(factor * n / 3) for n in (width, height))
    amounts = [of_each(x, "float32") for x in (30 * factor, shear, shear, *shifts)]

    def moved(images, operation, sign, *amounts):
        return operations.move(images, operation - first, amounts, sign)

    first = OPERATIONS.index(operations.MOVES[0])
    is_moved = ops.greater_equal(operation, first)
    return operations.where(is_moved, moved, images, operation, sign, *amounts)


def _rounded(value):
    return round(value) if checks.is_number(value) else ops.round(value)


def _cut(value):
    return int(value) if checks.is_number(value) else ops.floor(value)


def _blended(degenerate, images, strength):
    """Returns what is `strength` times as far from the degenerate image."""
    images = ops.cast(images, "float32")
    found = degenerate + strength * (images - degenerate)
    return ops.cast(ops.round(ops.clip(found, 0, 255)), "int32")


def _brightness(images, strength, *_):
    return _blended(0.0, images, strength)


def _gray(images):
    """Returns the gray image, of one channel."""
    channels = images.shape[-1]
    weights = _GRAY if channels == len(_GRAY) else [1 / channels] * channels
    weights = ops.convert_to_tensor(weights, "float32")
    weighted = ops.cast(images, "float32") * weights
    return ops.round(ops.sum(weighted, axis=-1, keepdims=True))


def _contrast(images, strength, *_):
    """Changes the distance from the mean of the gray image."""
    mean = ops.mean(_gray(images), axis=(1, 2, 3), keepdims=True)
    return _blended(ops.floor(mean + 0.5), images, strength)


def _color(images, strength, *_):
    """Changes the distance from the gray image."""
    return _blended(_gray(images), images, strength)


def _sharpness(images, strength, *_):
    """Changes the distance from the smooth image, which has the border as it is."""
    if min(images.shape[1:3]) < 3:
        return images
    x = ops.cast(images, "float32")
    rows = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
    box = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    inner = x[:, 1:-1, 1:-1]
    change = ops.round((box + 4 * inner) / 13) - inner
    smooth = x + ops.pad(change, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return _blended(smooth, images, strength)


# Functions of images, strengths, bits and thresholds by the name of the operation.
_TONES = {
    "autocontrast": lambda images, *_: operations.autocontrast(images),
    "equalize": lambda images, *_: operations.equalize(images),
    "posterize": lambda images, _, bits, __: operations.posterize(images, bits),
    "solarize": lambda images, _, __, start: operations.solarize(images, start),
    "brightness": _brightness,
    "contrast": _contrast,
    "color": _color,
    "sharpness": _sharpness,
}
