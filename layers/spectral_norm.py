"""Convolutions with a bound on their spectral norm."""

from collections.abc import Sequence

import keras
from keras import ops

from layers import checks, grouped_convolution, random
from layers.grouped_convolution import GroupedConv2D

_SIDE = 32  # Of the maps that the norm is that of, where sides are not known.
_TINY = 1e-12


@keras.saving.register_keras_serializable(package="layers")
class SpectralConv2D(GroupedConv2D):
    """2-D convolution whose spectral norm is at most about `max_norm`.

    The spectral norm is the largest factor by which the convolution, without its bias,
    makes the Euclidean norm of a feature map grow. It is that of the convolution as an
    operator on maps of the size that the layer is built for, with its strides and its
    padding, not that of the kernel as a matrix. A kernel above the bound is multiplied
    by `max_norm / spectral_norm`; one below it stays as it is.

    Each call in training makes `num_iterations` steps of the power iteration, from
    where the last call ended, and so the bound is soft: it holds once the iteration has
    converged, and as well as it keeps up with the kernel. Gradients go through the
    factor. In inference, and where the layer is not `trainable`, the estimate of the
    last step of training holds and nothing changes; before a training there is none,
    and the layer is a `keras.layers.Conv2D`, whose weights it takes.

    Args:
        filters: The number of outputs.
        kernel_size: Height and width of the kernel, or one number for both.
        strides: Along height and width, or one number for both.
        padding: `"valid"` or `"same"`, as in Keras.
        max_norm: The largest spectral norm, positive.
        num_iterations: Steps of the power iteration in a call.
        **kwargs: Other arguments of `keras.layers.Conv2D`.

    Input shape: `(batch, height, width, channels)`. Where height or width are None, the
        norm is that for maps of 32 rows or columns.

    Output shape: `(batch, height', width', filters)`, as of `keras.layers.Conv2D`.

    Example:

    >>> layer = SpectralConv2D(16, 3, padding="same", max_norm=0.5)
    >>> features = keras.random.normal((1, 8, 8, 4))
    >>> for _ in range(50):
    ...     outputs = layer(features, training=True)
    >>> growth = ops.norm(ops.ravel(outputs)) / ops.norm(ops.ravel(features))
    >>> bool(growth < 0.5)
    True

    Reference:
        [Simple and Principled Uncertainty Estimation with Deterministic Deep Learning
        via Distance Awareness](https://arxiv.org/abs/2006.10108) (Liu et al., 2020),
        Eq. 10; [Regularisation of Neural Networks by Enforcing Lipschitz Continuity](
        https://arxiv.org/abs/1804.04368) (Gouk et al., 2021), for the operator.
    """

    optional_weights = ("spectral_norm",)
    training_state = ("singular_vector",)

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        max_norm: float = 6.0,
        num_iterations: int = 1,
        **kwargs,
    ):
        checks.check_channels_last(kwargs)
        super().__init__(filters, kernel_size, strides, padding, **kwargs)
        self.max_norm = checks.check_positive(max_norm, "max_norm")
        self.num_iterations = checks.check_count(num_iterations, "num_iterations")

    def build(self, input_shape):
        super().build(input_shape)
        sides = tuple(side or _SIDE for side in input_shape[1:3])
        self._operator = _Operator(self, sides)
        shape = (1, *sides, input_shape[-1])
        self.singular_vector = self.add_weight(
            shape,
            # The same for all layers of a shape; the iteration forgets it.
            initializer=lambda shape, dtype: _normalized(
                random.normal(random.uint32(0), shape, dtype)
            ),
            trainable=False,
            autocast=False,
            name="singular_vector",
        )
        self.spectral_norm = self.add_weight(
            (),
            initializer="zeros",
            trainable=False,
            autocast=False,
            name="spectral_norm",
        )

    def add_weight(self, *args, name=None, **kwargs):
        # The norm is that of the kernel in full precision; `call` casts it.
        if name == "kernel":
            kwargs["autocast"] = False
        return super().add_weight(*args, name=name, **kwargs)

    def call(self, inputs, training=False):
        kernel = ops.convert_to_tensor(self.kernel)
        moves = training and self.trainable
        norm = self._iterate(kernel) if moves else self.spectral_norm
        kernel = kernel * ops.minimum(1.0, self.max_norm / ops.maximum(norm, _TINY))
        outputs = self.convolution_op(inputs, ops.cast(kernel, inputs.dtype))
        if self.use_bias:
            outputs = outputs + ops.cast(self.bias, outputs.dtype)
        return outputs if self.activation is None else self.activation(outputs)

    def _iterate(self, kernel):
        """Returns the estimate of the norm, with its gradient, and keeps it."""
        vector = ops.convert_to_tensor(self.singular_vector)
        fixed = ops.stop_gradient(kernel)
        for _ in range(self.num_iterations - 1):
            vector = self._operator.power(fixed, vector)
        left = ops.stop_gradient(_normalized(self._operator.apply(kernel, vector)))
        right = self._operator.adjoint(kernel, left)
        norm = _norm(right)
        new = ops.where(norm > _TINY, right / ops.maximum(norm, _TINY), vector)
        self.singular_vector.assign(ops.stop_gradient(new))
        self.spectral_norm.assign(ops.stop_gradient(norm))
        return norm

    # Keras' convolution would save kernel and bias alone.
    def save_own_variables(self, store):
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store):
        keras.layers.Layer.load_own_variables(self, store)

    def get_config(self):
        config = super().get_config()
        del config["data_format"]
        own = {"max_norm": self.max_norm, "num_iterations": self.num_iterations}
        return {**config, **own}


