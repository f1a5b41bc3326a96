"""Prior distributions of weights: what they are believed to be before any data."""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from layers import checks


class Prior:
    """Base class of distributions of the weights of a layer.

    A sampler moves in *standardized* weights, of which the weights are a linear map:
    `weights = from_standard(standard)`. There all directions of a prior are of
    comparable width, and one step size fits them.

    Subclasses implement `standard_log_prob` and `get_config`. What is no scaling of
    each weight by itself also implements `to_standard`, `from_standard` and
    `log_volume`.

    Args:
        scale: Scale of each weight; of a Gaussian, the standard deviation.
    """

    def __init__(self, scale: float = 1.0):
        self.scale = float(checks.check_positive(scale, "scale"))

    def log_prob(self, weights):
        """Returns the log density of weights, in nats, summed over all of them.

        Args:
            weights: Tensor of any shape, unless the class says which.

        Returns:
            Scalar tensor of the type of the weights.
        """
        standard = self.standard_log_prob(self.to_standard(weights))
        return standard - self.log_volume(tuple(weights.shape))

    def standard_log_prob(self, standard):
        """Returns the log density of standardized weights, a scalar tensor."""
        raise NotImplementedError

    def from_standard(self, standard):
        """Returns the weights of standardized ones, a tensor of the same shape."""
        return self.scale * standard

    def to_standard(self, weights):
        """Returns the standardized weights, of which `from_standard` gives these."""
        return weights / self.scale

    def log_volume(self, shape: tuple[int, ...]) -> float:
        """Returns the log determinant of `from_standard` for weights of a shape."""
        return math.prod(shape) * math.log(self.scale)

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {"scale": self.scale}

    @classmethod
    def from_config(cls, config):
        """Returns the prior of a config."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="layers")
class Gaussian(Prior):
    """Independent Gaussian weights of mean zero; L2 regularization, as a density.

    Args:
        scale: Standard deviation.

    Example:

    >>> float(Gaussian(2.0).log_prob(ops.zeros(1)))  # -log(2 sqrt(2 pi))
    -1.6120857...
    """

    def standard_log_prob(self, standard):
        size = math.prod(standard.shape)
        return -0.5 * (ops.sum(ops.square(standard)) + size * math.log(2 * math.pi))


@keras.saving.register_keras_serializable(package="layers")
class Laplace(Prior):
    """Independent weights of density `exp(-abs(w) / scale) / (2 scale)`.

    Args:
        scale: The mean of `abs(w)`; the standard deviation is `sqrt(2)` times as large.
    """

    def standard_log_prob(self, standard):
        return -ops.sum(ops.abs(standard)) - math.prod(standard.shape) * math.log(2)


@keras.saving.register_keras_serializable(package="layers")
class StudentT(Prior):
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
class EmpCov(Prior):
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
        return Gaussian().standard_log_prob(standard)

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
class SumFilter(Prior):
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
                "`SumFilter` is for the kernel of a convolution, of shape (height, "
                f"width, in, out). Received: weights of shape {tuple(standard.shape)}"
            )
        sums = self.scale * ops.sum(standard, axis=(0, 1))
        penalty = ops.sum(ops.abs(sums)) / (2 * self.sum_scale**2)
        return Gaussian().standard_log_prob(standard) - penalty

    def get_config(self):
        return {**super().get_config(), "sum_scale": self.sum_scale}


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
