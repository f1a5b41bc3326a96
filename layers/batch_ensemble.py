"""BatchEnsemble and rank-1 Bayesian networks: members that differ by rank one.

The kernel of member `m` is `kernel * outer(alpha[m], gamma[m])`, computed as

    linear(x * alpha[m], kernel) * gamma[m] + bias[m]
"""

from collections.abc import Sequence
from random import getrandbits

import keras
from keras import ops

from layers import checks, members, priors, random, variational
from layers.grouped_convolution import GroupedConv2D

_FAST = "alpha", "gamma"


class FastWeights(members.MemberLayer):
    """Base class of linear layers with factors of inputs and outputs for each member.

    Args:
        num_members: The number of members.
        fast_scale: Standard deviation of the initial factors around 1; with None they
            are signs, -1 or 1.
        **kwargs: Arguments of the linear layer of Keras.
    """

    undecayed = (*_FAST, "bias")

    def __init__(self, num_members: int, fast_scale: float | None, **kwargs):
        super().__init__(num_members=num_members, **kwargs)
        if fast_scale is not None and fast_scale != 0:
            checks.check_scale(fast_scale, "fast_scale")
        self.fast_scale = fast_scale

    def add_weight(self, shape=None, *args, name=None, **kwargs):
        if name == "bias":
            shape = self.num_members, *shape
        return super().add_weight(shape, *args, name=name, **kwargs)

    def build(self, input_shape):
        super().build(input_shape)
        sizes = input_shape[-1], self.kernel.shape[-1]
        for name, size in zip(_FAST, sizes, strict=True):
            initializer = _signs
            if self.fast_scale is not None:  # One for each, since it repeats its draw.
                initializer = keras.initializers.RandomNormal(1.0, self.fast_scale)
            weight = self.add_weight((self.num_members, size), initializer, name=name)
            setattr(self, name, weight)
        self.built = True

    def linear(self, inputs, kernel):
        """Returns the linear map of the inputs by that kernel, without the bias."""
        raise NotImplementedError

    def factors(self, inputs):
        """Returns the factors of the inputs and of the outputs of each example."""
        return self.of_rows(self.alpha, inputs), self.of_rows(self.gamma, inputs)

    def call(self, inputs):
        alpha, gamma = self.factors(inputs)
        groups = getattr(self, "groups", 1)
        if alpha.shape[0] == 1 and groups == 1:  # All examples share a kernel.
            return self._of_one(inputs, alpha, gamma)
        outputs = self.linear(members.affine(inputs, alpha), self.kernel)
        bias = self.of_rows(self.bias, inputs) if self.use_bias else None
        outputs = members.affine(outputs, gamma, bias)
        return outputs if self.activation is None else self.activation(outputs)

    def _of_one(self, inputs, alpha, gamma):
        """Returns the outputs of a single member, by a kernel of its own."""
        factors = ops.reshape(alpha, (-1, 1)) * ops.reshape(gamma, (1, -1))
        kernel = ops.cast(self.kernel * factors, inputs.dtype)
        outputs = self.linear(inputs, kernel)
        if self.use_bias:
            outputs = outputs + self.of_rows(self.bias, inputs)
        return outputs if self.activation is None else self.activation(outputs)

    @property
    def class_weights(self) -> list[keras.Variable]:
        """The weights whose last axis is that of the outputs."""
        return [self.kernel, self.gamma, *([self.bias] if self.use_bias else [])]

    def get_config(self):
        return {**super().get_config(), "fast_scale": self.fast_scale}


def _signs(shape, dtype=None):
    return random.signs(random.uint32(getrandbits(32)), shape, dtype)


