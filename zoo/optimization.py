"""Bayesian optimization: where to look next for the least value of a function."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from layers import checks

_CANDIDATES = 2000  # Points of which the best by the acquisition is taken.
_NEAR = 0.05  # Standard deviation of those near to the best one, of the range.


@dataclasses.dataclass(frozen=True)
class Found:
    """What an optimization has looked at.

    Attributes:
        points: Array of shape `(calls, dimensions)`, in the order of the calls.
        values: Array of shape `(calls,)`.
    """

    points: np.ndarray
    values: np.ndarray

    @property
    def point(self) -> np.ndarray:
        """The point of the least value."""
        return self.points[np.argmin(self.values)]

    @property
    def value(self) -> float:
        """The least value."""
        return float(self.values.min())

    @property
    def least(self) -> np.ndarray:
        """The least value after each call, of shape `(calls,)`."""
        return np.minimum.accumulate(self.values)


def expected_improvement(means, scales, best: float) -> np.ndarray:
    """Returns by how much Gaussian values will fall below the best one on average.

    Args:
        means: Array of shape `(points,)`.
        scales: Array of standard deviations, of that shape.
        best: The least value so far.

    Example:

    >>> float(expected_improvement([0.0], [1.0], 0.0)[0].round(4))
    0.3989

    Reference:
        [Efficient Global Optimization of Expensive Black-Box Functions](
        https://doi.org/10.1023/A:1008306431147) (Jones et al., 1998), Eq. 15.
    """
    means, scales = np.asarray(means, "float64"), np.asarray(scales, "float64")
    ratio = (best - means) / scales
    below = 0.5 * np.vectorize(math.erfc)(-ratio / math.sqrt(2))
    density = np.exp(-0.5 * np.square(ratio)) / math.sqrt(2 * math.pi)
    return scales * (ratio * below + density)


def confidence_bound(means, scales, best: float, width: float = 2.0) -> np.ndarray:
    """Returns minus the lower confidence bound of values; `best` changes nothing.

    Reference:
        [Gaussian Process Optimization in the Bandit Setting](
        https://arxiv.org/abs/0912.3995) (Srinivas et al., 2010), Eq. 6.
    """
    return width * np.asarray(scales, "float64") - np.asarray(means, "float64")


ACQUISITIONS = {
    "expected_improvement": expected_improvement,
    "confidence_bound": confidence_bound,
}


def optimize(
    function: Callable[[np.ndarray], float],
    bounds: Sequence[tuple[float, float]],
    regressor=None,
    num_calls: int = 30,
    num_initial: int = 5,
    acquisition: str = "expected_improvement",
    seed: int = 0,
) -> Found:
    """Looks for the least value of a function that takes long to compute.

    It is called at some random points, and then where a regressor of all values so far
    says that there is most to gain: of random points, half of them near to the best
    one.

    Args:
        function: From an array of shape `(dimensions,)` to a finite number.
        bounds: The lowest and the highest value of each dimension.
        regressor: With `fit(points, values)` and `predict(points, return_std=True)`, as
            `training.regressor.Regressor` and the Gaussian process of scikit-learn have
            them; it gets points in [-1, 1]. None is random search.
        num_calls: How often the function is called.
        num_initial: How many of the points are random.
        acquisition: A key of `zoo.optimization.ACQUISITIONS`.
        seed: Seed of the points.

    Raises:
        ValueError: If bounds are not increasing, the function returns no finite number,
            or a number is out of its range.

    Example:

    >>> found = optimize(lambda x: float(x[0] ** 2), [(-1.0, 1.0)], num_calls=40)
    >>> found.value < 0.01
    True
    """
    ends = _checked(bounds)
    checks.check_count(num_calls, "num_calls")
    checks.check_count(num_initial, "num_initial")
    score = ACQUISITIONS[
        checks.check_choice(acquisition, "acquisition", tuple(ACQUISITIONS))
    ]
    rng = np.random.default_rng(seed)
    points, values = np.empty((0, len(ends))), np.empty(0)
    for call in range(num_calls):
        point = rng.uniform(-1, 1, len(ends))
        if regressor is not None and call >= num_initial:
            regressor.fit(points, values)
            candidates = _candidates(points[np.argmin(values)], rng)
            means, scales = regressor.predict(candidates, return_std=True)
            gains = score(means, np.maximum(scales, 1e-12), values.min())
            point = candidates[np.argmax(gains)]
        place = ends[:, 0] + (point + 1) / 2 * (ends[:, 1] - ends[:, 0])
        value = float(function(place))
        if not math.isfinite(value):
            raise ValueError(
                "`function` must return a finite number. Received: "
                f"{value} at {place.tolist()}"
            )
        points, values = np.vstack([points, point]), np.append(values, value)
    places = ends[:, 0] + (points + 1) / 2 * (ends[:, 1] - ends[:, 0])
    return Found(places, values)


def _candidates(best, rng):
    half = _CANDIDATES // 2
    everywhere = rng.uniform(-1, 1, (half, len(best)))
    near = best + 2 * _NEAR * rng.normal(size=(half, len(best)))
    return np.concatenate([everywhere, np.clip(near, -1, 1)])


def _checked(bounds):
    try:
        ends = np.asarray(bounds, "float64")
    except (TypeError, ValueError):  # Words, or rows of different lengths.
        ends = np.zeros(0)
    fits = ends.ndim == 2 and ends.shape[1:] == (2,) and np.isfinite(ends).all()
    if not fits or not len(ends) or not (ends[:, 0] < ends[:, 1]).all():
        raise ValueError(
            "`bounds` must have the lowest and the highest value of each dimension, "
            f"such as [(-5, 10), (0, 15)]. Received: bounds={bounds}"
        )
    return ends
