"""Checks that every layer, model and posterior must pass."""

import numpy as np


def assert_mean_close(samples, expected, z=6.0):
    """Checks that i.i.d. `samples` (axis 0) have the `expected` mean.

    The tolerance is `z` standard errors, so a correct sampler fails with
    probability below 2e-9 per entry, and the test grows sharper with samples.
    """
    samples = np.asarray(samples, "float64")
    error = np.abs(samples.mean(axis=0) - expected)
    tolerance = z * samples.std(axis=0) / np.sqrt(len(samples)) + 1e-7
    assert np.all(error < tolerance), (
        f"Sample mean is off by {np.max(error / tolerance) * z:.1f} standard "
        f"errors (allowed: {z}) over {len(samples)} samples."
    )
