"""Fake quantization: numbers as integers of few bits hold them, for training."""

import keras
import numpy as np
from keras import ops

from layers import replicas
from layers.blur import blur
from layers.checks import is_number
from layers.dropout import MCDropout, kept_scale
from layers.grouped_convolution import GroupedConv2D
from layers.smoothing import PROBS, SpatialSmoothing

BITS = range(2, 9)
# Beyond the largest weight by so much that rounding leaves it inside of its range.
_MARGIN = 1 + 2.0**-20
_SMALLEST = 1e-12


def check_bits(bits: int, name: str) -> int:
    """Returns a number of bits.

    Args:
        bits: The number.
        name: Name of the argument, for the message.

    Raises:
        ValueError: If it is not one of 2 to 8.
    """
    if isinstance(bits, bool) or bits not in BITS:
        raise ValueError(
            f"`{name}` is the number of bits of an integer, 2 to 8. Received: "
            f"{name}={bits}"
        )
    return int(bits)


def fake_quantized(x, low, high, num_bits: int = 8, symmetric: bool = False):
    """Returns numbers as integers hold them: the nearest of `2**num_bits` in a range.

    The range is moved by less than half a step so that one of them is zero. Gradients
    go through as if nothing was rounded, where a number is inside of the range, and are
    zero outside. It is Keras' own function, which LiteRT's converter knows.

    Args:
        x: Tensor.
        low: The lowest number, zero or less: a scalar, or one for each place of the
            last axis.
        high: The highest, zero or more, likewise.
        num_bits: The bits of an integer.
        symmetric: Whether there is one number less, so that there are as many below
            zero as above, as weights have it.

    Returns:
        Tensor like `x`.

    Reference:
        [Quantization and Training of Neural Networks](https://arxiv.org/abs/1712.05877)
        (Jacob et al., 2018), Eqs. 12 and 13.
    """
    axis = -1 if len(getattr(low, "shape", ())) else None
    return keras.quantizers.fake_quant_with_min_max_vars(
        x, low, high, num_bits=num_bits, narrow_range=symmetric, axis=axis
    )


def rounded_taps(kernel: np.ndarray):
    """Returns the kernel of a blur as integers of 8 bits hold it.

    Args:
        kernel: Array of any shape.
    """
    high = float(np.max(np.abs(kernel)))
    kernel = ops.convert_to_tensor(kernel, "float32")
    return fake_quantized(kernel, -high, high, symmetric=True)


@keras.saving.register_keras_serializable(package="layers")
class FakeQuantization(keras.layers.Layer):
    """Rounds features as integers hold them, in a range that follows the batches.

    In training the range is a moving average of the smallest and the largest feature of
    the batches, of all replicas together, beginning with those of the first one; zero
    is always inside. It stays as it is while `frozen` is true, and in inference. A
    layer that has not seen a batch changes nothing.

    Args:
        num_bits: The bits of an integer.
        momentum: The weight of the range so far, in `[0, 1)`.

    Input shape: Any.

    Output shape: Same as the input.

    Example:

    >>> layer = FakeQuantization(num_bits=2)
    >>> x = keras.ops.convert_to_tensor([0.0, 0.4, 1.2, 3.0])
    >>> keras.ops.convert_to_numpy(layer(x, training=True)).tolist()
    [0.0, 0.0, 1.0, 3.0]

    Reference:
        [Quantization and Training of Neural Networks](https://arxiv.org/abs/1712.05877)
        (Jacob et al., 2018), section 3.1.
    """

    optional_weights = ("low", "high")
    frozen = False  # Whether the range stays in training too.

    def __init__(self, num_bits: int = 8, momentum: float = 0.99, **kwargs):
        super().__init__(**kwargs)
        self.num_bits = check_bits(num_bits, "num_bits")
        if not (is_number(momentum) and 0 <= momentum < 1):
            raise ValueError(
                "`momentum` is the weight of the range so far, in [0, 1). Received: "
                f"momentum={momentum}"
            )
        self.momentum = momentum
        self._constants = None

    def build(self, input_shape):
        self.low, self.high = (
            self.add_weight(
                name=name,
                shape=(),
                initializer="zeros",
                dtype="float32",
                trainable=False,
                autocast=False,
            )
            for name in ("low", "high")
        )

    def settle(self):
        """Makes the range of now a constant of what is traced from here on."""
        if self.built and _numpy(self.high) > _numpy(self.low):
            self._constants = _numpy(self.low), _numpy(self.high)

    def call(self, inputs, training=None):
        if self._constants is not None:
            return fake_quantized(inputs, *self._constants, self.num_bits)
        if training and not self.frozen:
            return fake_quantized(inputs, *self._moved(inputs), self.num_bits)
        low, high = map(ops.convert_to_tensor, (self.low, self.high))
        return ops.cond(
            ops.greater(high, low),
            lambda: fake_quantized(inputs, low, high, self.num_bits),
            lambda: ops.convert_to_tensor(inputs),
        )

    def _moved(self, inputs):
        """Returns the range after a batch."""
        x = ops.cast(ops.stop_gradient(inputs), "float32")
        new = ops.minimum(ops.min(x), 0.0), ops.maximum(ops.max(x), 0.0)
        old = tuple(map(ops.convert_to_tensor, (self.low, self.high)))
        # Of no image it is zero, which is inside of that of the others.
        new = -replicas.largest(-new[0]), replicas.largest(new[1])
        momentum = ops.where(ops.equal(*old), 0.0, self.momentum)
        moved = [
            momentum * a + (1 - momentum) * b for a, b in zip(old, new, strict=True)
        ]
        for variable, value in zip((self.low, self.high), moved, strict=True):
            variable.assign(value)
        return moved

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        own = {"num_bits": self.num_bits, "momentum": self.momentum}
        return {**super().get_config(), **own}


