"""What regressors end with: the mean and the standard deviation of a Gaussian."""

import math

import keras
from keras import ops

from layers.checks import is_number


class NumberOutput(keras.layers.Layer):
    """Base class of layers from two numbers of a network to those of a Gaussian.

    The first number is the mean, and a function of the second one the standard
    deviation, both of standardized targets; the layer gives them in the unit of the
    targets. Subclasses implement `deviation` and `get_config`.

    Args:
        loc: What is zero in standardized targets, their mean in training.
        scale: What is one there, positive: their standard deviation in training.

    Raises:
        ValueError: If they are not finite, or the scale is not positive.

    Input shape: `(batch, 2)`.

    Output shape: `(batch, 2)`, of float32: means and standard deviations.
    """

    def __init__(self, loc: float = 0.0, scale: float = 1.0, **kwargs):
        # Small deviations are none in half precision.
        super().__init__(**{"dtype": "float32", **kwargs})
        fits = is_number(loc) and is_number(scale)
        if not (fits and math.isfinite(loc) and 0 < scale < math.inf):
            raise ValueError(
                "`loc` and `scale` are the mean and the standard deviation of targets, "
                "which are finite numbers, the second one positive. Received: "
                f"loc={loc}, scale={scale}"
            )
        self.loc, self.scale = float(loc), float(scale)

    def build(self, input_shape):
        if input_shape[-1] != 2:
            raise ValueError(
                f"`{type(self).__name__}` takes two numbers for each example. "
                f"Received: input_shape={tuple(input_shape)}"
            )

    def deviation(self, raw):
        """Returns standard deviations of standardized targets, of the same shape."""
        raise NotImplementedError

    def call(self, inputs):
        mean, raw = inputs[..., :1], inputs[..., 1:]
        parts = [self.loc + self.scale * mean, self.scale * self.deviation(raw)]
        return ops.concatenate(parts, axis=-1)

    def standardized(self, targets):
        """Returns targets as `call` undoes it, of any shape."""
        return (ops.cast(targets, "float32") - self.loc) / self.scale

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return {**super().get_config(), "loc": self.loc, "scale": self.scale}


@keras.saving.register_keras_serializable(package="layers")
class GaussianOutput(NumberOutput):
    """From two numbers to the mean and the standard deviation of a Gaussian.

    In the unit of the targets they are

        mean = loc + scale * x[0]
        deviation = scale * (smallest + softplus(x[1]))

    Args:
        loc: Mean of the targets of the training.
        scale: Standard deviation of the targets of the training, positive.
        smallest: The least deviation, in units of `scale`: without one, the density of
            a target that is hit has no bound.

    Raises:
        ValueError: If one is not finite, or the scale or the smallest one not positive.

    Input shape: `(batch, 2)`.

    Output shape: `(batch, 2)`, of float32.

    Example:

    >>> output = GaussianOutput(loc=10.0, scale=2.0, smallest=0.5)
    >>> ops.convert_to_numpy(output(ops.array([[1.0, -100.0]]))).tolist()
    [[12.0, 1.0]]

    Reference:
        [Simple and Scalable Predictive Uncertainty Estimation](
        https://arxiv.org/abs/1612.01474) (Lakshminarayanan et al., 2017), 2.2.1.
    """

    def __init__(
        self, loc: float = 0.0, scale: float = 1.0, smallest: float = 1e-3, **kwargs
    ):
        super().__init__(loc, scale, **kwargs)
        if not (is_number(smallest) and 0 < smallest < math.inf):
            raise ValueError(
                "`smallest` is the least standard deviation and must be positive. "
                f"Received: smallest={smallest}"
            )
        self.smallest = float(smallest)

    def deviation(self, raw):
        return self.smallest + ops.softplus(raw)

    def get_config(self):
        return {**super().get_config(), "smallest": self.smallest}


@keras.saving.register_keras_serializable(package="layers")
class NomuOutput(NumberOutput):
    """From a prediction and a raw uncertainty to a mean and a standard deviation.

    The readout of NOMU: a raw uncertainty `r` becomes

        largest * (1 - exp(-(max(0, r) + smallest) / largest))

    which is about `smallest` at zero and never above `largest`, in units of `scale`. It
    says how far the mean may be off, up to a factor that is the same everywhere and
    that `zoo.posterior.Spread` fits, and knows no noise.

    Args:
        loc: Mean of the targets of the training.
        scale: Standard deviation of the targets of the training, positive.
        smallest: About the least deviation, in units of `scale`.
        largest: The bound on it, in units of `scale`.

    Raises:
        ValueError: If one is not finite, or one of the last three not positive.

    Input shape: `(batch, 2)`.

    Output shape: `(batch, 2)`, of float32.

    Example:

    >>> output = ops.convert_to_numpy(NomuOutput()(ops.array([[0.5, 0.0], [0.5, 1e3]])))
    >>> output.round(4).tolist()
    [[0.5, 0.0010000000474974513], [0.5, 2.0]]

    Reference:
        [NOMU: Neural Optimization-based Model Uncertainty](
        https://arxiv.org/abs/2102.13640) (Heiss et al., 2022), Section 3.1.
    """

    def __init__(
        self,
        loc: float = 0.0,
        scale: float = 1.0,
        smallest: float = 1e-3,
        largest: float = 2.0,
        **kwargs,
    ):
        super().__init__(loc, scale, **kwargs)
        fits = is_number(smallest) and is_number(largest)
        if not (fits and 0 < smallest < math.inf and 0 < largest < math.inf):
            raise ValueError(
                "`smallest` and `largest` bound standard deviations and must be "
                f"positive. Received: smallest={smallest}, largest={largest}"
            )
        self.smallest, self.largest = float(smallest), float(largest)

    def deviation(self, raw):
        shifted = ops.relu(raw) + self.smallest
        return -self.largest * ops.expm1(-shifted / self.largest)

    def get_config(self):
        own = {"smallest": self.smallest, "largest": self.largest}
        return {**super().get_config(), **own}
