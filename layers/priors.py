"""Priors of kernels: densities that layers with Gaussian weights are trained against.

A prior gives the log density of a kernel, and the KL divergence of a Gaussian posterior
from it: in closed form where there is one, else by Monte Carlo. It is an object that
is saved with its layer.
"""

import math
import numbers
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from layers import checks, tracing

_LOG_ROOT = 0.5 * math.log(2 * math.pi)
_PROBED = (-1e3, -1.0, -1e-3, 1e-3, 1.0, 1e3)  # Entries of kernels.


def gaussian_kl(loc, scale, prior_scale: float):
    """Returns `KL(N(loc, scale**2) || N(0, prior_scale**2))`, summed, in nats."""
    ratio, shift = scale / prior_scale, loc / prior_scale
    terms = ops.square(ratio) + ops.square(shift) - 1.0 - 2.0 * ops.log(ratio)
    return 0.5 * ops.sum(terms)


def gaussian_log_prob(x, scale: float):
    """Returns the log density of `N(0, scale**2)` at each entry, in nats."""
    return -0.5 * ops.square(x / scale) - (math.log(scale) + _LOG_ROOT)


class Prior:
    """Base class of priors.

    A subclass has `log_prob` and `get_config`, and is registered with Keras so that it
    is saved; see `keras.saving.register_keras_serializable`.
    """

    def log_prob(self, kernel):
        """Returns the log density of a whole kernel, a scalar, in nats.

        Args:
            kernel: Tensor of shape `(..., channels, outputs)`.
        """
        raise NotImplementedError

    def divergence(self, loc, scale, noise: Callable):
        """Returns the KL divergence of a Gaussian posterior, or an estimate of it.

        The estimate has one draw of the kernel and the entropy of the posterior in
        closed form: its mean is the divergence, and its gradient that of the logarithm
        of the densities' ratio at the draw.

        Args:
            loc: Mean of the posterior, of the shape of the kernel.
            scale: Its standard deviation, of the same shape.
            noise: Function without arguments to standard normals of that shape.

        Returns:
            A scalar, summed over the kernel, in nats.

        Reference:
            [Weight Uncertainty in Neural Networks](https://arxiv.org/abs/1505.05424)
            (Blundell et al., 2015), Eq. 2, with the entropy in closed form.
        """
        entropy = ops.sum(ops.log(scale)) + math.prod(loc.shape) * (0.5 + _LOG_ROOT)
        return -entropy - self.log_prob(loc + scale * noise())

    def check(self, shape: tuple[int, ...]):
        """Checks that the log density of kernels of a shape is finite.

        A Gaussian posterior is everywhere, so the KL divergence from a prior that is
        not is infinite.

        Args:
            shape: Shape of the kernel.

        Raises:
            ValueError: If that of some kernel is infinite or NaN.
        """
        if tracing.current() is not None:  # Nothing can be computed here.
            return
        for value in _PROBED:
            kernel = np.full(shape, value, "float32")
            found = float(ops.convert_to_numpy(self.log_prob(kernel)))
            if not math.isfinite(found):
                raise ValueError(
                    "The log density of a prior must be finite for every kernel, since "
                    "a Gaussian posterior is everywhere. Received: prior="
                    f"{self.describe()}, whose log density is {found} where all "
                    f"entries of the kernel are {value:g}"
                )

    def describe(self) -> str:
        """Returns the prior in words, for messages."""
        return type(self).__name__

    def get_config(self) -> dict:
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable(package="layers")
class GaussianPrior(Prior):
    """Independent Gaussians of mean 0.

    Args:
        scale: Their standard deviation.
    """

    def __init__(self, scale: float = 1.0):
        self.scale = checks.check_scale(scale, "scale")

    def log_prob(self, kernel):
        return ops.sum(gaussian_log_prob(kernel, self.scale))

    def divergence(self, loc, scale, noise):
        return gaussian_kl(loc, scale, self.scale)

    def check(self, shape):
        """Checks nothing: its log density is finite."""

    def get_config(self):
        return {"scale": self.scale}


@keras.saving.register_keras_serializable(package="layers")
class ScaleMixturePrior(Prior):
    """Independent mixtures of a wide and a narrow Gaussian, both of mean 0.

    Args:
        weight: Probability of the first one, in (0, 1).
        scales: Their standard deviations.

    Reference:
        [Weight Uncertainty in Neural Networks](https://arxiv.org/abs/1505.05424)
        (Blundell et al., 2015), Eq. 7; the default is of the values searched there.
    """

    def __init__(
        self,
        weight: float = 0.5,
        scales: tuple[float, float] = (1.0, math.exp(-6)),
    ):
        if not (checks.is_number(weight) and 0 < weight < 1):
            raise ValueError(
                f"`weight` is a probability, in (0, 1). Received: weight={weight}"
            )
        if np.shape(scales) != (2,):
            raise ValueError(
                f"`scales` must be two standard deviations. Received: scales={scales}"
            )
        self.weight = weight
        self.scales = tuple(checks.check_scale(scale, "scales") for scale in scales)

    def log_prob(self, kernel):
        first, second = (gaussian_log_prob(kernel, scale) for scale in self.scales)
        first = first + math.log(self.weight)
        return ops.sum(ops.logaddexp(first, second + math.log(1 - self.weight)))

    def get_config(self):
        return {"weight": self.weight, "scales": self.scales}


