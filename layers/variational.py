"""Layers with a Gaussian posterior over their kernel, written over a linear map."""

import contextlib
import contextvars
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from layers import (
    checks,
    grouped_convolution,
    keras_internals,
    priors,
    random,
    replicas,
    streams,
)
from layers.estimators import BY_ROW, ESTIMATORS

# What divides the KL divergences that are added to the losses, and their weight.
_EXAMPLES = contextvars.ContextVar("examples", default=(1, 1.0))


@contextlib.contextmanager
def divergence_per_example(num_examples: int, weight=1.0):
    """Divides the KL divergences that calls of layers inside add to the losses.

    Args:
        num_examples: By what. Outside they are undivided, in nats.
        weight: Number or scalar tensor that they are multiplied by.
    """
    token = _EXAMPLES.set((num_examples, weight))
    try:
        yield
    finally:
        _EXAMPLES.reset(token)


def per_example(divergence):
    """Returns a KL divergence as calls add it to the losses; see the function above."""
    num_examples, weight = _EXAMPLES.get()
    return divergence / num_examples * weight


class GaussianKernel(streams.RandomLayer):
    """Base class of layers with a factorized Gaussian posterior over their kernel.

    Each call adds the KL divergence from the prior to `losses`, in nats and unscaled,
    but inside `divergence_per_example`, as `training.objective` does. The mean of the
    posterior is called `kernel`, so that the weights of a deterministic layer load
    into it by name; its standard deviation is `softplus(kernel_rho)`. The bias is
    deterministic.

    A subclass has `kernel_shape`, `linear` and the `training_estimator`, which is how
    outputs are drawn in training.

    Args:
        use_bias: Whether to add a bias.
        kernel_initializer: Initializer of the posterior mean.
        bias_initializer: Initializer of the bias.
        prior_scale: Standard deviation of the Gaussian prior, which has mean 0.
        initial_scale: Initial standard deviation of the posterior.
        seed: Makes the draws reproducible; see `layers.RandomLayer`.
        estimator: How to draw where `training` is not set: `"flipout"`;
            `"weight_sampling"`, one kernel for the whole batch, which saves a map; or
            `"local_reparameterization"`, for small batches. None is as in training. See
            `layers/estimators.py`.
        activation: Function of the outputs, or its name, as in Keras.
        prior: A `layers.Prior` in place of the Gaussian of `prior_scale`.
        shifted_prior: Whether the prior is around the weight `prior_loc`, which is not
            trained, in place of 0; see `layers.moped`.
    """

    training_estimator = "flipout"

    optional_weights = ("kernel_rho",)
    training_state = ("prior_loc",)
    decays = False

    def __init__(
        self,
        use_bias: bool,
        kernel_initializer: str | keras.Initializer,
        bias_initializer: str | keras.Initializer,
        prior_scale: float,
        initial_scale: float,
        seed: int | None,
        estimator: str | None = None,
        activation: str | Callable | None = None,
        prior: priors.Prior | None = None,
        shifted_prior: bool = False,
        **kwargs,
    ):
        super().__init__(seed, **kwargs)
        estimator = self.training_estimator if estimator is None else estimator
        self.estimator = checks.check_choice(estimator, "estimator", ESTIMATORS)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.prior_scale = checks.check_scale(prior_scale, "prior_scale")
        self.initial_scale = checks.check_scale(initial_scale, "initial_scale")
        self.activation = keras.activations.get(activation)
        self.prior = priors.get(prior, prior_scale)
        self._is_plain_prior = prior is None
        self.shifted_prior = shifted_prior
        self.prior_loc = None

    def kernel_shape(self, channels: int) -> tuple[int, ...]:
        """Returns the shape of the kernel, `(..., channels, outputs)`."""
        raise NotImplementedError

    def linear(self, inputs, kernel):
        """Returns the linear map with that kernel, which it casts, without the bias."""
        raise NotImplementedError

    def num_outputs(self, shape: tuple[int, ...]) -> int:
        """Returns the number of outputs of a kernel of that shape."""
        return shape[-1]

    def build(self, input_shape):
        shape = self.kernel_shape(input_shape[-1])
        self.prior.check(shape)
        # Without autocast the KL divergence keeps its precision; `call` casts.
        self.kernel = self.add_weight(
            shape, self.kernel_initializer, autocast=False, name="kernel"
        )
        rho = inverse_softplus(self.initial_scale)
        self.kernel_rho = self.add_weight(
            shape, keras.initializers.Constant(rho), autocast=False, name="kernel_rho"
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                (self.num_outputs(shape),), self.bias_initializer, name="bias"
            )
        if self.shifted_prior:
            self._add_prior_loc()
        self.input_spec.axes = {-1: input_shape[-1]}

    def _add_prior_loc(self):
        self.prior_loc = self.add_weight(
            self.kernel.shape,
            "zeros",
            trainable=False,
            autocast=False,
            name="prior_loc",
        )

    def shift_prior(self):
        """Puts the prior around the present mean of the posterior."""
        if self.prior_loc is None:
            with keras_internals.accepting_weights(self):
                self._add_prior_loc()
        self.shifted_prior = True
        self.prior_loc.assign(self.kernel)

    @property
    def by_row(self) -> bool:
        return self._estimator() in BY_ROW

    def _estimator(self):
        return streams.estimator() or self.estimator

    def prepare(self):
        """Returns mean and standard deviation of the kernel, equal in all passes."""
        dtype = keras.backend.result_type(self.variable_dtype, "float32")
        loc = ops.cast(self.kernel, dtype)
        return loc, ops.softplus(ops.cast(self.kernel_rho, dtype))

    def divergence(self, key=0):
        """Returns the KL divergence of the posterior from the prior, in nats.

        Args:
            key: Integer or scalar integer tensor, for priors without a closed form: of
                these it is an estimate.
        """
        return self._divergence(*self.prepare(), random.uint32(key))

    def _divergence(self, loc, scale, key):
        if self.prior_loc is not None:
            loc = loc - ops.cast(self.prior_loc, loc.dtype)

        def noise():
            one = ops.reshape(key, (-1,))[0]  # Of several streams, that of the first.
            return random.normal(one, tuple(loc.shape), loc.dtype)

        return self.prior.divergence(loc, scale, noise)

    def call(self, inputs, training=False):
        loc, scale = self.prepared()
        key = self.next_key()
        rows = self.row_keys(random.fold(key, 1), ops.shape(inputs)[0])
        key = random.fold(key, 0)
        self.add_loss(per_example(self._divergence(loc, scale, key)))
        name = self.training_estimator if training else self._estimator()
        outputs = ESTIMATORS[name](self.linear, inputs, loc, scale, key, rows)
        outputs = outputs if self.bias is None else outputs + self.bias
        return self.activation(outputs)

    def get_config(self):
        names = "use_bias", "prior_scale", "initial_scale", "estimator"
        config = {name: getattr(self, name) for name in names}
        for name in ("kernel_initializer", "bias_initializer"):
            config[name] = keras.initializers.serialize(getattr(self, name))
        config["activation"] = keras.activations.serialize(self.activation)
        config["prior"] = None
        if not self._is_plain_prior:
            config["prior"] = keras.saving.serialize_keras_object(self.prior)
        config["shifted_prior"] = self.shifted_prior
        return {**super().get_config(), **config}


