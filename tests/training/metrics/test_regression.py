"""Metrics of predicted numbers against SciPy, integrals and sampling."""

import numpy as np
import pytest
from scipy import integrate, stats

from training import metrics
from training.metrics import regression

RNG = np.random.default_rng(0)
MEANS, SCALES = RNG.normal(size=(3, 40)), RNG.uniform(0.3, 2, (3, 40))
TARGETS = RNG.normal(size=40)


def test_figures_of_a_gaussian_are_those_of_scipy():
    means, scales = MEANS[0], SCALES[0]
    own = stats.norm(means, scales)
    expected = {
        "rmse": np.sqrt(np.mean((means - TARGETS) ** 2)),
        "gaussian_nll": -np.mean(own.logpdf(TARGETS)),
        "interval_coverage": np.mean(np.abs(own.cdf(TARGETS) - 0.5) <= 0.475),
        "interval_width": np.mean(own.ppf(0.975) - own.ppf(0.025)),
    }
    for name, value in expected.items():
        assert metrics.REGRESSION[name](means, scales, TARGETS) == pytest.approx(value)
    levels = np.arange(1, 20) / 20
    shares = [np.mean(own.ppf(level) >= TARGETS) for level in levels]
    found = regression.quantile_calibration(means, scales, TARGETS)
    assert found == pytest.approx(np.mean(np.abs(shares - levels)))


def test_figures_of_a_mixture_are_integrals_over_it():
    grid = np.linspace(-12, 12, 4801)
    for i in range(0, 40, 13):
        part = slice(i, i + 1)
        cdf = stats.norm(MEANS[:, i], SCALES[:, i]).cdf(grid[:, None]).mean(axis=1)
        squares = (cdf - (grid >= TARGETS[i])) ** 2
        expected = integrate.trapezoid(squares, grid)
        found = regression.crps(MEANS[:, part], SCALES[:, part], TARGETS[part])
        assert found == pytest.approx(expected, abs=5e-3)
        density = stats.norm(MEANS[:, i], SCALES[:, i]).pdf(TARGETS[i]).mean()
        found = regression.gaussian_nll(MEANS[:, part], SCALES[:, part], TARGETS[part])
        assert found == pytest.approx(-np.log(density))
    for level in (0.025, 0.6):
        place = regression.quantile(MEANS, SCALES, level)
        np.testing.assert_allclose(regression.cdf(MEANS, SCALES, place), level)
    # Equal parts are one of them.
    same = [np.stack([x[0]] * 3) for x in (MEANS, SCALES)]
    for name, metric in metrics.REGRESSION.items():
        alone = metric(MEANS[0], SCALES[0], TARGETS)
        assert metric(*same, TARGETS) == pytest.approx(alone), name


def test_true_quantiles_are_calibrated():
    means, scales = RNG.normal(size=20_000), RNG.uniform(0.5, 2, 20_000)
    targets = RNG.normal(means, scales)
    # Each share has a standard deviation of less than 0.0036.
    assert regression.quantile_calibration(means, scales, targets) < 0.01
    assert abs(regression.coverage(means, scales, targets, 0.8) - 0.8) < 6 * 0.0029
    assert regression.quantile_calibration(means, scales / 5, targets) > 0.1


def test_what_is_no_prediction_is_refused():
    with pytest.raises(ValueError, match="`means` and `scales` must have one shape"):
        regression.rmse(MEANS, SCALES, TARGETS[:9])
    with pytest.raises(ValueError, match="`targets` must be finite. Received: NaN or"):
        regression.crps(MEANS, SCALES, np.where(TARGETS > 0, np.nan, TARGETS))
    with pytest.raises(ValueError, match="standard deviations and must be positive"):
        regression.gaussian_nll(MEANS, -SCALES, TARGETS)
    with pytest.raises(ValueError, match=r"in \(0, 1\). Received: level=1"):
        regression.coverage(MEANS, SCALES, TARGETS, level=1)
