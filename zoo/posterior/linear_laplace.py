"""Laplace's approximation of the last layer of a regressor, in closed form."""

import math

import keras
import numpy as np
from keras import ops

import layers
from layers.compilation import Compiled
from zoo.posterior import curvature
from zoo.posterior.base import at_least_one
from zoo.posterior.laplace import Laplace
from zoo.posterior.last_layer import GaussianWeights, fingerprint
from zoo.posterior.monte_carlo import MonteCarlo
from zoo.posterior.scaler import NoBestFitError


@keras.saving.register_keras_serializable(package="zoo")
class LinearLaplace(GaussianWeights):
    """A Gaussian posterior of the last weights of the mean of a trained regressor.

    Its mean are the weights. In them the predicted mean is linear, with the features
    `x` and a 1 behind them for the bias, so the curvature of the Gaussian likelihood is
    exact and so is the predictive distribution: with the deviations `s` that the
    network predicts, in units of the standardized targets,

        H = sum over examples of x x^T / s^2
        variance = s^2 + x^T (H + prior_precision)^-1 x

    `zoo.load("mlp50.mine@laplace")` is of this class where the model is a regressor.

    It is called as `posterior(inputs, seed=None, offset=0)`; `zoo.posterior.Posterior`
    says what these mean.

    Args:
        model: A regressor that does not draw, whose last layers are a
            `keras.layers.Dense` and a `layers.GaussianOutput`.
        prior_precision: The inverse of the variance that each weight has before there
            are data, for standardized targets. `"marginal_likelihood"` takes the one
            that makes the training targets the most probable.
        seed: Makes the calls without a seed reproducible.

    Raises:
        ValueError: If the model is another one, or the precision not positive.

    Input shape: `(batch, *image_shape)`.

    Output shape: `(1, batch, 2)`.

    Example:

    >>> import zoo
    >>> model = zoo.build("mlp50", (2,), target=(0.0, 1.0))
    >>> posterior = LinearLaplace(model, prior_precision=1.0)
    >>> features = np.random.default_rng(0).normal(size=(9, 2))
    >>> posterior.adapt(features, labels=features[:, 0])
    >>> tuple(posterior(features).shape)
    (1, 9, 2)

    Reference:
        [Laplace Redux](https://arxiv.org/abs/2106.14806) (Daxberger et al., 2021);
        [Bayesian Interpolation](https://doi.org/10.1162/neco.1992.4.3.415) (MacKay,
        1992).
    """

    learns = "the covariance of its weights"
    tasks = ("regression",)
    behind = (layers.GaussianOutput,)
    repeats_itself = True
    num_samples = 1

    def __init__(
        self,
        model: keras.Model | MonteCarlo,
        prior_precision: float | str = "marginal_likelihood",
        seed: int | None = None,
        **kwargs,
    ):
        is_word = prior_precision == "marginal_likelihood"
        is_number = layers.checks.is_number(prior_precision)
        if not is_word and not (is_number and 0 < prior_precision < math.inf):
            raise ValueError(
                "`prior_precision` must be a positive number or "
                f"'marginal_likelihood'. Received: prior_precision={prior_precision}"
            )
        super().__init__(model, seed, **kwargs)
        self.prior = prior_precision
        self._output = self.model.layers[-1]
        if not isinstance(self._output, layers.GaussianOutput):
            raise ValueError(
                "The last layer must be a `layers.GaussianOutput`, as of "
                "zoo.build(..., target=...). Received: "
                f"model={self.model.name} with {type(self._output).__name__}"
            )
        rows = self.last.head.kernel.shape[0] + self.last.head.use_bias
        single = {"prior_precision": (), "log_likelihood": ()}
        self.learn({"curvature": (rows,), "basis": (rows, rows), **single})
        self._predict = Compiled(self._samples, self, pure=not self.last.unknown)

    def sample(self, images, key, offset):
        rows = at_least_one(images)
        samples = self._predict((rows,), ())
        return samples if rows is images else samples[:, : ops.shape(images)[0]]

    def logits(self, images):
        return self._samples(images)[0]

    def epistemic_scale(self, images) -> np.ndarray:
        """Returns the standard deviation of the predicted mean, in the targets' unit.

        Args:
            images: Array of shape `(examples, *image_shape)`.

        Returns:
            Array of shape `(examples,)`.
        """
        self.check_adapted()
        variance = self._variance(self._rows(self.last.features(images)))
        return ops.convert_to_numpy(self._output.scale * ops.sqrt(variance))

    def learned(self, dataset, labels, batch_size, seed, validation):
        total, log_likelihood, count = 0.0, 0.0, 0
        for features, targets in self.inputs(dataset, labels, batch_size):
            means, scales = np.moveaxis(self._gaussians(features), -1, 0)
            ones = np.ones((len(features), int(self.last.head.use_bias)))
            rows = np.concatenate([features, ones], axis=1, dtype="float64")
            rows /= scales[:, None] / self._output.scale
            total = total + rows.T @ rows
            distance = (targets - means) / scales
            logs = np.square(distance) + np.log(2 * np.pi * np.square(scales))
            log_likelihood -= logs.sum() / 2
            count += len(features)
        values = dict(zip(("curvature", "basis"), curvature.eigen(total), strict=True))
        prior = self.prior
        if prior == "marginal_likelihood":
            prior = self.best_prior_precision(values)
        if prior is None:
            raise NoBestFitError(
                f"No prior precision is the best for these {count} examples. Give one, "
                f"as `prior_precision`. Received: prior_precision={self.prior}"
            )
        return {
            **values,
            "prior_precision": prior,
            "log_likelihood": log_likelihood,
            "fingerprint": fingerprint(self.model),
        }

    def settings(self):
        return {"prior_precision": self.prior}

    def _gaussians(self, features):
        found = self._output(self.last.head(ops.convert_to_tensor(features)))
        return ops.convert_to_numpy(found).astype("float64")

    def square_norm(self, values):
        head = self.last.head
        found = [ops.convert_to_numpy(head.kernel)[:, 0]]
        found += [ops.convert_to_numpy(head.bias)[:1]] if head.use_bias else []
        return float(np.square(np.concatenate(found), dtype="float64").sum())

    def _rows(self, features):
        features = ops.cast(features, "float32")
        if not self.last.head.use_bias:
            return features
        return ops.concatenate([features, ops.ones_like(features[:, :1])], axis=-1)

    def _variance(self, rows):
        along = ops.matmul(rows, ops.convert_to_tensor(self.basis))
        return ops.sum(
            ops.square(along) / (self.curvature + self.prior_precision), axis=-1
        )

    def _samples(self, images):
        features = self.last.features(images)
        found = self._output(self.last.head(features))
        variance = self._variance(self._rows(features))
        scales = ops.sqrt(ops.square(found[..., 1]) + self._output.scale**2 * variance)
        return ops.stack([found[..., 0], scales], axis=-1)[None]


Laplace.variants = {"regression": LinearLaplace}