def inverse_softplus(scale):
    """Returns the array whose softplus is a positive array, also of large numbers."""
    return scale + np.log(-np.expm1(-scale))


class _Dense(GaussianKernel):
    def __init__(
        self,
        units: int,
        use_bias: bool = True,
        kernel_initializer: str | keras.Initializer = "glorot_uniform",
        bias_initializer: str | keras.Initializer = "zeros",
        prior_scale: float = 1.0,
        initial_scale: float = 1e-3,
        seed: int | None = None,
        estimator: str | None = None,
        activation: str | Callable | None = None,
        prior: priors.Prior | None = None,
        shifted_prior: bool = False,
        **kwargs,
    ):
        super().__init__(
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            prior_scale=prior_scale,
            initial_scale=initial_scale,
            seed=seed,
            estimator=estimator,
            activation=activation,
            prior=prior,
            shifted_prior=shifted_prior,
            **kwargs,
        )
        self.units = checks.check_count(units, "units")
        self.input_spec = keras.layers.InputSpec(min_ndim=2)

    def kernel_shape(self, channels: int) -> tuple[int, ...]:
        return (channels, self.units)

    def linear(self, inputs, kernel):
        return ops.matmul(inputs, ops.cast(kernel, inputs.dtype))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package="layers")
class DenseFlipout(_Dense):
    """Dense layer with a Gaussian posterior over its kernel.

    In training every example sees its own pseudo-independent perturbation of the
    kernel, at the cost of one shared draw; in inference, what `estimator` says. The KL
    divergence is in `losses`; see `GaussianKernel`, also for the other arguments.

    Args:
        units: The number of outputs.

    Input shape: `(batch, ..., features)`.

    Output shape: `(batch, ..., units)`.

    Example:

    >>> layer = DenseFlipout(10)
    >>> layer(keras.ops.ones((8, 64))).shape
    TensorShape([8, 10])
    >>> len(layer.losses)
    1

    Reference:
        [Flipout](https://arxiv.org/abs/1803.04386) (Wen et al., 2018), Eq. 4.
    """


