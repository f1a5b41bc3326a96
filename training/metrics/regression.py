"""Metrics of predicted distributions of numbers, of which two forms are known.

Gaussians are arrays `means` and `scales` of shape `(examples, ...)`: means and standard
deviations. A mean of several of them, as that of forward passes, has an axis of the
samples first: each function takes the mixture of equal parts where `means` has one axis
more than the targets. All of them take numbers in the unit of the targets, and return a
float, over all examples at once.
"""

import math
from collections.abc import Sequence

import numpy as np

from zoo import outputs

_LEVELS = tuple((np.arange(19) + 1) / 20)  # .05, .1, ... .95
_STEPS = 60  # Halvings of the interval that a quantile of a mixture lies in.


def rmse(means, scales, targets) -> float:
    """Returns the root of the mean squared distance of the mean prediction."""
    means, _, targets = _checked(means, scales, targets)
    return float(np.sqrt(np.mean(np.square(means.mean(axis=0) - targets))))


def gaussian_nll(means, scales, targets) -> float:
    """Returns the mean negative log density of the targets, in nats.

    The density has the unit of one over the targets, so that values compare on one data
    set alone, and may be negative.
    """
    means, scales, targets = _checked(means, scales, targets)
    logs = -0.5 * np.square((targets - means) / scales) - np.log(scales)
    largest = logs.max(axis=0)
    mean = largest + np.log(np.mean(np.exp(logs - largest), axis=0))
    return float(0.5 * math.log(2 * math.pi) - np.mean(mean))


def crps(means, scales, targets) -> float:
    """Returns the continuous ranked probability score, in the unit of the targets.

    It is the mean of the integral of `(F(t) - [t >= y])**2` over `t`, where `F` is the
    distribution function; of a point it is the absolute error. In closed form, also of
    a mixture.

    Reference:
        [Calibrated Probabilistic Forecasting Using Ensemble Model Output Statistics](
        https://doi.org/10.1175/MWR2904.1) (Gneiting et al., 2005), Eq. 5; of mixtures
        [Evaluating Predictive Distributions](https://arxiv.org/abs/1110.5168) (Grimit
        et al., 2006), Eq. 4.
    """
    means, scales, targets = _checked(means, scales, targets)
    spread = np.zeros(targets.shape)
    for mean, scale in zip(means, scales, strict=True):
        pairs = _absolute(mean - means, np.hypot(scale, scales))
        spread += pairs.mean(axis=0) / len(means)
    return float(np.mean(_absolute(targets - means, scales).mean(axis=0) - spread / 2))


def coverage(means, scales, targets, level: float = 0.95) -> float:
    """Returns the share of targets in the central interval of a probability."""
    low, high, targets = _interval(means, scales, targets, level)
    return float(np.mean((low <= targets) & (targets <= high)))


def width(means, scales, targets, level: float = 0.95) -> float:
    """Returns the mean width of that interval, in the unit of the targets."""
    low, high, _ = _interval(means, scales, targets, level)
    return float(np.mean(high - low))


def quantile_calibration(
    means, scales, targets, levels: Sequence[float] = _LEVELS
) -> float:
    """Returns the mean distance of probabilities from how often they are right.

    Of each level, that is the share of targets below the quantile; 0 is perfect, and
    1/2 the most there is of symmetric levels.

    Reference:
        [Accurate Uncertainties for Deep Learning Using Calibrated Regression](
        https://arxiv.org/abs/1807.00263) (Kuleshov et al., 2018), section 3.5, with the
        absolute in place of the squared distance.
    """
    found = quantile_shares(means, scales, targets, levels)
    return float(np.mean(np.abs(found - np.asarray(levels))))


def quantile_shares(
    means, scales, targets, levels: Sequence[float] = _LEVELS
) -> np.ndarray:
    """Returns the share of targets at or below the quantile of each level.

    Args:
        means: Array of shape `(examples, ...)`, or of samples of these.
        scales: Array of standard deviations, of that shape.
        targets: Array of shape `(examples, ...)`.
        levels: Probabilities, in (0, 1).

    Returns:
        float64 array of shape `(len(levels),)`.
    """
    for level in levels:
        _check_level(level)
    below = cdf(*_checked(means, scales, targets)).ravel()
    return np.mean(below[:, None] <= np.asarray(levels), axis=0)


def cdf(means, scales, values) -> np.ndarray:
    """Returns the probability of numbers up to some values, of the shape of these.

    Args:
        means: Array of shape `(samples, ...)`.
        scales: Array of standard deviations, of that shape.
        values: Array of shape `(...)`.
    """
    from scipy import special

    return special.ndtr((values - means) / scales).mean(axis=0)


def quantile(means, scales, level: float) -> np.ndarray:
    """Returns the quantile of mixtures of Gaussians, of shape `(...)`.

    Args:
        means: Array of shape `(samples, ...)`.
        scales: Array of standard deviations, of that shape.
        level: A probability, in (0, 1).
    """
    from scipy import special

    _check_level(level)
    parts = means + scales * special.ndtri(level)
    low, high = parts.min(axis=0), parts.max(axis=0)
    if len(parts) == 1:
        return parts[0]
    for _ in range(_STEPS):
        middle = (low + high) / 2
        is_low = cdf(means, scales, middle) < level
        low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
    return (low + high) / 2


def _interval(means, scales, targets, level):
    _check_level(level)
    means, scales, targets = _checked(means, scales, targets)
    ends = ((1 - level) / 2, (1 + level) / 2)
    return *(quantile(means, scales, end) for end in ends), targets


def _absolute(mean, scale):
    """Returns the mean absolute value of Gaussians."""
    from scipy import special

    ratio = mean / scale
    density = np.exp(-0.5 * np.square(ratio)) / math.sqrt(2 * math.pi)
    return mean * (2 * special.ndtr(ratio) - 1) + 2 * scale * density


def _check_level(level):
    if not 0 < level < 1:
        raise ValueError(
            f"A level is a probability, in (0, 1). Received: level={level}"
        )


def _checked(means, scales, targets):
    """Returns float64 arrays, the first two with an axis of samples."""
    given = {"means": means, "scales": scales, "targets": targets}
    for name, values in given.items():
        outputs.check_numbers(values, f"`{name}`")
    means, scales, targets = (np.asarray(x, "float64") for x in given.values())
    if (
        not targets.size
        or means.shape != scales.shape
        or targets.shape
        not in (
            means.shape,
            means.shape[1:],
        )
    ):
        raise ValueError(
            "`means` and `scales` must have one shape, that of `targets`, or with an "
            "axis of samples before it, and there must be a target. Received: "
            f"means.shape={means.shape}, scales.shape={scales.shape}, "
            f"targets.shape={targets.shape}"
        )
    for name, values in {**given, "means": means, "scales": scales}.items():
        if not np.isfinite(np.asarray(values, "float64")).all():
            raise ValueError(f"`{name}` must be finite. Received: NaN or infinity")
    if scales.min() <= 0:
        raise ValueError(
            "`scales` are standard deviations and must be positive. Received: "
            f"values from {scales.min():.4g}"
        )
    if means.shape == targets.shape:
        means, scales = means[None], scales[None]
    return means, scales, targets
