"""Mixtures of pairs of images, and of their labels, which become probabilities.

All draws are those of the key of the image, so a mixture is the same on every backend
and on any number of devices; `keras.layers.MixUp` and `keras.layers.CutMix` draw for a
batch as a whole, the latter also the parameter of its Beta distribution.
"""

import functools
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from layers import checks, random

_LEVELS = 1 << 16


def mixup(alpha: float = 1.0) -> Callable:
    """Returns an augmentation by convex combinations of pairs.

    Images and labels become `(1 - w) * own + w * other`, with one weight `w` from
    Beta(alpha, alpha) for each image.

    Args:
        alpha: Positive: 1, as for CIFAR in the paper, is the uniform distribution, and
            less of it mixes less; 0.2 is the paper's for ImageNet.

    Returns:
        A function of images of shape `(batch, height, width, channels)`, of
        probabilities of shape `(batch, num_classes)`, of both of the other image of
        each pair, and of uint32 keys of shape `(batch,)`, to images like the first,
        where integers are rounded, and to probabilities.

    Raises:
        ValueError: If `alpha` is not positive.

    Reference:
        [mixup: Beyond Empirical Risk Minimization](https://arxiv.org/abs/1710.09412)
        (Zhang et al., 2018), Eq. 1.
    """
    _check_alpha(alpha, "mixup")

    def mixed(images, labels, others, other_labels, keys):
        place = random.integers(random.fold(keys, 4), 1)[:, 0]
        share = ops.take(beta_quantiles(alpha), place)
        pixels = share[:, None, None, None]
        own, other = (ops.cast(x, "float32") for x in (images, others))
        found = (1 - pixels) * own + pixels * other
        if not keras.backend.is_float_dtype(images.dtype):
            found = ops.round(found)
        return ops.cast(found, images.dtype), _blend(labels, other_labels, share)

    return mixed


def cutmix(alpha: float = 1.0, rate: float = 0.5) -> Callable:
    """Returns an augmentation that puts a part of another image into each.

    The part is a rectangle like the image, whose share of the area is from Beta(alpha,
    alpha), about a uniform center; what is outside of the image is cut off. The weight
    of the label of the other image is the area that it really has.

    Args:
        alpha: Positive; 1, as in the paper, is the uniform distribution.
        rate: Probability with which an image gets a part of another: one half, as in
            the paper for CIFAR, where it is drawn for a batch; 1 for ImageNet.

    Returns:
        A function like that of `mixup`.

    Raises:
        ValueError: If `alpha` is not positive, or `rate` no probability.

    Reference:
        [CutMix](https://arxiv.org/abs/1905.04899) (Yun et al., 2019), Eqs. 1 and 2.
    """
    _check_alpha(alpha, "cutmix")
    if not (checks.is_number(rate) and 0 <= rate <= 1):
        raise ValueError(
            "`rate` is the probability with which 'cutmix' changes an image, in [0, "
            f"1]. Received: rate={rate}"
        )

    def mixed(images, labels, others, other_labels, keys):
        size = height, width = images.shape[1:3]
        draws = random.integers(random.fold(keys, 5), 4)
        side = ops.take(np.sqrt(beta_quantiles(alpha)), draws[:, 0])
        chosen = ops.less(draws[:, 1], round(rate * _LEVELS))
        inside, area = ops.ones((1, 1, 1, 1), dtype="bool"), 1
        for axis in (0, 1):
            half = ops.cast(ops.floor(side * size[axis]), "int32") // 2
            half = ops.where(chosen, half, 0)
            center = ops.right_shift(draws[:, 2 + axis] * size[axis], 16)
            first = ops.maximum(center - half, 0)
            end = ops.minimum(center + half, size[axis])
            area = area * (end - first)
            index = ops.arange(size[axis], dtype="int32")
            is_in = ops.greater_equal(index, first[:, None])
            is_in = ops.logical_and(is_in, ops.less(index, end[:, None]))
            is_in = ops.expand_dims(is_in, (2 - axis, 3))
            inside = ops.logical_and(inside, is_in)
        share = ops.cast(area, "float32") / (height * width)
        return ops.where(inside, others, images), _blend(labels, other_labels, share)

    return mixed


def mixup_or_cutmix(
    mixup_alpha: float = 1.0, cutmix_alpha: float = 1.0, switch: float = 0.5
) -> Callable:
    """Returns an augmentation by one of both for each image, drawn at random.

    Args:
        mixup_alpha: The `alpha` of `mixup`.
        cutmix_alpha: The `alpha` of `cutmix`, whose `rate` is 1 here.
        switch: Probability of `cutmix`.

    Returns:
        A function like that of `mixup`.

    Raises:
        ValueError: If an `alpha` is not positive, or `switch` no probability.

    Reference:
        [Training data-efficient image transformers](https://arxiv.org/abs/2012.12877)
        (Touvron et al., 2021), appendix; there one is drawn for a batch.
    """
    _check_alpha(mixup_alpha, "mixup_cutmix", "mixup_alpha")
    _check_alpha(cutmix_alpha, "mixup_cutmix", "cutmix_alpha")
    if not (checks.is_number(switch) and 0 <= switch <= 1):
        raise ValueError(
            "`switch` is the probability with which 'mixup_cutmix' takes CutMix, in "
            f"[0, 1]. Received: switch={switch}"
        )
    first, second = mixup(mixup_alpha), cutmix(cutmix_alpha, rate=1)

    def mixed(images, labels, others, other_labels, keys):
        chosen = random.bernoulli(random.fold(keys, 9), ops.shape(keys), switch)
        pairs = zip(
            second(images, labels, others, other_labels, keys),
            first(images, labels, others, other_labels, keys),
            strict=True,
        )
        return tuple(
            ops.where(ops.expand_dims(chosen, (*range(1, len(cut.shape)),)), cut, mix)
            for cut, mix in pairs
        )

    return mixed


def _check_alpha(alpha, name, argument="alpha"):
    if not (checks.is_number(alpha) and 0 < alpha < float("inf")):
        raise ValueError(
            f"`{argument}` is the parameter of the Beta distribution of '{name}', "
            f"positive and finite. Received: {argument}={alpha}"
        )


def _blend(labels, others, share):
    share = share[:, None]
    return (1 - share) * labels + share * others


@functools.lru_cache(maxsize=16)
def beta_quantiles(alpha: float) -> np.ndarray:
    """Returns quantiles of Beta(alpha, alpha) by which it is sampled.

    Args:
        alpha: Positive.

    Returns:
        float32 array of the middles of `2**16` parts of equal probability, symmetric
        about one half, and so with this mean exactly.
    """
    import scipy.special

    levels = (np.arange(_LEVELS // 2) + 0.5) / _LEVELS
    lower = scipy.special.betaincinv(alpha, alpha, levels)
    return np.concatenate([lower, 1 - lower[::-1]]).astype("float32")
