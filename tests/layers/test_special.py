"""Special functions against SciPy, and their gradients."""

import numpy as np
import scipy.special
import tensorflow as tf

from layers.special import digamma, log_gamma

X = np.concatenate([np.geomspace(1e-3, 1e6, 300), np.arange(1, 20), [7.999, 8, 8.001]])


def test_values_and_gradients_are_those_of_scipy():
    x = tf.constant(X, "float64")
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = log_gamma(x)
    np.testing.assert_allclose(y, scipy.special.gammaln(X), rtol=1e-8, atol=1e-8)
    expected = scipy.special.digamma(X)
    np.testing.assert_allclose(tape.gradient(y, x), expected, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(digamma(x), expected, rtol=1e-8, atol=1e-8)


def test_float32_has_its_digits():
    x = X.astype("float32")
    expected = scipy.special.gammaln(x.astype("float64"))
    np.testing.assert_allclose(log_gamma(x), expected, rtol=2e-6, atol=2e-5)
    expected = scipy.special.digamma(x.astype("float64"))
    np.testing.assert_allclose(digamma(x), expected, rtol=2e-6, atol=2e-5)
