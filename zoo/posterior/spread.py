"""A factor of standard deviations: regressors that are less, or more, sure."""

import keras
import numpy as np
from keras import ops

import layers
from zoo import predictive
from zoo.posterior.base import Posterior
from zoo.posterior.scaler import Correction, NoBestFitError


@keras.saving.register_keras_serializable(package="zoo")
class Spread(Correction):
    """Multiplies standard deviations by a factor that fits data not seen in training.

    It does not change the mean. Samples are pooled first: the one sample that comes out
    has the mean of their mixture, and its standard deviation times the factor. The one
    of the largest likelihood is, in closed form,

        factor = sqrt(mean(((target - mean) / deviation)**2))

    It is also what the raw uncertainty of `nomu` is to be multiplied by.

    It is called as `posterior(inputs, seed=None, offset=0)`; `zoo.posterior.Posterior`
    says what these mean.

    Args:
        posterior: A regressor, or a posterior of regressors.
        factor: Positive. By default `adapt` sets it, and it is 1 before that.
        seed: Makes the calls without a seed reproducible.

    Raises:
        ValueError: If the posterior is of classifiers, or the factor not positive.

    Input shape: `(batch, *image_shape)`.

    Output shape: `(1, batch, 2)`.

    Example:

    >>> import zoo
    >>> model = zoo.build("mlp50", (8,), target=(0.0, 1.0))
    >>> posterior = Spread(model, factor=2.0)
    >>> tuple(posterior(ops.zeros((3, 8))).shape)
    (1, 3, 2)

    Reference:
        [Well-calibrated Regression Uncertainty in Medical Imaging with Deep Learning](
        https://proceedings.mlr.press/v121/laves20a.html) (Laves et al., 2020), Eq. 9.
    """

    adapted_weights = ("factor",)
    tasks = ("regression",)

    def __init__(
        self,
        posterior: keras.Model | Posterior,
        factor: float | None = None,
        seed: int | None = None,
        **kwargs,
    ):
        is_given = factor is not None
        value = factor if is_given else 1.0
        if not (layers.checks.is_number(value) and 0 < value < np.inf):
            raise ValueError(
                "`factor` multiplies standard deviations and must be positive. "
                f"Received: factor={factor}"
            )
        super().__init__(posterior, seed, **kwargs)
        self._is_fitted = is_given
        self.factor = self.add_learned("factor", value)

    def pool(self, samples):
        return predictive.gaussian(samples)

    def fit(self, logits, labels):
        means, scales = np.moveaxis(np.asarray(logits, "float64"), -1, 0)
        ratios = (np.asarray(labels, "float64") - means) / scales
        factor = float(np.sqrt(np.mean(np.square(ratios))))
        if not 0 < factor < np.inf:
            raise NoBestFitError(
                "No factor of standard deviations is the best: the means are the "
                f"targets themselves. Received: {len(ratios)} examples"
            )
        return {"factor": factor}

    def scale(self, logits, values):
        factor = ops.cast(values["factor"], logits.dtype)
        return ops.stack([logits[..., 0], factor * logits[..., 1]], axis=-1)

    def get_config(self):
        factor = float(ops.convert_to_numpy(self.factor))
        return {**super().get_config(), "factor": factor}