class QuantizedKernel:
    """What layers have in common whose kernels are integers of few bits.

    Each place of the last axis of the kernel, an output channel, has a scale of its
    own: its largest weight over `2**(weight_bits - 1) - 1`. The weights themselves stay
    floating-point numbers, which training moves.

    Args:
        *args: Those of the layer of Keras.
        weight_bits: The bits of a weight.
        **kwargs: Likewise.
    """

    def __init__(self, *args, weight_bits: int = 8, **kwargs):
        super().__init__(*args, **kwargs)
        self.weight_bits = check_bits(weight_bits, "weight_bits")
        self._bounds = None

    def bounds(self):
        """Returns the range of the weights of each channel, above and below zero."""
        kernel = ops.cast(ops.stop_gradient(self.kernel), "float32")
        axes = tuple(range(len(kernel.shape) - 1))
        return ops.maximum(ops.max(ops.abs(kernel), axis=axes) * _MARGIN, _SMALLEST)

    def settle(self):
        """Makes the ranges of now constants of what is traced from here on.

        The kernel becomes what it is rounded to, and its integers are of 8 bits from
        here on, with the steps that they had, since LiteRT's converter knows no others.
        """
        largest, bounds = 2 ** (self.weight_bits - 1) - 1, _numpy(self.bounds())
        self.kernel.assign(self.quantized_kernel())
        self._bounds = bounds * (127 / largest)

    def quantized_kernel(self, shape: tuple[int, ...] | None = None):
        """Returns the kernel as integers hold it.

        Args:
            shape: Its shape, if not its own; the last axis is the same.
        """
        kernel = self.kernel if shape is None else ops.reshape(self.kernel, shape)
        high, bits = self._bounds, 8
        if high is None:
            high, bits = self.bounds(), self.weight_bits
        return fake_quantized(kernel, -high, high, bits, symmetric=True)

    def get_config(self):
        return {**super().get_config(), "weight_bits": self.weight_bits}


@keras.saving.register_keras_serializable(package="layers")
class QuantizedConv2D(QuantizedKernel, GroupedConv2D):
    """Keras' convolution with a kernel of few bits; see `QuantizedKernel`.

    Args:
        *args: Those of `keras.layers.Conv2D`.
        weight_bits: The bits of a weight.
        **kwargs: Likewise.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(batch, new_height, new_width, filters)`.

    Example:

    >>> layer = QuantizedConv2D(16, 3, padding="same", weight_bits=4)
    >>> tuple(layer(keras.ops.ones((8, 4, 4, 2))).shape)
    (8, 4, 4, 16)
    """

    def call(self, inputs):
        outputs = self.convolution_op(inputs, self.quantized_kernel())
        if self.use_bias:
            outputs = outputs + _of_channels(self, outputs)
        return outputs if self.activation is None else self.activation(outputs)