@keras.saving.register_keras_serializable(package="layers")
class DistributionPrior(Prior):
    """A distribution of TensorFlow Probability, on TensorFlow.

    Args:
        distribution: A `tfp.distributions.Distribution`. One of numbers is that of each
            entry; shapes of batches and events broadcast with that of the kernel. Its
            parameters must be numbers, arrays, words and other distributions, so that
            it can be saved.

    Raises:
        ImportError: If the backend is not TensorFlow.
        ValueError: If it is no distribution, or cannot be saved.

    Example:

    >>> import tensorflow_probability as tfp
    >>> prior = DistributionPrior(tfp.distributions.Laplace(0.0, 1.0))
    >>> f"{float(prior.log_prob(keras.ops.zeros((1, 1)))):.4f}"
    '-0.6931'
    """

    def __init__(self, distribution):
        if isinstance(distribution, dict):
            distribution = _decode(distribution)
        distributions = _distributions()
        if not isinstance(distribution, distributions.Distribution):
            raise ValueError(
                "`distribution` must be a `tfp.distributions.Distribution`. Received: "
                f"distribution={distribution}"
            )
        self._written = _encode(distribution, distributions)
        self.distribution = distribution

    def log_prob(self, kernel):
        values = ops.cast(kernel, self.distribution.dtype.name)
        return ops.cast(ops.sum(self.distribution.log_prob(values)), "float32")

    def check(self, shape):
        own = (*self.distribution.batch_shape, *self.distribution.event_shape)
        try:
            fits = np.broadcast_shapes(own, shape) == tuple(shape)
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                "The shapes of the batch and of an event of a prior must broadcast to "
                f"that of the kernel, {tuple(shape)}. Received: prior="
                f"{self.describe()}, of shape {own}"
            )
        super().check(shape)

    def describe(self):
        return f"tfp.distributions.{type(self.distribution).__name__}"

    def get_config(self):
        return {"distribution": self._written}


def _distributions():
    if (backend := keras.backend.backend()) != "tensorflow":
        raise ImportError(
            "Priors of TensorFlow Probability need TensorFlow as the backend of Keras; "
            "`GaussianPrior` and `ScaleMixturePrior` run on others. Received: "
            f"KERAS_BACKEND={backend}"
        )
    import tensorflow_probability as tfp

    return tfp.distributions


def _encode(value, distributions):
    """Returns what `json` takes of a distribution, or of a parameter of one."""
    if value is None or isinstance(value, (bool, str, numbers.Real)):
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, distributions.Distribution):
        kind = type(value).__name__
        if getattr(distributions, kind, None) is type(value):
            parameters = {
                name: _encode(part, distributions)
                for name, part in value.parameters.items()
            }
            return {"kind": kind, "parameters": parameters}
    elif isinstance(value, (list, tuple)):
        return [_encode(part, distributions) for part in value]
    elif hasattr(value, "dtype") and hasattr(value, "shape"):
        array = np.asarray(value)
        return {"values": array.tolist(), "dtype": array.dtype.name}
    elif hasattr(value, "as_numpy_dtype"):
        return {"dtype": value.name}
    raise ValueError(
        "A prior must be a distribution of `tfp.distributions` whose parameters are "
        "numbers, arrays, words and other distributions, so that it can be saved with "
        "its layer; write a subclass of `layers.Prior` for others. Received: "
        f"{type(value).__name__}"
    )


def _decode(value):
    """Returns what `_encode` was given."""
    if isinstance(value, list):
        return [_decode(part) for part in value]
    if not isinstance(value, dict):
        return value
    if "values" in value:
        return np.asarray(value["values"], value["dtype"])
    if "dtype" in value:
        import tensorflow as tf

        return tf.as_dtype(value["dtype"])
    parameters = {name: _decode(part) for name, part in value["parameters"].items()}
    return getattr(_distributions(), value["kind"])(**parameters)


def get(prior, scale: float) -> Prior:
    """Returns a prior, from its config where it is one.

    Args:
        prior: A `Prior`, what Keras has serialized of one, or None for a Gaussian.
        scale: Standard deviation of that.

    Raises:
        ValueError: If it is something else.
    """
    if prior is None:
        return GaussianPrior(scale)
    if isinstance(prior, dict):
        prior = keras.saving.deserialize_keras_object(prior)
    if not isinstance(prior, Prior):
        raise ValueError(
            "`prior` must be a `layers.Prior`, such as `layers.ScaleMixturePrior()`, "
            "or None for the Gaussian of `prior_scale`. A distribution of TensorFlow "
            f"Probability goes into `layers.DistributionPrior`. Received: prior={prior}"
        )
    return prior