@keras.saving.register_keras_serializable(package="layers")
class DenseReparameterization(_Dense):
    """As `DenseFlipout`, but in training one kernel is drawn for the whole batch.

    Reference:
        [Weight Uncertainty in Neural Networks](https://arxiv.org/abs/1505.05424)
        (Blundell et al., 2015), section 3.2.
    """

    training_estimator = "weight_sampling"


@keras.saving.register_keras_serializable(package="layers")
class DenseLocalReparameterization(_Dense):
    """As `DenseFlipout`, but in training the outputs are drawn, and no kernel.

    Reference:
        [Variational Dropout and the Local Reparameterization Trick](
        https://arxiv.org/abs/1506.02557) (Kingma et al., 2015), Eq. 6.
    """

    training_estimator = "local_reparameterization"


class _Convolution(GaussianKernel):
    """What convolutions have in common: patches of two axes, strides and padding."""

    def __init__(self, kernel_size, strides, padding, dilation_rate, **kwargs):
        checks.check_channels_last(kwargs)
        super().__init__(**kwargs)
        self.kernel_size = checks.check_pair(kernel_size, "kernel_size")
        self.strides = checks.check_pair(strides, "strides")
        self.padding = checks.check_padding(padding, ("valid", "same"))
        self.dilation_rate = checks.check_pair(dilation_rate, "dilation_rate")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                "`strides` and `dilation_rate` cannot both be larger than 1. Received: "
                f"strides={strides}, dilation_rate={dilation_rate}"
            )
        self.input_spec = keras.layers.InputSpec(ndim=4)

    convolve = staticmethod(grouped_convolution.conv)

    def linear(self, inputs, kernel):
        kernel = ops.cast(kernel, inputs.dtype)

        def convolve(x):
            return self.convolve(
                x,
                kernel,
                strides=self.strides,
                padding=self.padding,
                data_format="channels_last",
                dilation_rate=self.dilation_rate,
            )

        return replicas.filled(convolve, inputs)

    def get_config(self):
        names = "kernel_size", "strides", "padding", "dilation_rate"
        return super().get_config() | {name: getattr(self, name) for name in names}


class _Conv2D(_Convolution):
    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        use_bias: bool = True,
        kernel_initializer: str | keras.Initializer = "glorot_uniform",
        bias_initializer: str | keras.Initializer = "zeros",
        prior_scale: float = 1.0,
        initial_scale: float = 1e-3,
        seed: int | None = None,
        groups: int = 1,
        estimator: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
        activation: str | Callable | None = None,
        prior: priors.Prior | None = None,
        shifted_prior: bool = False,
        **kwargs,
    ):
        super().__init__(
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            dilation_rate=dilation_rate,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            prior_scale=prior_scale,
            initial_scale=initial_scale,
            seed=seed,
            estimator=estimator,
            activation=activation,
            prior=prior,
            shifted_prior=shifted_prior,
            **kwargs,
        )
        self.filters = checks.check_count(filters, "filters")
        self.groups = checks.check_count(groups, "groups")

    def kernel_shape(self, channels: int) -> tuple[int, ...]:
        checks.check_groups(self.groups, channels, self.filters)
        return (*self.kernel_size, channels // self.groups, self.filters)

    def compute_output_shape(self, input_shape):
        # Of one group, since `ops.conv` knows no others before there are values.
        kernel = keras.KerasTensor((*self.kernel_size, input_shape[-1], self.filters))
        return self.linear(keras.KerasTensor(input_shape), kernel).shape

    def get_config(self):
        config = {"filters": self.filters, "groups": self.groups}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="layers")
class Conv2DFlipout(_Conv2D):
    """2-D convolution with a Gaussian posterior over its kernel.

    As `DenseFlipout`; the signs that set the examples apart are constant over space.

    Args:
        filters: The number of outputs.
        kernel_size: Height and width of the kernel, or one number for both.
        strides: Along height and width, or one number for both.
        padding: `"valid"` or `"same"`, as in Keras.
        groups: The number of groups of channels, as in Keras.
        dilation_rate: Along height and width, or one number for both, as in Keras.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(batch, height', width', filters)`, as of `keras.layers.Conv2D`.

    Example:

    >>> layer = Conv2DFlipout(16, 3, strides=2, padding="same")
    >>> layer(keras.ops.ones((8, 32, 32, 3))).shape
    TensorShape([8, 16, 16, 16])
    """


