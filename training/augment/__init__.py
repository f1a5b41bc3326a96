"""Augmentation: pure functions of images and one random key for each."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import keras
from keras import ops

from layers import random
from training import named_settings
from training.augment import pairs, rand_augment
from training.augment.chains import mix_chains
from zoo import arrays


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


def crop(images, keys, padding: int, fill: int = 0):
    """Shifts each image by up to `padding` pixels each way, and fills with a number.

    Args:
        images: Tensor of shape `(batch, height, width, channels)`.
        keys: uint32 tensor of shape `(batch,)`.
        padding: The largest shift.
        fill: The number.

    Returns:
        A tensor like `images`: crops, uniform over all positions, of the padded image.
    """
    drawn = random.integers(random.fold(keys, 1), 2)
    offsets = ops.right_shift(drawn * (2 * padding + 1), 16)
    amounts = (padding, padding)
    widths = ((0, 0), amounts, amounts, (0, 0))
    images = ops.pad(images, widths, constant_values=fill)
    for axis in (1, 2):
        size = images.shape[axis] - 2 * padding
        index = offsets[:, axis - 1, None] + ops.arange(size, dtype="int32")
        index = ops.expand_dims(index, (3 - axis, 3))
        images = ops.take_along_axis(images, index, axis=axis)
    return images


def resized_crop(
    images,
    keys,
    smallest: float,
    ratio: float = 4 / 3,
    interpolation: str = "bilinear",
):
    """Enlarges a random part of each image to the size of the image.

    The area of the part, as a share of the image, is uniform between `smallest` and 1,
    the logarithm of its ratio of width to height uniform between those of `1 / ratio`
    and `ratio`, each side is cut to the image, and every position is equally likely.

    Args:
        images: Tensor of shape `(batch, height, width, channels)`.
        keys: uint32 tensor of shape `(batch,)`.
        smallest: The smallest area.
        ratio: The largest ratio of the sides, against those of the image.
        interpolation: `"bilinear"`, or `"nearest"` for what is no number.

    Returns:
        A tensor like `images`.

    Reference:
        [Going Deeper with Convolutions](https://arxiv.org/abs/1409.4842)
        (Szegedy et al., 2015), section 6.
    """
    uniform = ops.transpose(random.fractions(random.fold(keys, 2), 4))
    side = ops.sqrt(smallest + (1 - smallest) * uniform[0])
    stretch = ops.exp(math.log(ratio) * (uniform[1] - 0.5))
    width, height = ops.minimum(side * stretch, 1), ops.minimum(side / stretch, 1)
    # The center of pixel `i` is at `i + 1/2`, in the image and in the result.
    left = images.shape[2] * (1 - width) * uniform[2] + (width - 1) / 2
    top = images.shape[1] * (1 - height) * uniform[3] + (height - 1) / 2
    zero = ops.zeros_like(side)
    rows = width, zero, left, zero, height, top, zero, zero
    parts = ops.image.affine_transform(
        ops.cast(images, "float32"),
        ops.stack(rows, axis=1),
        interpolation=interpolation,
        fill_mode="nearest",
    )
    if not keras.backend.is_float_dtype(images.dtype):
        parts = ops.round(parts)
    return ops.cast(parts, images.dtype)


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What recipes know of an augmentation.

    Attributes:
        make: A function of its settings to what augments: a function of images and one
            key for each to images or, if it `mixes_pairs`, one like that of
            `training.augment.pairs.mixup`.
        mixes_pairs: Whether it mixes images with others of the batch, so that labels
            become probabilities of the classes.
        overlaps: The corruptions of the benchmark that it is like. A model that was
            trained with it has seen the like of them, and its card says so.
        of_maps: A function of labels of pixels, of shape `(batch, height, width, 1)`,
            and the same keys, to these labels where the pixels are then, -1 for those
            that come from outside; None where there is no such function.
    """

    make: Callable
    mixes_pairs: bool = False
    overlaps: tuple[str, ...] = ()
    of_maps: Callable | None = None


def _fixed(function, of_maps=None, **settings) -> Augmentation:
    augment = functools.partial(function, **settings)
    if of_maps is not None:
        of_maps = functools.partial(augment, **of_maps)
    return Augmentation(lambda: augment, of_maps=of_maps)


_OUTSIDE = {"fill": arrays.UNLABELED}


# By their name in a recipe.
AUGMENTATIONS = {
    "flip": _fixed(flip, of_maps={}),
    "crop2": _fixed(crop, padding=2, of_maps=_OUTSIDE),
    "crop4": _fixed(crop, padding=4, of_maps=_OUTSIDE),
    "crop8": _fixed(crop, padding=8, of_maps=_OUTSIDE),
    "resized_crop": _fixed(
        resized_crop, smallest=0.25, of_maps={"interpolation": "nearest"}
    ),
    "augmix": _fixed(mix_chains),
    "randaugment": Augmentation(
        rand_augment.randaugment, overlaps=rand_augment.OVERLAPS
    ),
    "mixup": Augmentation(pairs.mixup, mixes_pairs=True),
    "cutmix": Augmentation(pairs.cutmix, mixes_pairs=True),
    "mixup_cutmix": Augmentation(pairs.mixup_or_cutmix, mixes_pairs=True),
}


def read(text: str) -> tuple[Augmentation, Callable]:
    """Returns an augmentation that a recipe names, and what augments.

    Args:
        text: A key of `AUGMENTATIONS`, and settings behind a colon each.

    Raises:
        ValueError: If there is no such augmentation, or it has no such settings.

    Example:

    >>> read("mixup:alpha=0.2")[0].mixes_pairs
    True
    """
    makers = {name: known.make for name, known in AUGMENTATIONS.items()}
    name, settings = named_settings.read(text, makers, "augmentation")
    return AUGMENTATIONS[name], makers[name](**settings)


def read_all(names: Sequence[str]) -> tuple[list[Callable], Callable | None]:
    """Returns what augments images alone, in order, and then what mixes pairs.

    Args:
        names: Of augmentations, as `read` takes them.

    Returns:
        The functions of images and keys, and that of pairs, or None.

    Raises:
        ValueError: If one of them is not known or has no such settings, or one that
            mixes pairs is not the last.
    """
    found = [read(name) for name in names]
    for known, _ in found[:-1]:
        if known.mixes_pairs:
            mixing = ", ".join(n for n in names if read(n)[0].mixes_pairs)
            raise ValueError(
                "What mixes pairs of images comes last, and there is one at most, here "
                f"of {mixing}. Received: augmentations={list(names)}"
            )
    functions = [function for _, function in found]
    if found and found[-1][0].mixes_pairs:
        return functions[:-1], functions[-1]
    return functions, None


def read_of_maps(names: Sequence[str]) -> list[Callable]:
    """Returns what moves labels of pixels as augmentations move the pixels, in order.

    Args:
        names: Of augmentations, as `read` takes them.

    Returns:
        Functions of labels of shape `(batch, height, width)` and keys.

    Raises:
        ValueError: If an augmentation is not known, or moves pixels and not labels.
    """
    found = [(name, read(name)[0].of_maps) for name in names]
    if without := [name for name, function in found if function is None]:
        able = [name for name, known in AUGMENTATIONS.items() if known.of_maps]
        raise ValueError(
            f"Augmentations by {', '.join(without)} move pixels, and not their labels. "
            f"With a label for each pixel there are {', '.join(able)}. Received: "
            f"augmentations={list(names)}"
        )

    def moved(labels, keys, function):
        return function(labels[..., None], keys)[..., 0]

    return [functools.partial(moved, function=function) for _, function in found]


def mixes_pairs(names: Sequence[str]) -> bool:
    """Returns whether augmentations make labels probabilities of the classes."""
    return any(read(name)[0].mixes_pairs for name in names)


def overlaps(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the corruptions of the benchmark that augmentations are like."""
    found = (corruption for name in names for corruption in read(name)[0].overlaps)
    return tuple(dict.fromkeys(found))
