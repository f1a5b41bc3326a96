"""Temperature scaling: one number that makes a model less, or more, confident."""

import keras
import numpy as np
from keras import ops

import layers
from zoo.posterior.base import Posterior
from zoo.posterior.scaler import NoBestFitError, Scaler, check_fit

_LIMIT = 100.0  # Temperatures lie between its inverse and itself.


@keras.saving.register_keras_serializable(package="zoo")
class Temperature(Scaler):
    """Divides logits by a temperature that fits data which the model has not seen.

    It does not change which class is the most probable. Samples are pooled first, for a
    mean of calibrated predictions is not calibrated: the one sample that comes out is

        (log(mean(softmax(samples))) + mean(logsumexp(samples))) / temperature

    and for a single sample these are its logits over the temperature.

    It is called as `posterior(images, seed=None, offset=0)`; `zoo.posterior.Posterior`
    says what these mean.

    Args:
        posterior: A model from images to logits, or a posterior.
        temperature: Positive. By default `adapt` sets it, and it is 1 before that.
        seed: Makes the calls without a seed reproducible.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(1, batch, num_classes)`.

    Example:

    >>> import zoo
    >>> model = zoo.build("resnet20", (32, 32, 3), num_classes=10)
    >>> posterior = Temperature(model, temperature=2.0)
    >>> tuple(posterior(ops.zeros((2, 32, 32, 3))).shape)
    (1, 2, 10)

    Reference:
        [On Calibration of Modern Neural Networks](https://arxiv.org/abs/1706.04599)
        (Guo et al., 2017), Eq. 9; [Uncertainty Quantification and Deep Ensembles](
        https://arxiv.org/abs/2007.08792) (Rahaman and Thiery, 2021), for the order.
    """

    adapted_weights = ("temperature",)

    def __init__(
        self,
        posterior: keras.Model | Posterior,
        temperature: float | None = None,
        seed: int | None = None,
        **kwargs,
    ):
        is_given = temperature is not None
        value = temperature if is_given else 1.0
        if not (layers.checks.is_number(value) and 0 < value < np.inf):
            raise ValueError(
                "`temperature` divides the logits and must be positive. "
                f"Received: temperature={temperature}"
            )
        super().__init__(posterior, seed, **kwargs)
        self._is_fitted = is_given
        self.temperature = self.add_learned("temperature", value)

    def fit(self, logits, labels) -> dict[str, float]:
        return {"temperature": best_temperature(logits, labels)}

    def scale(self, logits, values):
        return logits / values["temperature"]

    def get_config(self):
        temperature = float(ops.convert_to_numpy(self.temperature))
        return {**super().get_config(), "temperature": temperature}


def best_temperature(logits, labels) -> float:
    """Returns the temperature that minimizes the mean NLL.

    In the inverse temperature the NLL is convex, so its derivative has one root; Newton
    steps, halved into the interval that must hold it, find it in float64.

    Args:
        logits: Array of shape `(examples, ..., num_classes)`.
        labels: Integer array of shape `(examples, ...)`.

    Raises:
        ValueError: If these are no logits and labels.
        NoBestFitError: A `ValueError` too: if every label is the most probable
            class, or the labels are no better than chance.
    """
    logits, labels = check_fit(logits, labels)
    logits = logits - logits.max(axis=1, keepdims=True)
    of_labels = logits[np.arange(len(labels)), labels].mean()
    low, high, inverse = 1 / _LIMIT, _LIMIT, 1.0
    for end, sign in ((low, -1), (high, 1)):
        if not sign * _derivatives(logits, of_labels, end)[0] > 0:
            raise NoBestFitError(
                "No temperature is the best: the NLL goes on falling at "
                f"temperature={1 / end:g}. Are these {len(labels)} images those of the "
                "training, are there too few, or are the labels of another data set?"
            )
    for _ in range(100):
        slope, curvature = _derivatives(logits, of_labels, inverse)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / curvature if curvature > 0 else 0.0
        step = step if low < step < high else np.sqrt(low * high)
        if abs(step - inverse) <= 1e-12 * inverse:
            break
        inverse = step
    return float(1 / inverse)


def _derivatives(logits, of_labels, inverse):
    """Returns the first two derivatives of the NLL by the inverse temperature."""
    weights = np.exp(inverse * logits)
    weights /= weights.sum(axis=1, keepdims=True)
    mean = np.sum(weights * logits, axis=1)
    square = np.sum(weights * logits**2, axis=1)
    return mean.mean() - of_labels, np.mean(square - mean**2)
