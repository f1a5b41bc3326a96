"""Temperature scaling: one number that makes a model less, or more, confident."""

import keras
import numpy as np
from keras import ops

import layers
from zoo import outputs, predictive
from zoo.posterior.base import Posterior
from zoo.posterior.monte_carlo import MonteCarlo

_LIMIT = 100.0  # Temperatures lie between its inverse and itself.


class NoBestTemperatureError(ValueError):
    """The NLL falls without end, as the temperature goes to zero or infinity."""


@keras.saving.register_keras_serializable(package="zoo")
class Temperature(Posterior):
    """Divides logits by a temperature that fits data which the model has not seen.

    It does not change which class is the most probable. Samples are pooled first, for a
    mean of calibrated predictions is not calibrated: the one sample that comes out is

        (log(mean(softmax(samples))) + mean(logsumexp(samples))) / temperature

    and for a single sample these are its logits over the temperature.

    It is called as `posterior(images, seed=None, offset=0)`; `zoo.posterior.Posterior`
    says what these mean.

    Args:
        posterior: A model from images to logits, or a posterior.
        temperature: Positive; `adapt` sets it.
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

    def __init__(
        self,
        posterior: keras.Model | Posterior,
        temperature: float = 1.0,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(seed, **kwargs)
        if not (layers.checks.is_number(temperature) and 0 < temperature < np.inf):
            raise ValueError(
                "`temperature` divides the logits and must be positive. "
                f"Received: temperature={temperature}"
            )
        if not isinstance(posterior, Posterior):
            posterior = MonteCarlo(posterior, 1)
        self.posterior = posterior
        self.num_samples = 1
        self.num_classes = posterior.num_classes
        self.map_shape = posterior.map_shape
        self.image_shape = posterior.image_shape
        self.takes_bytes = posterior.takes_bytes
        self.repeats_itself = getattr(posterior, "repeats_itself", False)
        self.temperature = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(temperature),
            dtype="float32",
            trainable=False,
            autocast=False,
            name="temperature",
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in the order of the logits; empty if not known."""
        return self.posterior.classes

    def sample(self, images, key, offset):
        samples = self.posterior(images, seed=key, offset=offset)
        return (pooled(samples) / self.temperature)[None]

    def probe_once(self, images):
        self.posterior.probe_once(images)

    def adapt(self, images, labels, batch_size: int = 100, seed: int = 0):
        """Sets the temperature that minimizes the mean NLL of labeled images.

        Args:
            images: Array of shape `(examples, *image_shape)`, or an object that gives
                such arrays when it is sliced. Neither training nor test images: the
                first are known too well, the second would no longer test.
            labels: Integer array of shape `(examples,)`.
            batch_size: Images per step.
            seed: Seed of the samples.

        Raises:
            ValueError: If no temperature is the best one.
        """
        if not len(images):
            raise ValueError("A temperature needs images. Received: 0 images")
        samples = self.posterior.sampled(images, batch_size, seed)
        logits = [ops.convert_to_numpy(pooled(batch)) for batch in samples]
        self.temperature.assign(best_temperature(np.concatenate(logits), labels))

    def get_config(self):
        config = {
            "posterior": keras.saving.serialize_keras_object(self.posterior),
            "temperature": float(ops.convert_to_numpy(self.temperature)),
        }
        return {**super().get_config(), **config}

    @classmethod
    def from_config(cls, config):
        posterior = keras.saving.deserialize_keras_object(config["posterior"])
        return cls(**{**config, "posterior": posterior})


def pooled(samples):
    """Returns logits of the mean prediction, of the level of the samples' logits.

    Args:
        samples: Logits of shape `(samples, batch, ..., num_classes)`.

    Returns:
        Logits of shape `(batch, ..., num_classes)`, of a single sample its own.
    """
    level = ops.mean(ops.logsumexp(samples, axis=-1, keepdims=True), axis=0)
    return predictive.log_probs(samples) + level


def best_temperature(logits, labels) -> float:
    """Returns the temperature that minimizes the mean NLL.

    In the inverse temperature the NLL is convex, so its derivative has one root; Newton
    steps, halved into the interval that must hold it, find it in float64.

    Args:
        logits: Array of shape `(examples, ..., num_classes)`.
        labels: Integer array of shape `(examples, ...)`.

    Raises:
        ValueError: If these are no logits and labels, or the
    Raises:
        ValueError: If these are no logits and labels.
        NoBestTemperatureError: A `ValueError` too: if every label is the most probable
            class, or the labels are no better than chance.
    """
    outputs.check_numbers(logits, "`logits`")
    logits = np.asarray(logits, "float64")
    if logits.ndim not in (2, 4) or not len(logits):
        raise ValueError(
            "`logits` must have the shape (examples, num_classes), with one example at "
            f"least. Received: logits.shape={logits.shape}"
        )
    outputs.check_logits(logits[None])
    labels = outputs.check_labels(labels, logits.shape)
    logits = logits.reshape(len(labels), -1)
    logits = logits - logits.max(axis=1, keepdims=True)
    of_labels = logits[np.arange(len(labels)), labels].mean()
    low, high, inverse = 1 / _LIMIT, _LIMIT, 1.0
    for end, sign in ((low, -1), (high, 1)):
        if not sign * _derivatives(logits, of_labels, end)[0] > 0:
            raise NoBestTemperatureError(
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
