"""MOPED: Gaussian weights whose prior and posterior are around trained weights."""

from collections.abc import Collection

import keras
import numpy as np
from keras import ops

from layers import checks, variational

# The smallest standard deviation, for weights that are zero.
_SMALLEST = 1e-6


def moped(model: keras.Model, delta: float = 0.1, skip: Collection[str] = ()):
    """Puts prior and posterior of Gaussian weights around their present means.

    The weights of a network that was trained without Gaussian ones are the means, such
    as those that were loaded into its stochastic sibling. The prior keeps its shape,
    and the standard deviation of the posterior becomes `delta * |mean|`.

    Args:
        model: Keras model with Gaussian weights; layers of nested models are included.
        delta: Standard deviation over mean, positive; the paper has 0.1 and 0.2.
        skip: Names of layers that stay as they are, such as a head that begins anew.

    Raises:
        ValueError: If the model has no layer with Gaussian weights besides those.

    Reference:
        [Specifying Weight Priors in Bayesian Deep Neural Networks with Empirical
        Bayes](https://arxiv.org/abs/1906.05323) (Krishnan et al., 2020), section 3.
    """
    checks.check_positive(delta, "delta")
    found = variational.gaussian_layers(model)
    chosen = [layer for layer in found if layer.name not in skip]
    if not chosen:
        raise ValueError(
            "MOPED is for networks with Gaussian weights, such as those with the "
            f"method 'flipout'. Received: the model '{model.name}', of which "
            f"{', '.join(layer.name for layer in found) or 'no layer'} has some"
        )
    for layer in chosen:
        layer.shift_prior()
        scale = delta * np.abs(ops.convert_to_numpy(layer.kernel).astype("float64"))
        rho = variational.inverse_softplus(np.maximum(scale, _SMALLEST))
        layer.kernel_rho.assign(rho)
