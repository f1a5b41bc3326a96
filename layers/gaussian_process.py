"""A Gaussian process on features: the head of SNGP."""

import math
from random import getrandbits

import keras
import numpy as np
from keras import ops

from layers import checks, random, replicas


def orthogonal_features(seed: int, dimensions: int, num_features: int):
    """Draws directions of standard normals, at right angles to each other.

    Each of the columns is a standard normal vector by itself. They come in blocks of as
    many as there are dimensions, drawn apart; within a block they are orthogonal, which
    makes the kernel of the same number of features more exact.

    Args:
        seed: Integer of 32 bits.
        dimensions: Their length.
        num_features: Their number.

    Returns:
        Tensor of shape `(dimensions, num_features)`.

    Reference:
        [Orthogonal Random Features](https://arxiv.org/abs/1610.09072)
        (Yu et al., 2016), Eq. 4.
    """
    blocks = -(-num_features // dimensions)
    shape = blocks, dimensions, dimensions
    orthogonal, triangle = ops.qr(random.normal(random.fold(seed, 0), shape))
    # Without this the directions are not equally likely.
    signs = ops.sign(ops.diagonal(triangle, axis1=-2, axis2=-1))
    lengths = ops.norm(random.normal(random.fold(seed, 1), shape), axis=-1)
    columns = orthogonal * (signs * lengths)[:, None]
    columns = ops.reshape(ops.transpose(columns, (1, 0, 2)), (dimensions, -1))
    return columns[:, :num_features]


@keras.saving.register_keras_serializable(package="layers")
class GaussianProcess(keras.layers.Layer):
    """Logits of a Gaussian process, which fall with the distance to what it has seen.

    The features `h` become `num_features` random features of a Gaussian kernel of
    length scale `l`,

        phi = cos(h @ frequencies + phases),    E[2 / D phi(h) @ phi(h')] =
                                                    exp(-|h - h'|^2 / (2 l^2))

    and the logits are linear in these, `phi @ kernel`. In training that is what the
    layer returns, and it adds `phi.T @ phi` of the batch to the `precision`. That of an
    epoch gives the Laplace approximation of the posterior of the weights, with the
    likelihood of a Gaussian and one covariance for all classes. Away from training, its
    variance of the logits of an example,

        variance = ridge * phi @ inverse(precision + ridge * identity) @ phi.T

    makes them smaller: `logits / sqrt(1 + mean_field_factor * variance)`, so that their
    softmax is about its mean under the posterior.

    `begin_epoch` clears the precision, and `end_epoch` takes the variance from it. The
    `fit` of models of the zoo and `zoo-train` call them; in that of another model,
    `layers.EpochEvents` does, and in a loop of your own, you do. Before the first epoch
    has ended the variance is that of the prior. Several devices share the sum of their
    images.

    Args:
        units: The number of outputs.
        num_features: How many random features there are.
        length_scale: That of the kernel; the unit is that of the features.
        ridge: The precision of the prior of the weights; it multiplies the variance,
            too.
        mean_field_factor: How much the variance makes logits smaller; 0 is not at all.
            The theory says `pi / 8`; the published networks have 20 for CIFAR-10 and
            7.5 for CIFAR-100.
        kernel_initializer: Initializer of the weights of the random features.
        seed: Makes frequencies and phases reproducible, an integer in `[0, 2**32)`. By
            default they are different for each layer, so members of an ensemble differ.

    Input shape: `(batch, ..., features)`.

    Output shape: `(batch, ..., units)`.

    Example:

    >>> layer = GaussianProcess(3, num_features=256, length_scale=1.0)
    >>> features = keras.random.normal((100, 8))
    >>> _ = layer(features, training=True)
    >>> layer.end_epoch()
    >>> near, far = layer.variance(features[:1]), layer.variance(features[:1] + 10.0)
    >>> bool(near[0] < far[0])
    True

    Reference:
        [Simple and Principled Uncertainty Estimation with Deterministic Deep Learning
        via Distance Awareness](https://arxiv.org/abs/2006.10108) (Liu et al., 2020),
        Eqs. 7 to 9; [Random Features for Large-Scale Kernel Machines](
        https://papers.nips.cc/paper/3182) (Rahimi and Recht, 2007).
    """

    optional_weights = ()
    training_state = ("precision",)
    decays = False

    def __init__(
        self,
        units: int,
        num_features: int = 1024,
        length_scale: float = 20.0,
        ridge: float = 1.0,
        mean_field_factor: float = 20.0,
        kernel_initializer: str | keras.Initializer = "glorot_uniform",
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units = checks.check_count(units, "units")
        self.num_features = checks.check_count(num_features, "num_features")
        self.length_scale = checks.check_positive(length_scale, "length_scale")
        self.ridge = checks.check_positive(ridge, "ridge")
        if mean_field_factor != 0:
            checks.check_positive(mean_field_factor, "mean_field_factor")
        self.mean_field_factor = mean_field_factor
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        if seed is not None:
            checks.check_seed(seed)
        self.seed = seed
        self.input_spec = keras.layers.InputSpec(min_ndim=2)

    def build(self, input_shape):
        dimensions, count = input_shape[-1], self.num_features
        seed = getrandbits(32) if self.seed is None else self.seed

        def frequencies(shape, dtype):
            drawn = orthogonal_features(seed, *shape) / self.length_scale
            return ops.cast(drawn, dtype)

        def phases(shape, dtype):
            bits = random.bits(random.fold(seed, 2), shape[0])
            upper = ops.cast(ops.right_shift(bits, random.uint32(8)), "float32")
            return ops.cast(upper * (2 * math.pi / 2**24), dtype)

        self.frequencies = self._add_fixed(
            "frequencies", (dimensions, count), frequencies
        )
        self.phases = self._add_fixed("phases", (count,), phases)
        self.kernel = self.add_weight(
            (count, self.units), self.kernel_initializer, autocast=False, name="kernel"
        )
        self.precision = self._add_fixed("precision", (count, count), "zeros")
        self.covariance_factor = self._add_fixed(
            "covariance_factor", (count, count), "identity"
        )
        self.input_spec.axes = {-1: dimensions}

    def _add_fixed(self, name, shape, initializer):
        return self.add_weight(
            shape, initializer, trainable=False, autocast=False, name=name
        )

    @property
    def class_weights(self) -> list:
        """The weights whose last axis is that of the outputs."""
        return [self.kernel]

    def random_features(self, features):
        """Returns the random features.

        Args:
            features: Tensor of shape `(batch, ..., features)`.

        Returns:
            Tensor of shape `(batch, ..., num_features)`, in `[-1, 1]`.
        """
        features = ops.cast(features, self.variable_dtype)
        return ops.cos(ops.matmul(features, self.frequencies) + self.phases)

    def variance(self, features):
        """Returns the variance of the logits, which is the same for each of them.

        Args:
            features: Tensor of shape `(batch, ..., features)`.

        Returns:
            Tensor of shape `(batch, ...)`.
        """
        return self._variance(self.random_features(features))

    def _variance(self, phi):
        return ops.sum(ops.square(ops.matmul(phi, self.covariance_factor)), axis=-1)

    def call(self, inputs, training=False):
        phi = self.random_features(inputs)
        logits = ops.matmul(phi, self.kernel)
        if training and self.trainable:
            self._observe(phi)
        elif self.mean_field_factor:
            scale = 1 + self.mean_field_factor * self._variance(phi)
            logits = logits / ops.sqrt(scale)[..., None]
        return ops.cast(logits, self.compute_dtype)

    def observe(self, features):
        """Adds examples to the precision, as a call in training does.

        Args:
            features: Tensor of shape `(batch, ..., features)`.
        """
        self._observe(self.random_features(features))

    def _observe(self, phi):
        rows = ops.stop_gradient(ops.reshape(phi, (-1, self.num_features)))
        products = ops.matmul(ops.transpose(rows), rows)
        self.precision.assign(self.precision + replicas.summed(products))

    def begin_epoch(self, epoch: int = 0):
        """Clears the precision, to which the batches of an epoch are added."""
        if self.trainable:
            self.precision.assign(ops.zeros(self.precision.shape, self.variable_dtype))

    def end_epoch(self):
        """Makes the variance that of the precision."""
        if not self.trainable:
            return
        precision = ops.convert_to_numpy(self.precision).astype("float64")
        # In this precision the inverse of what float32 has summed is exact enough.
        root = np.linalg.cholesky(precision + self.ridge * np.eye(self.num_features))
        factor = math.sqrt(self.ridge) * np.linalg.inv(root).T
        self.covariance_factor.assign(factor.astype(self.variable_dtype))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        names = "units", "num_features", "length_scale", "ridge", "mean_field_factor"
        own = {name: getattr(self, name) for name in (*names, "seed")}
        initializer = keras.initializers.serialize(self.kernel_initializer)
        return {**super().get_config(), **own, "kernel_initializer": initializer}
