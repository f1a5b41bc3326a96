"""The balls that attacks stay in: where they start, how they step and come back."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from keras import ops

from layers import random
from layers.checks import check_choice

_TINY = np.finfo("float32").tiny


@dataclasses.dataclass(frozen=True)
class Ball:
    """What an attack needs to know of a norm.

    Attributes:
        start: From one random key for each image, a shape `(batch, ...)` and a radius
            to perturbations that are uniform in the ball.
        direction: From gradients to the steps of norm 1 along which a linear function
            rises most.
        project: From perturbations and a radius to the nearest ones in the ball.
        norms: From perturbations to their norms, of shape `(batch,)`.
        smallest: From the number of values of an image to the radius, in gray levels,
            below which an attack that uses all of them changes no pixel.
        farthest: Likewise to that beyond which a radius seems to have another unit.
        largest: Likewise to that of the ball that holds all images.
    """

    start: Callable
    direction: Callable
    project: Callable
    norms: Callable
    smallest: Callable
    farthest: Callable
    largest: Callable


def named(norm: str) -> Ball:
    """Returns the ball of a norm, a key of `BALLS`."""
    return BALLS[check_choice(norm, "norm", BALLS)]


def _flat(function, x):
    """Reduces all axes but the first."""
    return function(ops.reshape(x, (ops.shape(x)[0], -1)), axis=1)


def _by_row(values, x):
    """Returns one value for each row with axes that broadcast with `x`."""
    return ops.reshape(values, (-1, *[1] * (len(x.shape) - 1)))


def _linf_start(keys, shape, epsilon):
    return epsilon * (2 * random.uniform(keys, shape) - 1)


def _clip(x, epsilon):
    return ops.minimum(ops.maximum(x, -epsilon), epsilon)


def _largest(x):
    return _flat(ops.max, ops.abs(x))


def _l2_norms(x):
    # Squares of small gradients would underflow.
    scale = ops.maximum(_largest(x), _TINY)
    squares = _flat(ops.sum, ops.square(x / _by_row(scale, x)))
    return scale * ops.sqrt(squares)


def _l2_start(keys, shape, epsilon):
    normals = random.normal(random.fold(keys, 0), shape)
    # The volume of a ball is a power of its radius.
    size = ops.cast(math.prod(shape[1:]), "float32")
    shares = random.uniform(random.fold(keys, 1), (shape[0], 1))[:, 0] ** (1 / size)
    return epsilon * normals * _by_row(shares / _l2_norms(normals), normals)


def _l2_direction(gradients):
    scale = ops.maximum(_largest(gradients), _TINY)
    scaled = gradients / _by_row(scale, gradients)
    return scaled / _by_row(ops.maximum(_l2_norms(scaled), _TINY), scaled)


def _l2_project(x, epsilon):
    norms = ops.maximum(_l2_norms(x), _TINY)
    return x * _by_row(ops.minimum(1.0, epsilon / norms), x)


BALLS = {
    "linf": Ball(
        start=_linf_start,
        direction=ops.sign,
        project=_clip,
        norms=_largest,
        smallest=lambda count: 0.5,
        farthest=lambda count: 255.0,
        largest=lambda count: 255.0,
    ),
    "l2": Ball(
        start=_l2_start,
        direction=_l2_direction,
        project=_l2_project,
        norms=_l2_norms,
        # A fortieth of a level and a quarter of all, in the root of the mean square:
        # 10 and 24,832 for ImageNet, 5 and 3,547 for CIFAR, where 128 is common.
        smallest=lambda count: max(5.0, math.sqrt(count) / 40),
        farthest=lambda count: 64.0 * math.sqrt(count),
        largest=lambda count: 255.0 * math.sqrt(count),
    ),
}
