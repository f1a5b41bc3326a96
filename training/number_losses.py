"""Losses of predicted Gaussians, and what a training of regressors shows beside them.

Predictions have the shape `(batch, 2)`, means and standard deviations, and targets
`(batch,)`, all in the unit of the targets.
"""

import math
import statistics
from collections.abc import Sequence

import keras
from keras import ops

import layers
from layers import checks


def nll(targets, predicted):
    """Returns the negative log density of targets, of shape `(batch,)`, in nats."""
    targets, means, scales = _parts(targets, predicted)
    square = ops.square((targets - means) / scales)
    return 0.5 * square + ops.log(scales) + 0.5 * math.log(2 * math.pi)


def _parts(targets, predicted):
    predicted = ops.cast(predicted, "float32")
    targets = ops.reshape(ops.cast(targets, "float32"), (-1,))
    return targets, predicted[:, 0], predicted[:, 1]


def output_of(model: keras.Model, objective: str) -> layers.GaussianOutput:
    """Returns the last layer of a regressor, which knows the unit of its targets.

    Args:
        model: Functional Keras model.
        objective: What asks, for the error.

    Raises:
        ValueError: If the model ends with something else.
    """
    last = model.layers[-1]
    if not hasattr(last, "standardized"):
        raise ValueError(
            f"The objective '{objective}' is for regressors, as zoo.build(..., "
            f"target=...) makes them. Received: the model '{model.name}', which ends "
            f"with {type(last).__name__}"
        )
    return last


@keras.saving.register_keras_serializable(package="training")
class GaussianNLL(keras.losses.Loss):
    """The negative log density of targets under the predicted Gaussians, in nats."""

    def call(self, y_true, y_pred):
        return nll(y_true, y_pred)


@keras.saving.register_keras_serializable(package="training")
class SquaredError(keras.losses.Loss):
    """The squared distance of targets from predicted means, in squares of a unit.

    Args:
        scale: The unit, positive.
    """

    def __init__(self, scale: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, y_true, y_pred):
        targets, means, _ = _parts(y_true, y_pred)
        return ops.square((targets - means) / self.scale)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable(package="training")
class QuantileLoss(keras.losses.Loss):
    """The mean pinball loss of quantiles of the predicted Gaussians.

    Of the quantile `q` of a level `t` and a target `y` it is `max(t (y - q), (t - 1) (y
    - q))`, here over a unit. Twice the mean over evenly spaced levels tends to the
    continuous ranked probability score as they get more.

    Args:
        levels: Probabilities, in (0, 1).
        scale: The unit, positive.

    Raises:
        ValueError: If a level is no probability.

    Reference:
        [Regression Quantiles](https://doi.org/10.2307/1913643) (Koenker and Bassett,
        1978).
    """

    def __init__(self, levels: Sequence[float], scale: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        levels = tuple(levels) if isinstance(levels, (list, tuple)) else (levels,)
        inside = [checks.is_number(x) and 0 < x < 1 for x in levels]
        if not levels or not all(inside):
            raise ValueError(
                "`levels` must be probabilities in (0, 1), such as [0.05, 0.5, 0.95]. "
                f"Received: levels={list(levels)}"
            )
        self.levels, self.scale = levels, scale

    def call(self, y_true, y_pred):
        targets, means, scales = _parts(y_true, y_pred)
        normal = statistics.NormalDist()
        places = ops.convert_to_tensor([normal.inv_cdf(x) for x in self.levels])
        levels = ops.convert_to_tensor(self.levels, "float32")
        quantiles = means[:, None] + scales[:, None] * ops.cast(places, "float32")
        over = (targets[:, None] - quantiles) / self.scale
        return ops.mean(ops.maximum(levels * over, (levels - 1) * over), axis=-1)

    def get_config(self):
        own = {"levels": list(self.levels), "scale": self.scale}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="training")
class RootMeanSquaredError(keras.metrics.RootMeanSquaredError):
    """The root of the mean squared distance of the means, in the unit of the targets.

    Args:
        name: Name of the metric.
    """

    def __init__(self, name: str = "rmse", **kwargs):
        super().__init__(name=name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        targets, means, _ = _parts(y_true, y_pred)
        return super().update_state(targets, means, sample_weight)


def metrics() -> list[keras.metrics.Metric]:
    """Returns the metrics of a training: the NLL and the RMSE."""
    return [keras.metrics.MeanMetricWrapper(nll, "nll"), RootMeanSquaredError()]
