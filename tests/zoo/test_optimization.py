import numpy as np
import pytest

import zoo
from zoo import optimization


def test_expected_improvement_is_the_mean_of_draws():
    rng = np.random.default_rng(0)
    found = optimization.expected_improvement([0.3, -1.0], [0.7, 0.2], 0.1)
    for mean, scale, value in zip([0.3, -1.0], [0.7, 0.2], found, strict=True):
        drawn = np.maximum(0.1 - rng.normal(mean, scale, 400_000), 0)
        np.testing.assert_allclose(value, drawn.mean(), atol=0.005)


class _Nearest:
    """The value of the nearest point, and the distance from it."""

    def fit(self, points, values):
        self.points, self.values = np.array(points), np.array(values)
        assert np.abs(points).max() <= 1

    def predict(self, points, return_std):
        squares = np.square(points[:, None] - self.points).sum(axis=-1)
        return self.values[squares.argmin(axis=1)], np.sqrt(squares.min(axis=1)) + 1e-3


@pytest.mark.parametrize("acquisition", optimization.ACQUISITIONS)
def test_a_regressor_finds_lower_values_than_chance(acquisition):
    def function(x):
        return float((x[0] - 3) ** 2 + x[1] ** 2)

    bounds, regrets = [(-5, 10), (-1, 1)], {}
    for name, regressor in (("chance", None), ("nearest", _Nearest())):
        runs = [
            zoo.optimize(
                function, bounds, regressor, 25, acquisition=acquisition, seed=seed
            )
            for seed in range(5)
        ]
        regrets[name] = np.mean([found.value for found in runs])
        assert all(found.value == function(found.point) for found in runs)
        assert all((np.diff(found.least) <= 0).all() for found in runs)
        assert all(found.points[:, 1].min() >= -1 for found in runs)
    assert regrets["nearest"] < 0.8 * regrets["chance"]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"bounds": [(1, 1)]}, "lowest and the highest value of each dimension"),
        ({"bounds": [(0, 1, 2)]}, "lowest and the highest"),
        ({"bounds": []}, "lowest and the highest"),
        ({"num_calls": 0}, "num_calls"),
        ({"acquisition": "best"}, "acquisition"),
        ({"function": lambda x: np.nan}, "must return a finite number.*nan at"),
    ],
)
def test_what_cannot_be_optimized_is_an_error(settings, message):
    given = {"function": lambda x: 0.0, "bounds": [(0, 1)], **settings}
    with pytest.raises(ValueError, match=message):
        zoo.optimize(**given)
