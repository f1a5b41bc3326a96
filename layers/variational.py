"""Layers with a Gaussian posterior over their kernel, written over a linear map."""

import contextlib
import contextvars
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from layers import checks, random, replicas, streams
from layers.estimators import BY_ROW, ESTIMATORS

# What divides the KL divergences that are added to the losses.
_EXAMPLES = contextvars.ContextVar("examples", default=1)


def gaussian_kl(loc, scale, prior_scale: float):
    """Returns `KL(N(loc, scale**2) || N(0, prior_scale**2))`, summed, in nats."""
    ratio, shift = scale / prior_scale, loc / prior_scale
    terms = ops.square(ratio) + ops.square(shift) - 1.0 - 2.0 * ops.log(ratio)
    return 0.5 * ops.sum(terms)


@contextlib.contextmanager
def divergence_per_example(num_examples: int):
    """Divides the KL divergences that calls of layers inside add to the losses.

    Args:
        num_examples: By what. Outside they are undivided, in nats.
    """
    token = _EXAMPLES.set(num_examples)
    try:
        yield
    finally:
        _EXAMPLES.reset(token)


class GaussianKernel(streams.RandomLayer):
    """Base class of layers with a factorized Gaussian posterior over their kernel.

    Each call adds the KL divergence from the prior to `losses`, in nats and unscaled,
    but inside `divergence_per_example`, as `training.objective` does. The mean of the
    posterior is called `kernel`, so that the weights of a deterministic layer load
    into it by name; its standard deviation is `softplus(kernel_rho)`.

    Args:
        use_bias: Whether to add a bias.
        kernel_initializer: Initializer of the posterior mean.
        bias_initializer: Initializer of the bias.
        prior_scale: Standard deviation of the Gaussian prior, which has mean 0.
        initial_scale: Initial standard deviation of the posterior.
        seed: Makes the draws reproducible; see `layers.RandomLayer`.
        estimator: How to draw where `training` is not set: `"flipout"`, as in
            training; `"weight_sampling"`, one kernel for the whole batch, which saves a
            map; or `"local_reparameterization"`, for small batches. See
            `layers/estimators.py`.
    """

    sample = staticmethod(ESTIMATORS["flipout"])  # In training.

    optional_weights = ("kernel_rho",)
    decays = False

    def __init__(
        self,
        use_bias: bool,
        kernel_initializer: str | keras.Initializer,
        bias_initializer: str | keras.Initializer,
        prior_scale: float,
        initial_scale: float,
        seed: int | None,
        estimator: str = "flipout",
        **kwargs,
    ):
        super().__init__(seed, **kwargs)
        self.estimator = checks.check_choice(estimator, "estimator", ESTIMATORS)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.prior_scale = checks.check_scale(prior_scale, "prior_scale")
        self.initial_scale = checks.check_scale(initial_scale, "initial_scale")

    def kernel_shape(self, channels: int) -> tuple[int, ...]:
        """Returns the shape of the kernel, `(..., channels, outputs)`."""
        raise NotImplementedError

    def linear(self, inputs, kernel):
        """Returns the linear map with that kernel, which it casts, without the bias."""
        raise NotImplementedError

    def build(self, input_shape):
        shape = self.kernel_shape(input_shape[-1])
        # Without autocast the KL divergence keeps its precision; `call` casts.
        self.kernel = self.add_weight(
            shape, self.kernel_initializer, autocast=False, name="kernel"
        )
        # The inverse of softplus, without overflow at large scales.
        rho = self.initial_scale + np.log(-np.expm1(-self.initial_scale))
        self.kernel_rho = self.add_weight(
            shape, keras.initializers.Constant(rho), autocast=False, name="kernel_rho"
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(shape[-1:], self.bias_initializer, name="bias")
        self.input_spec.axes = {-1: input_shape[-1]}

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

    def call(self, inputs, training=False):
        loc, scale = self.prepared()
        divergence = gaussian_kl(loc, scale, self.prior_scale)
        self.add_loss(divergence / _EXAMPLES.get())
        key = self.next_key()
        rows = self.row_keys(random.fold(key, 1), ops.shape(inputs)[0])
        sample = self.sample if training else ESTIMATORS[self._estimator()]
        key = random.fold(key, 0)
        outputs = sample(self.linear, inputs, loc, scale, key, rows)
        return outputs if self.bias is None else outputs + self.bias

    def get_config(self):
        names = "use_bias", "prior_scale", "initial_scale", "estimator"
        config = {name: getattr(self, name) for name in names}
        for name in ("kernel_initializer", "bias_initializer"):
            config[name] = keras.initializers.serialize(getattr(self, name))
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="layers")
class DenseFlipout(GaussianKernel):
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

    def __init__(
        self,
        units: int,
        use_bias: bool = True,
        kernel_initializer: str | keras.Initializer = "glorot_uniform",
        bias_initializer: str | keras.Initializer = "zeros",
        prior_scale: float = 1.0,
        initial_scale: float = 1e-3,
        seed: int | None = None,
        estimator: str = "flipout",
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
class Conv2DFlipout(GaussianKernel):
    """2-D convolution with a Gaussian posterior over its kernel.

    As `DenseFlipout`; the signs that set the examples apart are constant over space.

    Args:
        filters: The number of outputs.
        kernel_size: Height and width of the kernel, or one number for both.
        strides: Along height and width, or one number for both.
        padding: `"valid"` or `"same"`, as in Keras.
        groups: The number of groups of channels, as in Keras.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(batch, height', width', filters)`, as of `keras.layers.Conv2D`.

    Example:

    >>> layer = Conv2DFlipout(16, 3, strides=2, padding="same")
    >>> layer(keras.ops.ones((8, 32, 32, 3))).shape
    TensorShape([8, 16, 16, 16])
    """

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
        estimator: str = "flipout",
        **kwargs,
    ):
        checks.check_channels_last(kwargs)
        super().__init__(
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            prior_scale=prior_scale,
            initial_scale=initial_scale,
            seed=seed,
            estimator=estimator,
            **kwargs,
        )
        self.filters = checks.check_count(filters, "filters")
        self.kernel_size = checks.check_pair(kernel_size, "kernel_size")
        self.strides = checks.check_pair(strides, "strides")
        self.padding = checks.check_padding(padding, ("valid", "same"))
        self.groups = checks.check_count(groups, "groups")
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def kernel_shape(self, channels: int) -> tuple[int, ...]:
        checks.check_groups(self.groups, channels, self.filters)
        return (*self.kernel_size, channels // self.groups, self.filters)

    def linear(self, inputs, kernel):
        kernel = ops.cast(kernel, inputs.dtype)

        def convolve(x):
            return ops.conv(
                x,
                kernel,
                strides=self.strides,
                padding=self.padding,
                data_format="channels_last",
            )

        return replicas.filled(convolve, inputs)

    def compute_output_shape(self, input_shape):
        # Of one group, since `ops.conv` knows no others before there are values.
        kernel = keras.KerasTensor((*self.kernel_size, input_shape[-1], self.filters))
        return self.linear(keras.KerasTensor(input_shape), kernel).shape

    def get_config(self):
        names = "filters", "kernel_size", "strides", "padding", "groups"
        return super().get_config() | {name: getattr(self, name) for name in names}