@keras.saving.register_keras_serializable(package="layers")
class DenseBatchEnsemble(FastWeights, keras.layers.Dense):
    """Dense layer whose members share a kernel up to factors of inputs and outputs.

    With member `m` of an example, `matmul(x * alpha[m], kernel) * gamma[m] + bias[m]`.

    Args:
        units: The number of outputs.
        num_members: The number of members. With one, and factors of 1, it is a
            `keras.layers.Dense`.
        fast_scale: Standard deviation of the initial factors around 1; with None they
            are signs, -1 or 1.
        seed: See `layers.RandomLayer`; the layer draws nothing.
        **kwargs: Other arguments of `keras.layers.Dense`.

    Input shape: `(batch, ..., features)`.

    Output shape: `(batch, ..., units)`.

    Example:

    >>> layer = DenseBatchEnsemble(10, num_members=4)
    >>> tuple(layer(keras.ops.ones((8, 64))).shape)
    (8, 10)

    Reference:
        [BatchEnsemble: An Alternative Approach to Efficient Ensemble and Lifelong
        Learning](https://arxiv.org/abs/2002.06715) (Wen et al., 2020), Eq. 4.
    """

    def __init__(
        self,
        units: int,
        num_members: int = 4,
        fast_scale: float | None = 0.5,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(
            num_members=num_members,
            fast_scale=fast_scale,
            seed=seed,
            units=units,
            **kwargs,
        )

    def linear(self, inputs, kernel):
        return ops.matmul(inputs, kernel)


@keras.saving.register_keras_serializable(package="layers")
class Conv2DBatchEnsemble(FastWeights, GroupedConv2D):
    """2-D convolution whose members share a kernel up to factors of the channels.

    As `DenseBatchEnsemble`; the factors are constant over space.

    Args:
        filters: The number of outputs.
        kernel_size: Height and width of the kernel, or one number for both.
        strides: Along height and width, or one number for both.
        padding: `"valid"` or `"same"`, as in Keras.
        num_members: The number of members.
        fast_scale: Standard deviation of the initial factors around 1; with None they
            are signs, -1 or 1.
        seed: See `layers.RandomLayer`; the layer draws nothing.
        **kwargs: Other arguments of `keras.layers.Conv2D`.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(batch, height', width', filters)`, as of `keras.layers.Conv2D`.

    Example:

    >>> layer = Conv2DBatchEnsemble(16, 3, padding="same", num_members=2)
    >>> tuple(layer(keras.ops.ones((8, 32, 32, 3))).shape)
    (8, 32, 32, 16)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        num_members: int = 4,
        fast_scale: float | None = 0.5,
        seed: int | None = None,
        **kwargs,
    ):
        checks.check_channels_last(kwargs)
        super().__init__(
            num_members=num_members,
            fast_scale=fast_scale,
            seed=seed,
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            **kwargs,
        )

    def linear(self, inputs, kernel):
        return self.convolution_op(inputs, kernel)


class Rank1(FastWeights):
    """Base class of linear layers with Gaussian factors of inputs and outputs.

    `alpha` and `gamma` are the means; the standard deviations are the `softplus` of
    `alpha_rho` and `gamma_rho`. Each call adds the KL divergence of the factors of all
    members from the prior to `losses`, in nats, as `layers.variational` does.

    Args:
        prior_scale: Standard deviation of the prior, whose mean is 1.
        initial_scale: Initial standard deviation of the factors.
        **kwargs: Arguments of `FastWeights`.
    """

    undecayed = (*FastWeights.undecayed, "alpha_rho", "gamma_rho")

    def __init__(self, prior_scale: float, initial_scale: float, **kwargs):
        super().__init__(**kwargs)
        self.prior_scale = checks.check_scale(prior_scale, "prior_scale")
        self.initial_scale = checks.check_scale(initial_scale, "initial_scale")

    stochastic = True

    def add_weight(self, *args, name=None, **kwargs):
        # Without autocast the KL divergence keeps its precision; `call` casts.
        if name in _FAST:
            kwargs["autocast"] = False
        return super().add_weight(*args, name=name, **kwargs)

    def build(self, input_shape):
        super().build(input_shape)
        rho = float(variational.inverse_softplus(self.initial_scale))
        for name in _FAST:
            weight = self.add_weight(
                getattr(self, name).shape,
                keras.initializers.Constant(rho),
                autocast=False,
                name=f"{name}_rho",
            )
            setattr(self, f"{name}_rho", weight)
        self.built = True

    def divergence(self):
        """Returns the KL divergence of the factors from the prior, in nats."""
        return sum(
            priors.gaussian_kl(loc - 1.0, scale, self.prior_scale)
            for loc, scale in self._posterior()
        )

    def _posterior(self):
        """Returns mean and standard deviation of the factors of inputs and outputs."""
        pairs = (self.alpha, self.alpha_rho), (self.gamma, self.gamma_rho)
        return [(ops.convert_to_tensor(loc), ops.softplus(rho)) for loc, rho in pairs]

    def factors(self, inputs):
        pairs = self._posterior()
        self.add_loss(variational.per_example(self.divergence()))
        sizes = [loc.shape[-1] for loc, _ in pairs]
        keys = self.next_row_keys(ops.shape(inputs)[0])
        middle = [1] * (len(inputs.shape) - 2)
        shape = (ops.shape(inputs)[0], *middle, sum(sizes))
        noise = random.normal(keys, shape)
        parts = noise[..., : sizes[0]], noise[..., sizes[0] :]
        return [
            self.of_rows(loc, inputs) + self.of_rows(scale, inputs) * part
            for (loc, scale), part in zip(pairs, parts, strict=True)
        ]

    def get_config(self):
        own = {"prior_scale": self.prior_scale, "initial_scale": self.initial_scale}
        return {**super().get_config(), **own}


# The dropout rate of 0.001 of the published networks as a standard deviation.
_INITIAL_SCALE = (0.001 / 0.999) ** 0.5


@keras.saving.register_keras_serializable(package="layers")
class DenseRank1(Rank1, keras.layers.Dense):
    """`DenseBatchEnsemble` with a Gaussian posterior over its factors.

    Every example sees factors of its own, in training and in inference.

    Args:
        units: The number of outputs.
        num_members: The number of members, which are the components of a mixture.
        fast_scale: Standard deviation of the initial means around 1; with None they are
            signs, -1 or 1.
        prior_scale: Standard deviation of the prior, whose mean is 1.
        initial_scale: Initial standard deviation of the factors.
        seed: Makes the draws reproducible; see `layers.RandomLayer`.
        **kwargs: Other arguments of `keras.layers.Dense`.

    Input shape: `(batch, ..., features)`.

    Output shape: `(batch, ..., units)`.

    Example:

    >>> layer = DenseRank1(10, num_members=4)
    >>> tuple(layer(keras.ops.ones((8, 64))).shape), len(layer.losses)
    ((8, 10), 1)

    Reference:
        [Efficient and Scalable Bayesian Neural Nets with Rank-1 Factors](
        https://arxiv.org/abs/2005.07186) (Dusenberry et al., 2020), Eq. 4.
    """

    def __init__(
        self,
        units: int,
        num_members: int = 4,
        fast_scale: float | None = None,
        prior_scale: float = 0.1,
        initial_scale: float = _INITIAL_SCALE,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(
            num_members=num_members,
            fast_scale=fast_scale,
            prior_scale=prior_scale,
            initial_scale=initial_scale,
            seed=seed,
            units=units,
            **kwargs,
        )

    def linear(self, inputs, kernel):
        return ops.matmul(inputs, kernel)


@keras.saving.register_keras_serializable(package="layers")
class Conv2DRank1(Rank1, GroupedConv2D):
    """`Conv2DBatchEnsemble` with a Gaussian posterior over its factors.

    As `DenseRank1`; the factors are constant over space.

    Args:
        filters: The number of outputs.
        kernel_size: Height and width of the kernel, or one number for both.
        strides: Along height and width, or one number for both.
        padding: `"valid"` or `"same"`, as in Keras.
        num_members: The number of members.
        fast_scale: Standard deviation of the initial means around 1; with None they are
            signs, -1 or 1.
        prior_scale: Standard deviation of the prior, whose mean is 1.
        initial_scale: Initial standard deviation of the factors.
        seed: Makes the draws reproducible; see `layers.RandomLayer`.
        **kwargs: Other arguments of `keras.layers.Conv2D`.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(batch, height', width', filters)`, as of `keras.layers.Conv2D`.

    Example:

    >>> layer = Conv2DRank1(16, 3, padding="same", num_members=2)
    >>> tuple(layer(keras.ops.ones((8, 32, 32, 3))).shape)
    (8, 32, 32, 16)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        num_members: int = 4,
        fast_scale: float | None = None,
        prior_scale: float = 0.1,
        initial_scale: float = _INITIAL_SCALE,
        seed: int | None = None,
        **kwargs,
    ):
        checks.check_channels_last(kwargs)
        super().__init__(
            num_members=num_members,
            fast_scale=fast_scale,
            prior_scale=prior_scale,
            initial_scale=initial_scale,
            seed=seed,
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            **kwargs,
        )

    def linear(self, inputs, kernel):
        return self.convolution_op(inputs, kernel)
