"""Priors of weights: what they are believed to be before any data.

A prior gives the log density of a kernel, and the KL divergence of a Gaussian posterior
from it: in closed form where there is one, else by Monte Carlo. It is an object that
is saved with its layer. Samplers and trainings to the most probable weights take it
too.
"""

import math
import numbers
from collections.abc import Callable, Sequence

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

    A sampler moves in *standardized* weights, of which the weights are a linear map:
    `weights = from_standard(standard)`. There all directions of a prior should be of
    comparable width, so that one step size fits them; by default they are the weights.
    """

    def log_prob(self, kernel):
        """Returns the log density of a whole kernel, a scalar, in nats.

        Args:
            kernel: Tensor of shape `(..., channels, outputs)`.
        """
        raise NotImplementedError

    def standard_log_prob(self, standard):
        """Returns the log density of standardized weights, a scalar tensor."""
        weights = self.from_standard(standard)
        return self.log_prob(weights) + self.log_volume(tuple(standard.shape))

    def from_standard(self, standard):
        """Returns the weights of standardized ones, a tensor of the same shape."""
        return standard

    def to_standard(self, weights):
        """Returns the standardized weights, of which `from_standard` gives these."""
        return weights

    def log_volume(self, shape: tuple[int, ...]) -> float:
        """Returns the log determinant of `from_standard` for weights of a shape."""
        return 0.0

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


class ScaledPrior(Prior):
    """Base class of priors that are given by the density of standardized weights.

    Subclasses implement `standard_log_prob` and `get_config`. What is no scaling of
    each weight by itself also implements `to_standard`, `from_standard` and
    `log_volume`.

    Args:
        scale: Scale of each weight; of a Gaussian, the standard deviation.
    """

    def __init__(self, scale: float = 1.0):
        self.scale = float(checks.check_positive(scale, "scale"))

    def log_prob(self, kernel):
        standard = self.standard_log_prob(self.to_standard(kernel))
        return standard - self.log_volume(tuple(kernel.shape))

    def standard_log_prob(self, standard):
        raise NotImplementedError

    def from_standard(self, standard):
        return self.scale * standard

    def to_standard(self, weights):
        return weights / self.scale

    def log_volume(self, shape):
        return math.prod(shape) * math.log(self.scale)

    def get_config(self):
        return {"scale": self.scale}


@keras.saving.register_keras_serializable(package="layers")
class GaussianPrior(ScaledPrior):
    """Independent Gaussians of mean 0; L2 regularization, as a density.

    Args:
        scale: Their standard deviation.

    Example:

    >>> float(GaussianPrior(2.0).log_prob(ops.zeros(1)))  # -log(2 sqrt(2 pi))
    -1.6120857...
    """

    def standard_log_prob(self, standard):
        size = math.prod(standard.shape)
        return -0.5 * ops.sum(ops.square(standard)) - size * _LOG_ROOT

    def divergence(self, loc, scale, noise):
        return gaussian_kl(loc, scale, self.scale)

    def check(self, shape):
        """Checks nothing: its log density is finite."""


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


@keras.saving.register_keras_serializable(package="layers")
class LaplacePrior(ScaledPrior):
    """Independent weights of density `exp(-abs(w) / scale) / (2 scale)`.

    Args:
        scale: The mean of `abs(w)`; the standard deviation is `sqrt(2)` times as large.
    """

    def standard_log_prob(self, standard):
        return -ops.sum(ops.abs(standard)) - math.prod(standard.shape) * math.log(2)


@keras.saving.register_keras_serializable(package="layers")
class StudentTPrior(ScaledPrior):
    """Independent weights of Student's t distribution, whose tails are heavy.

    Args:
        scale: The weight over it has the standard t distribution.
        degrees_of_freedom: Positive; the tails fall with the power of one more.
    """

    def __init__(self, scale: float = 1.0, degrees_of_freedom: float = 5.0):
        super().__init__(scale)
        freedom = checks.check_positive(degrees_of_freedom, "degrees_of_freedom")
        self.degrees_of_freedom = float(freedom)

    def standard_log_prob(self, standard):
        freedom = self.degrees_of_freedom
        half = (freedom + 1) / 2
        peak = math.lgamma(half) - math.lgamma(freedom / 2)
        peak -= 0.5 * math.log(freedom * math.pi)
        logs = ops.log1p(ops.square(standard) / freedom)
        return math.prod(standard.shape) * peak - half * ops.sum(logs)

    def get_config(self):
        return {**super().get_config(), "degrees_of_freedom": self.degrees_of_freedom}


@keras.saving.register_keras_serializable(package="layers")
class EmpCovPrior(ScaledPrior):
    """Gaussian weights that vary as the inputs do, for the first layer of a network.

    The weights of each output are `N(0, P^-1)` with the precision

        P = (covariance + jitter I)^-1 / covariance_scale^2 + I / scale^2

    Where the inputs of the training do not vary, as pixels at the border of digits, the
    likelihood says nothing about weights, and an isotropic prior leaves them at random:
    each sample of a posterior then adds noise of its own as soon as these inputs vary
    after all. Here they are near zero.

    The published code adds no `jitter` to patches and 1e-10 to whole images, which
    trainings by gradients cannot follow: for them the weights of dead inputs are a
    billion times stiffer than others. Samplers in standardized weights do not mind.

    Args:
        covariance: Array of shape `(inputs, inputs)` of what a kernel of shape `(...,
            in, out)` is multiplied by, where `inputs` are all axes but the last one: of
            images, or of the patches under a convolution.
        scale: Standard deviation of the weights if inputs did not matter.
        covariance_scale: Factor of the standard deviation of the inputs; by default
            that is `scale` too, as published.
        jitter: Variance that is added to that of each input, in its unit.

    Reference:
        [Dangers of Bayesian Model Averaging under Covariate Shift](
        https://arxiv.org/abs/2106.11905) (Izmailov et al., 2021), section 6; the sum of
        two precisions is that of the published code.
    """

    def __init__(
        self,
        covariance: Sequence[Sequence[float]],
        scale: float = 1.0,
        covariance_scale: float | None = None,
        jitter: float = 1e-4,
    ):
        super().__init__(scale)
        self.covariance = _check_covariance(covariance)
        factor = self.scale if covariance_scale is None else covariance_scale
        factor = float(checks.check_positive(factor, "covariance_scale"))
        self.covariance_scale = factor
        self.jitter = float(checks.check_positive(jitter, "jitter"))
        values, vectors = np.linalg.eigh(self.covariance)
        precision = 1 / ((np.maximum(values, 0) + self.jitter) * factor**2)
        self._deviations = (precision + 1 / self.scale**2) ** -0.5
        self._vectors = vectors

    def standard_log_prob(self, standard):
        return GaussianPrior().standard_log_prob(standard)

    def from_standard(self, standard):
        return _multiplied(self._vectors * self._deviations, standard)

    def to_standard(self, weights):
        return _multiplied((self._vectors / self._deviations).T, weights)

    def log_volume(self, shape):
        return shape[-1] * float(np.sum(np.log(self._deviations)))

    def get_config(self):
        return {
            "covariance": self.covariance.tolist(),
            **super().get_config(),
            "covariance_scale": self.covariance_scale,
            "jitter": self.jitter,
        }


@keras.saving.register_keras_serializable(package="layers")
class SumFilterPrior(ScaledPrior):
    """Gaussian weights of a convolution, whose filters have small sums over the window.

    The log density of a kernel of shape `(height, width, in, out)` is that of the
    Gaussian, plus `-abs(sum) / (2 sum_scale^2)` for the sum over the window of each
    input and output channel, and a constant that is left out. What all pixels of an
    image have in common then moves the outputs little.

    Args:
        scale: Standard deviation of the Gaussian.
        sum_scale: Square root of half the mean of `abs(sum)` that the second factor
            alone would have.

    Reference:
        [Dangers of Bayesian Model Averaging under Covariate Shift](
        https://arxiv.org/abs/2106.11905) (Izmailov et al., 2021), appendix; the
        absolute value is that of the published code.
    """

    def __init__(self, scale: float = 1.0, sum_scale: float = 1.0):
        super().__init__(scale)
        self.sum_scale = float(checks.check_positive(sum_scale, "sum_scale"))

    def standard_log_prob(self, standard):
        if len(standard.shape) != 4:
            raise ValueError(
                "`SumFilterPrior` is for kernels of convolutions, of shape (height, "
                f"width, in, out). Received: weights of shape {tuple(standard.shape)}"
            )
        sums = self.scale * ops.sum(standard, axis=(0, 1))
        penalty = ops.sum(ops.abs(sums)) / (2 * self.sum_scale**2)
        return GaussianPrior().standard_log_prob(standard) - penalty

    def get_config(self):
        return {**super().get_config(), "sum_scale": self.sum_scale}


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


def _multiplied(matrix, weights):
    """Returns a matrix times the weights of each output."""
    shape = tuple(weights.shape)
    if math.prod(shape[:-1]) != len(matrix):
        raise ValueError(
            f"The covariance is that of {len(matrix)} inputs, and the weights have "
            f"{math.prod(shape[:-1])}. Received: weights of shape {shape}"
        )
    rows = ops.reshape(weights, (len(matrix), shape[-1]))
    matrix = ops.convert_to_tensor(matrix, keras.backend.standardize_dtype(rows.dtype))
    return ops.reshape(ops.matmul(matrix, rows), shape)


def _check_covariance(covariance):
    matrix = np.asarray(covariance, "float64")
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] and matrix.size
    if not (square and np.isfinite(matrix).all()):
        raise ValueError(
            "`covariance` must be a square matrix of finite numbers. Received: "
            f"covariance of shape {matrix.shape}"
        )
    tolerance = 1e-6 * np.abs(matrix).max()
    low = np.linalg.eigvalsh(matrix)[0]
    if not np.allclose(matrix, matrix.T, atol=tolerance) or low < -len(matrix) * max(
        tolerance, 1e-12
    ):
        raise ValueError(
            "`covariance` must be symmetric and have no negative eigenvalue. Received: "
            f"covariance with the smallest eigenvalue {low:.3g}"
        )
    return matrix