@keras.saving.register_keras_serializable(package="layers")
class Conv2DReparameterization(_Conv2D):
    """As `Conv2DFlipout`, but drawn as by `DenseReparameterization`."""

    training_estimator = "weight_sampling"


@keras.saving.register_keras_serializable(package="layers")
class Conv2DLocalReparameterization(_Conv2D):
    """As `Conv2DFlipout`, but drawn as by `DenseLocalReparameterization`.

    Outputs at neighboring points, which share weights, are drawn independently.
    """

    training_estimator = "local_reparameterization"


class _DepthwiseConv2D(_Convolution):
    convolve = staticmethod(ops.depthwise_conv)

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        use_bias: bool = True,
        kernel_initializer: str | keras.Initializer = "glorot_uniform",
        bias_initializer: str | keras.Initializer = "zeros",
        prior_scale: float = 1.0,
        initial_scale: float = 1e-3,
        seed: int | None = None,
        estimator: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
        activation: str | Callable | None = None,
        prior: priors.Prior | None = None,
        shifted_prior: bool = False,
        **kwargs,
    ):
        super().__init__(
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            dilation_rate=dilation_rate,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            prior_scale=prior_scale,
            initial_scale=initial_scale,
            seed=seed,
            estimator=estimator,
            activation=activation,
            prior=prior,
            shifted_prior=shifted_prior,
            **kwargs,
        )
        self.depth_multiplier = checks.check_count(depth_multiplier, "depth_multiplier")
        if self.strides[0] != self.strides[1]:
            raise ValueError(
                "`strides` of a depthwise convolution must be equal along height and "
                f"width. Received: strides={strides}"
            )

    def kernel_shape(self, channels: int) -> tuple[int, ...]:
        return (*self.kernel_size, channels, self.depth_multiplier)

    def num_outputs(self, shape):
        return shape[-2] * shape[-1]

    def compute_output_shape(self, input_shape):
        kernel = keras.KerasTensor(self.kernel_shape(input_shape[-1]))
        return self.linear(keras.KerasTensor(input_shape), kernel).shape

    def get_config(self):
        return {**super().get_config(), "depth_multiplier": self.depth_multiplier}


@keras.saving.register_keras_serializable(package="layers")
class DepthwiseConv2DFlipout(_DepthwiseConv2D):
    """Depthwise 2-D convolution with a Gaussian posterior over its kernel.

    As `Conv2DFlipout`, but each channel has outputs of its own.

    Args:
        kernel_size: Height and width of the kernel, or one number for both.
        strides: One number, along height and width.
        padding: `"valid"` or `"same"`, as in Keras.
        depth_multiplier: The number of outputs of each channel.
        dilation_rate: Along height and width, or one number for both, as in Keras.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(batch, height', width', channels * depth_multiplier)`, as of
    `keras.layers.DepthwiseConv2D`.

    Example:

    >>> layer = DepthwiseConv2DFlipout(3, padding="same", depth_multiplier=2)
    >>> layer(keras.ops.ones((8, 32, 32, 4))).shape
    TensorShape([8, 32, 32, 8])
    """


@keras.saving.register_keras_serializable(package="layers")
class DepthwiseConv2DReparameterization(_DepthwiseConv2D):
    """As `DepthwiseConv2DFlipout`, but drawn as by `DenseReparameterization`."""

    training_estimator = "weight_sampling"


@keras.saving.register_keras_serializable(package="layers")
class DepthwiseConv2DLocalReparameterization(_DepthwiseConv2D):
    """As `DepthwiseConv2DFlipout`, drawn as by `DenseLocalReparameterization`."""

    training_estimator = "local_reparameterization"


def gaussian_layers(model: keras.Model) -> list[GaussianKernel]:
    """Returns the layers of a model with Gaussian weights, of nested models too."""
    return [
        layer
        for layer in keras_internals.flat_layers(model)
        if isinstance(layer, GaussianKernel)
    ]


def divergent_layers(model: keras.Model) -> list[keras.Layer]:
    """Returns the layers of a model that have a KL divergence from a prior.

    These are the `gaussian_layers` and those whose factors are Gaussian, such as
    `layers.DenseRank1`, of nested models too. Each has a method `divergence`, in nats.
    """
    return [
        layer
        for layer in keras_internals.flat_layers(model)
        if hasattr(layer, "divergence")
    ]
