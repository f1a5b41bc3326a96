"""RandAugment: some operations at random, all at one strength.

Reference:
    [RandAugment: Practical automated data augmentation with a reduced search space](
    https://arxiv.org/abs/1909.13719) (Cubuk et al., 2020).
"""

from collections.abc import Callable

from keras import ops

from layers import checks, random
from training import augment_operations as operations

OPERATIONS = (
    *("identity", "autocontrast", "equalize", "posterize", "solarize"),
    *("brightness", "contrast", "color", "sharpness"),
    *("rotate", "shear_x", "shear_y", "translate_x", "translate_y"),
)
# Corruptions of the benchmark that operations are like; images of less than full
# sharpness are blurred.
OVERLAPS = "brightness", "contrast", "saturate", "gaussian_blur"
_FIRST_MOVE = OPERATIONS.index("rotate")
_GRAY = 0.299, 0.587, 0.114  # Of ITU-R BT.601, as Pillow has it.


def randaugment(num_ops: int = 2, factor: float = 0.3) -> Callable:
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

    Returns:
        A function of images and keys, as in `training.augment`.

    Raises:
        ValueError: If there is no operation, or the factor is out of its range.
    """
    checks.check_count(num_ops, "num_ops")
    if not (checks.is_number(factor) and 0 <= factor <= 1):
        raise ValueError(
            "`factor` is the strength of 'randaugment', in [0, 1]; a magnitude of 9 "
            f"with 10 as the most is 0.9. Received: factor={factor}"
        )

    def augmented(images, keys):
        draws = random.uniform(random.fold(keys, 6), 2 * num_ops)
        changed = ops.cast(ops.round(ops.cast(images, "float32")), "int32")
        for place in range(num_ops):
            operation = ops.cast(draws[:, 2 * place] * len(OPERATIONS), "int32")
            sign = ops.where(draws[:, 2 * place + 1] < 0.5, -1.0, 1.0)
            changed = apply(changed, operation, factor, sign)
        return ops.cast(changed, images.dtype)

    return augmented


def apply(images, operation, factor: float, sign):
    """Applies one operation to each image.

    Args:
        images: int32 tensor of shape `(batch, height, width, channels)`, in [0, 255].
        operation: int32 tensor of shape `(batch,)`, of places in `OPERATIONS`.
        factor: The strength, in [0, 1].
        sign: Tensor of shape `(batch,)`, 1 or -1: the direction of what has one.

    Returns:
        A tensor like `images`.
    """
    is_one = {name: ops.equal(operation, n) for n, name in enumerate(OPERATIONS)}
    strength = 1 + 0.9 * factor * sign
    tables = _tables(images, is_one, factor, strength)
    changed = operations.look_up(images, tables)
    strength = strength[:, None, None, None]
    for name, function in (("color", _color), ("sharpness", _sharpness)):
        chosen = is_one[name][:, None, None, None]
        changed = ops.where(chosen, function(images, strength), changed)
    maps = _affine_maps(images.shape[1:3], operation, factor, sign)
    is_moved = ops.greater_equal(operation, _FIRST_MOVE)[:, None, None, None]
    return ops.where(is_moved, operations.moved(images, maps), changed)


def _tables(images, is_one, factor, strength):
    counts = operations.histograms(images)
    strength = strength[:, None, None]
    as_it_is = operations.values()
    bits = ops.convert_to_tensor(8 - round(4 * factor), "int32")
    threshold = ops.convert_to_tensor(round(256 * (1 - factor)), "int32")
    gray = ops.floor(_mean_gray(counts) + 0.5)
    made = {
        "autocontrast": operations.autocontrast(counts),
        "equalize": operations.equalize(counts),
        "posterize": operations.posterize(bits),
        "solarize": operations.solarize(threshold),
        "brightness": _blended(0.0, as_it_is, strength),
        "contrast": _blended(gray, as_it_is, strength),
    }
    tables = ops.broadcast_to(as_it_is, ops.shape(counts))
    for name, table in made.items():
        tables = ops.where(is_one[name][:, None, None], table, tables)
    return tables


def _blended(degenerate, images, strength):
    """Returns what is `strength` times as far from the degenerate image."""
    images = ops.cast(images, "float32")
    found = degenerate + strength * (images - degenerate)
    return ops.cast(ops.round(ops.clip(found, 0, 255)), "int32")


def _gray_weights(channels):
    return _GRAY if channels == len(_GRAY) else (1 / channels,) * channels


def _mean_gray(counts):
    """Returns the mean of the gray image, of shape `(batch, 1, 1)`."""
    weights = ops.convert_to_tensor(_gray_weights(counts.shape[1]), "float32")
    counts = ops.cast(counts, "float32")
    sums = ops.sum(counts * ops.cast(operations.values(), "float32"), axis=-1)
    means = sums / ops.sum(counts, axis=-1)
    return ops.sum(means * weights, axis=-1)[:, None, None]


def _color(images, strength):
    """Changes the saturation."""
    weights = ops.convert_to_tensor(_gray_weights(images.shape[-1]), "float32")
    gray = ops.sum(ops.cast(images, "float32") * weights, axis=-1, keepdims=True)
    return _blended(ops.round(gray), images, strength)


def _sharpness(images, strength):
    """Sharpens or smooths all but the border, as Pillow does."""
    if min(images.shape[1:3]) < 3:
        return images
    x = ops.cast(images, "float32")
    rows = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
    box = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    inner = x[:, 1:-1, 1:-1]
    change = ops.round((box + 4 * inner) / 13) - inner
    smooth = x + ops.pad(change, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return _blended(smooth, images, strength)


def _affine_maps(size, operation, factor, sign):
    height, width = size

    def amount(name, value):
        number = OPERATIONS.index(name)
        return operations.signed_amount(operation, number, sign * value)

    return operations.affine_maps(
        size,
        angle=operations.radians(amount("rotate", 30 * factor)),
        shear_x=amount("shear_x", 0.3 * factor),
        shear_y=amount("shear_y", 0.3 * factor),
        shift_x=amount("translate_x", float(int(factor * width / 3))),
        shift_y=amount("translate_y", float(int(factor * height / 3))),
    )
