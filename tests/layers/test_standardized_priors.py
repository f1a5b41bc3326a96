"""Priors against tensorflow-probability and SciPy, and their standardized weights."""

import json

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats

from layers import priors
from tests.helpers.networks import as_numpy

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(50, 12)) * np.linspace(0, 3, 12)  # The first one is dead.
COVARIANCE = np.cov(INPUTS.T)
KERNEL = RNG.normal(size=(2, 3, 2, 5))
SETTINGS = {"scale": 0.3, "covariance_scale": 0.7, "jitter": 1e-3}
PRIORS = {
    "gaussian": priors.GaussianPrior(0.3),
    "laplace": priors.LaplacePrior(0.3),
    "student_t": priors.StudentTPrior(0.3, 4.0),
    "empcov": priors.EmpCovPrior(COVARIANCE, **SETTINGS),
    "sum_filter": priors.SumFilterPrior(0.3, 0.8),
}


def precision():
    inputs = np.linalg.inv(COVARIANCE + 1e-3 * np.eye(12)) / 0.7**2
    return inputs + np.eye(12) / 0.3**2


def empcov(kernel):
    rows = kernel.reshape(12, 5).T
    return stats.multivariate_normal(np.zeros(12), np.linalg.inv(precision())).logpdf(
        rows
    )


def sum_filter(kernel):
    sums = kernel.sum(axis=(0, 1))
    return stats.norm(0, 0.3).logpdf(kernel).sum() - np.abs(sums).sum() / 2 / 0.8**2


DENSITIES = {
    "gaussian": stats.norm(0, 0.3).logpdf,
    "laplace": stats.laplace(0, 0.3).logpdf,
    "student_t": stats.t(4.0, 0, 0.3).logpdf,
    "empcov": empcov,
    "sum_filter": sum_filter,
}


@pytest.mark.parametrize("name", PRIORS)
def test_densities_are_those_of_scipy(name):
    prior, scale = PRIORS[name], 0.2
    for kernel in (scale * KERNEL, scale * KERNEL[::-1]):
        expected = np.sum(DENSITIES[name](kernel))
        found = prior.log_prob(ops.convert_to_tensor(kernel, "float64"))
        np.testing.assert_allclose(float(found), expected, rtol=1e-9)
        half = prior.log_prob(ops.convert_to_tensor(kernel, "float32"))
        assert keras.backend.standardize_dtype(half.dtype) == "float32"
        np.testing.assert_allclose(float(half), expected, rtol=1e-4)
    standard = prior.to_standard(ops.convert_to_tensor(KERNEL, "float64"))
    np.testing.assert_allclose(prior.from_standard(standard), KERNEL, rtol=1e-9)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(prior)))
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == prior.get_config()
    np.testing.assert_array_equal(
        again.log_prob(ops.ones(KERNEL.shape)), prior.log_prob(ops.ones(KERNEL.shape))
    )


def test_standardized_weights_of_empcov_are_independent_and_of_unit_variance():
    columns = ops.convert_to_tensor(np.eye(12), "float64")
    factor = as_numpy(PRIORS["empcov"].from_standard(columns))
    np.testing.assert_allclose(factor @ factor.T, np.linalg.inv(precision()), 1e-9)
    dead = (factor @ factor.T)[0, 0]
    np.testing.assert_allclose(dead, 1 / (1 / (1e-3 * 0.49) + 1 / 0.09), rtol=1e-9)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: priors.GaussianPrior(0), "`scale` must be positive.*scale=0"),
        (lambda: priors.StudentTPrior(1, -1), "degrees_of_freedom=-1"),
        (lambda: priors.SumFilterPrior(1, float("nan")), "sum_scale=nan"),
        (lambda: priors.EmpCovPrior(np.ones((2, 3))), r"square.*shape \(2, 3\)"),
        (lambda: priors.EmpCovPrior([[1, 2], [2, 1]]), "no negative eigenvalue.*-1"),
        (lambda: priors.EmpCovPrior([[1, 0], [0.5, 1]]), "must be symmetric"),
        (lambda: priors.EmpCovPrior([[np.inf]]), "finite"),
        (lambda: priors.EmpCovPrior([[1]], jitter=0), "jitter=0"),
        (
            lambda: PRIORS["empcov"].log_prob(np.ones((2, 3, 5))),
            r"12 inputs, and the weights have 6.*\(2, 3, 5\)",
        ),
        (
            lambda: PRIORS["sum_filter"].log_prob(np.ones((3, 5))),
            r"height, width, in, out.*\(3, 5\)",
        ),
    ],
)
def test_what_is_no_prior_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