def _norm(x):
    # The root of zero has no gradient.
    return ops.sqrt(ops.maximum(ops.sum(ops.square(x)), _TINY**2))


def _normalized(x):
    return x / _norm(x)


class _Operator:
    """A convolution of maps of one size as a linear map, and its adjoint."""

    def __init__(self, layer, sides):
        self.strides, self.dilation = layer.strides, layer.dilation_rate
        self.groups, self.sides = layer.groups, sides
        self.spans = [
            (size - 1) * rate + 1
            for size, rate in zip(layer.kernel_size, self.dilation, strict=True)
        ]
        self.borders = [(0, 0), (0, 0)]
        if layer.padding == "same":
            extra = [
                max((-(-side // stride) - 1) * stride + span - side, 0)
                for side, stride, span in zip(
                    sides, self.strides, self.spans, strict=True
                )
            ]
            self.borders = [(n // 2, n - n // 2) for n in extra]

    def apply(self, kernel, x):
        x = ops.pad(x, [(0, 0), *self.borders, (0, 0)])
        return self._convolve(x, kernel, self.strides)

    def adjoint(self, kernel, y):
        """Returns the transposed convolution, a convolution of a map with gaps."""
        *size, inner, outputs = kernel.shape
        kernel = ops.flip(kernel, (0, 1))
        own = outputs // self.groups
        kernel = ops.reshape(kernel, (*size, inner, self.groups, own))
        kernel = ops.transpose(kernel, (0, 1, 4, 3, 2))
        kernel = ops.reshape(kernel, (*size, own, self.groups * inner))
        y = self._with_gaps(y)
        x = self._convolve(y, kernel, (1, 1))
        rest = [
            (0, before + side + after - found)
            for (before, after), side, found in zip(
                self.borders, self.sides, x.shape[1:3], strict=True
            )
        ]
        x = ops.pad(x, [(0, 0), *rest, (0, 0)])
        (top, _), (left, _) = self.borders
        height, width = self.sides
        return x[:, top : top + height, left : left + width]

    def power(self, kernel, vector):
        """Returns the vector after a step of the power iteration."""
        return _normalized(self.adjoint(kernel, self.apply(kernel, vector)))

    def _with_gaps(self, y):
        """Puts zeros between rows and columns where there are strides, and around."""
        _, height, width, channels = y.shape
        gaps = [(0, stride - 1) for stride in self.strides]
        y = ops.reshape(y, (1, height, 1, width, 1, channels))
        y = ops.pad(y, [(0, 0), (0, 0), gaps[0], (0, 0), gaps[1], (0, 0)])
        rows, columns = self.strides
        y = ops.reshape(y, (1, height * rows, width * columns, channels))
        y = y[:, : (height - 1) * rows + 1, : (width - 1) * columns + 1]
        around = [(span - 1, span - 1) for span in self.spans]
        return ops.pad(y, [(0, 0), *around, (0, 0)])

    def _convolve(self, x, kernel, strides):
        return grouped_convolution.conv(
            x,
            kernel,
            strides=strides,
            padding="valid",
            data_format="channels_last",
            dilation_rate=self.dilation,
        )
