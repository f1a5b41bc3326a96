"""Special functions that Keras has not on all backends, with gradients."""

import math

from keras import ops

_SHIFT = 8  # From here on few terms of the series have the digits of float32.


def _shifted(x):
    """Returns whether numbers are small, and them as the two cases take them."""
    is_small = ops.less(x, _SHIFT)
    # Neither case may see what would be infinite there.
    small = ops.where(is_small, x, ops.ones_like(x))
    large = ops.where(is_small, x + _SHIFT, x)
    return is_small, small, large


def log_gamma(x):
    """Returns the logarithm of the gamma function.

    By Stirling's series from 8 on, and below it by the recurrence to there.

    Args:
        x: Tensor of positive floating-point numbers.

    Returns:
        Tensor like `x`.

    Example:

    >>> float(log_gamma(ops.convert_to_tensor(5.0)))  # Of 4! = 24.
    3.17805...
    """
    is_small, small, y = _shifted(x)
    inverse = 1 / y
    square = inverse * inverse
    series = inverse * (1 / 12 - square * (1 / 360 - square / 1260))
    value = (y - 0.5) * ops.log(y) - y + 0.5 * math.log(2 * math.pi) + series
    steps = sum(ops.log(small + i) for i in range(_SHIFT))
    return value - ops.where(is_small, steps, ops.zeros_like(x))


def digamma(x):
    """Returns the derivative of `log_gamma`.

    Args:
        x: Tensor of positive floating-point numbers.

    Returns:
        Tensor like `x`.

    Example:

    >>> float(digamma(ops.convert_to_tensor(1.0)))  # Minus Euler's constant.
    -0.57721...
    """
    is_small, small, y = _shifted(x)
    square = 1 / (y * y)
    series = square * (1 / 12 - square * (1 / 120 - square / 252))
    value = ops.log(y) - 0.5 / y - series
    steps = sum(1 / (small + i) for i in range(_SHIFT))
    return value - ops.where(is_small, steps, ops.zeros_like(x))
