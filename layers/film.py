"""FiLM-Ensemble: a batch normalization for each member."""

import keras
from keras import ops

from layers import checks, members, normalization, replicas


@keras.saving.register_keras_serializable(package="layers")
class FiLMBatchNormalization(members.MemberLayer, keras.layers.BatchNormalization):
    """Batch normalization whose scale, shift and statistics each member has of its own.

    With member `m` of an example, mean and variance of all values of that member,

        gamma[m] * (x - mean[m]) / sqrt(variance[m] + epsilon) + beta[m]

    Both `gamma` and `beta` start uniformly in `+-gain * sqrt(6 / (num_members +
    channels))`, so that members differ from the first step on; the larger the `gain`,
    the more. The published code divides by the unbiased variance, and here it is the
    biased one, as of every batch normalization in Keras. A member without an example in
    a batch keeps its statistics.

    Args:
        num_members: The number of members. With one it is a batch normalization.
        momentum: What part of the moving statistics a step keeps.
        epsilon: Added to the variance.
        gain: Factor of the initial `gamma` and `beta`, positive.
        seed: See `layers.RandomLayer`; the layer draws nothing.
        synchronized: Whether the statistics are those of all replicas together.

    Raises:
        ValueError: If there is an `axis`, a `center` or a `scale`.

    Input shape: `(batch, ..., channels)`.

    Output shape: Same as the input.

    Example:

    >>> layer = FiLMBatchNormalization(4)
    >>> tuple(layer(keras.ops.ones((8, 4, 4, 16)), training=True).shape)
    (8, 4, 4, 16)
    >>> tuple(layer.gamma.shape)
    (4, 16)

    Reference:
        [FiLM-Ensemble: Probabilistic Deep Learning via Feature-wise Linear Modulation](
        https://arxiv.org/abs/2206.00050) (Turkoglu et al., 2022), Eq. 2.
    """

    def __init__(
        self,
        num_members: int = 4,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        gain: float = 1.0,
        seed: int | None = None,
        synchronized: bool = False,
        **kwargs,
    ):
        for name in sorted({"axis", "center", "scale"} & set(kwargs)):
            raise ValueError(
                "Members have a scale and a shift of their own for each channel, which "
                f"is the last axis. Received: {name}={kwargs[name]}"
            )
        super().__init__(
            num_members=num_members,
            seed=seed,
            momentum=momentum,
            epsilon=epsilon,
            synchronized=synchronized,
            **kwargs,
        )
        self.gain = checks.check_positive(gain, "gain")

    def build(self, input_shape):
        shape = self.num_members, input_shape[-1]
        # One for each, since an initializer repeats its draw.
        scales, shifts = (
            keras.initializers.VarianceScaling(self.gain**2, "fan_avg", "uniform")
            for _ in range(2)
        )
        kinds = {
            "gamma": (scales, True),
            "beta": (shifts, True),
            "moving_mean": ("zeros", False),
            "moving_variance": ("ones", False),
        }
        for name, (initial, trainable) in kinds.items():
            weight = self.add_weight(
                shape, initial, trainable=trainable, autocast=False, name=name
            )
            setattr(self, name, weight)
        self.input_spec = keras.layers.InputSpec(
            ndim=len(input_shape), axes={-1: input_shape[-1]}
        )

    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable):
            return self.normalized(inputs, self.moving_mean, self.moving_variance)
        counts, mean, variance = self.moments(inputs)
        pairs = (self.moving_mean, mean), (self.moving_variance, variance)
        for moving, value in pairs:
            new = moving * self.momentum + value * (1 - self.momentum)
            moving.assign(ops.where(counts > 0, new, moving))
        return self.normalized(inputs, mean, variance)

    def normalized(self, inputs, mean, variance):
        """Returns the outputs with the statistics of each member.

        Args:
            inputs: Tensor of shape `(batch, ..., channels)`.
            mean: Tensor of shape `(num_members, channels)`.
            variance: The same.
        """
        statistics = self.gamma, self.beta, mean, variance
        only = self.only_member()
        if only is not None and normalization.fits(inputs):
            gamma, beta, mean, variance = (
                ops.take(ops.convert_to_tensor(x), only, axis=0) for x in statistics
            )
            return normalization.fused(
                inputs,
                gamma,
                beta,
                mean=mean,
                variance=variance,
                epsilon=self.epsilon,
                training=False,
            )[0]
        gamma, beta, mean, variance = map(ops.convert_to_tensor, statistics)
        scale = gamma * ops.rsqrt(variance + self.epsilon)
        shift = beta - mean * scale
        scale, shift = self.of_rows(scale, inputs), self.of_rows(shift, inputs)
        return members.affine(inputs, scale, shift)

    def moments(self, inputs):
        """Returns how many values each member has in a batch, their mean and variance.

        Args:
            inputs: Tensor of shape `(batch, ..., channels)`.

        Returns:
            float32 tensors of shape `(num_members, 1)` and, of the two moments,
            `(num_members, channels)`; zero for a member without values. With
            `synchronized`, those of all replicas together.
        """
        dtype = keras.backend.result_type(inputs.dtype, "float32")
        x = ops.cast(inputs, dtype)
        shares = ops.one_hot(self.members(inputs), self.num_members, dtype=dtype)
        total = replicas.summed if self.synchronized else lambda value: value

        def summed(values):
            values = ops.sum(values, axis=list(range(1, len(inputs.shape) - 1)))
            return total(ops.matmul(ops.transpose(shares), values))

        counts = summed(ops.ones_like(x[..., :1]))
        divisor = ops.maximum(counts, 1)
        mean = summed(x) / divisor
        deviations = x - self.of_rows(mean, inputs)
        return counts, mean, summed(ops.square(deviations)) / divisor

    def get_config(self):
        # Of Keras' own arguments those that may be set here.
        config = {
            "num_members": self.num_members,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "gain": self.gain,
            "seed": self.seed,
            "synchronized": self.synchronized,
        }
        return {**keras.layers.Layer.get_config(self), **config}
