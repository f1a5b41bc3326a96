"""Multinomial logistic regression: linear maps of logits that minimize the NLL."""

from collections.abc import Callable

import numpy as np

from zoo.posterior.scaler import NoBestFitError

# No calibration multiplies a logit by more: its images are separated then.
_LIMIT = 100.0


def fit(
    features: np.ndarray,
    labels: np.ndarray,
    start: np.ndarray,
    logits: Callable[[np.ndarray], np.ndarray],
    gradient: Callable[[np.ndarray], np.ndarray],
    penalty: Callable = lambda weights: (0.0, 0.0),
) -> np.ndarray:
    """Returns the weights with the smallest mean NLL plus penalty.

    The logits are linear in the weights, so the NLL is convex.

    Args:
        features: float64 array of shape `(examples, num_classes)`.
        labels: Integer array of shape `(examples,)`.
        start: Array of the first weights.
        logits: From weights to logits of the shape of the features.
        gradient: From the gradient of the loss by the logits to that by the weights.
        penalty: From weights to a number of nats and its gradient.

    Raises:
        NoBestFitError: If the NLL goes on falling without end.
    """
    from scipy import optimize

    rows = np.arange(len(labels))

    def loss(flat):
        weights = flat.reshape(start.shape)
        found = logits(weights)
        found = found - found.max(axis=1, keepdims=True)
        exps = np.exp(found)
        sums = exps.sum(axis=1)
        nll = np.mean(np.log(sums) - found[rows, labels])
        residuals = exps / sums[:, None]
        residuals[rows, labels] -= 1
        own, slope = penalty(weights)
        return nll + own, np.ravel(gradient(residuals / len(labels)) + slope)

    options = {"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-8, "maxls": 50}
    result = optimize.minimize(
        loss, start.ravel(), jac=True, method="L-BFGS-B", options=options
    )
    weights = result.x.reshape(start.shape)
    are_right = np.all(logits(weights).argmax(axis=1) == labels)
    if are_right or not np.abs(weights).max() <= _LIMIT * (1 + np.abs(features).max()):
        raise NoBestFitError(
            "No scaling is the best: the NLL goes on falling, for the labels of all "
            f"{len(labels)} images can be told from their logits. Are these images "
            "those of the training, or are there too few?"
        )
    return weights