@keras.saving.register_keras_serializable(package="layers")
class QuantizedDense(QuantizedKernel, keras.layers.Dense):
    """Keras' dense layer with a kernel of few bits; see `QuantizedKernel`.

    Args:
        *args: Those of `keras.layers.Dense`.
        weight_bits: The bits of a weight.
        **kwargs: Likewise.

    Input shape: `(batch, ..., features)`.

    Output shape: `(batch, ..., units)`.

    Example:

    >>> tuple(QuantizedDense(3, weight_bits=4)(keras.ops.ones((8, 5))).shape)
    (8, 3)
    """

    def call(self, inputs, training=None):
        if self._bounds is not None:
            outputs = self._convolved(inputs)
        else:
            outputs = ops.matmul(inputs, self.quantized_kernel())
        if self.bias is not None:
            outputs = outputs + ops.cast(self.bias, outputs.dtype)
        return outputs if self.activation is None else self.activation(outputs)

    def _convolved(self, inputs):
        """Returns the products by a convolution of one point.

        LiteRT's converter turns the kernel of a product, and loses its scales.
        """
        is_map, kernel = len(inputs.shape) == 4, (1, 1, *self.kernel.shape)
        x = inputs if is_map else ops.reshape(inputs, (-1, 1, 1, kernel[2]))
        x = ops.conv(x, self.quantized_kernel(kernel), 1, "valid", "channels_last")
        return x if is_map else ops.reshape(x, (-1, *inputs.shape[1:-1], self.units))


@keras.saving.register_keras_serializable(package="layers")
class QuantizedMCDropout(MCDropout):
    """`MCDropout` whose outputs are integers of 8 bits; see `FakeQuantization`.

    The scale of what is kept is rounded before the mask: a zero is one in integers,
    too.

    Args:
        *args: Those of `MCDropout`.
        **kwargs: Likewise.

    Input shape: `(batch, ..., channels)`.

    Output shape: Same as the input.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.range = FakeQuantization(name="range")
        self.built = False

    def build(self, input_shape):
        self.range.build(input_shape)

    def call(self, inputs, training=None):
        scaled = self.range(inputs * kept_scale(self.rate), training=training)
        if self.rate == 0:
            return scaled
        return ops.where(self.drawn(inputs), ops.zeros((), scaled.dtype), scaled)


@keras.saving.register_keras_serializable(package="layers")
class QuantizedSmoothing(SpatialSmoothing):
    """`SpatialSmoothing` whose steps are those of integers of 8 bits.

    What the hyperbolic tangent takes has a range of its own; what it gives is in [-1,
    1), and behind the rectifier in [0, temperature]. The average that follows is
    rounded by who calls the layer.

    Args:
        *args: Those of `SpatialSmoothing`.
        **kwargs: Likewise.

    Input shape: `(batch, height, width, channels)`.

    Output shape: As `SpatialSmoothing`.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.range = FakeQuantization(name="range")

    def build(self, input_shape):
        super().build(input_shape)
        self.range.build(input_shape)

    def call(self, inputs, training=None):
        x, temperature = inputs, self.temperature
        if self.norm is not None:
            x = self.norm(x, training=training)
        if self.probs == "tanh":
            x = self.range(x / temperature, training=training)
            # A step of LiteRT's tangent is 1 / 128.
            x = fake_quantized(ops.tanh(x), -1.0, 127 / 128)
            x = fake_quantized(ops.relu(temperature * x), 0.0, temperature)
        else:
            x = self.range(PROBS[self.probs](x, temperature), training=training)
        return blur(x, self.taps, self.padding)


def _of_channels(layer, outputs):
    """Returns a bias with axes that broadcast with feature maps."""
    shape = [1] * len(outputs.shape)
    shape[-1 if layer.data_format == "channels_last" else 1] = layer.filters
    return ops.cast(ops.reshape(layer.bias, shape), outputs.dtype)


def _numpy(value):
    return np.asarray(ops.convert_to_numpy(value), "float32")
