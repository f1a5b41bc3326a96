"""Convolutions for predictions, in forms that TensorFlow computes faster."""

import functools

import keras
import numpy as np
from keras import ops

from layers import compilation
from layers.grouped_convolution import GroupedConv2D

_HALF = "bfloat16", "float16"
_FEW = 2  # Side of maps whose points are better the rows of a matrix.
# Maps and kernels of which oneDNN's convolutions take longer than Winograd's, on
# AVX-512: 22 ms against 13 for 100 maps of 4x4 points and 512 channels.
_SMALL, _WIDE = 4, 512


@keras.saving.register_keras_serializable(package="layers")
class FusedConv2D(GroupedConv2D):
    """Keras' convolution with a bias, for predictions.

    Keras adds the bias as a tensor that broadcasts, and TensorFlow then computes it, a
    rectifier and the sum of a residual block each in a pass of its own. A `BiasAdd`
    lets it compute all of them where it writes the outputs of the convolution.

    In half precision, and inside of `layers.compilation.fused`, a convolution to at
    most 2x2 points is the product of a matrix, and one of 3x3 of small and wide maps
    Winograd's, with the sums of its transforms in float32. These differ from others in
    their rounding.

    On other backends and with channels first it is Keras' layer, whose weights and
    arguments it has.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(batch, new_height, new_width, filters)`.

    Example:

    >>> layer = FusedConv2D(16, 3, padding="same")
    >>> tuple(layer(keras.ops.ones((8, 4, 4, 2))).shape)
    (8, 4, 4, 16)

    Reference:
        [Fast Algorithms for Convolutional Neural Networks](
        https://arxiv.org/abs/1509.09308) (Lavin and Gray, 2016), section 4.1.
    """

    def call(self, inputs):
        is_fusible = self.use_bias and self.data_format == "channels_last"
        if keras.backend.backend() != "tensorflow" or not is_fusible:
            return super().call(inputs)
        import tensorflow as tf

        bias = tf.convert_to_tensor(ops.convert_to_tensor(self.bias))
        if self._is_winograd(inputs):
            outputs = _winograd(inputs, self._transformed(), bias)
        elif self._is_product(inputs):
            patches, size = inputs, self.kernel.shape[-1]
            if (self.kernel_size, self.strides) != ((1, 1), (1, 1)):
                _, *sides, _ = self.compute_output_shape(inputs.shape)
                border = [n // 2 * (self.padding == "same") for n in self.kernel_size]
                patches = _patches(self.kernel_size, self.strides, *border, *sides)(
                    inputs
                )
            kernel = ops.reshape(self.kernel, (-1, size))
            rows = ops.matmul(ops.reshape(patches, (-1, kernel.shape[0])), kernel)
            shape = (-1, *patches.shape[1:3], size)
            outputs = ops.reshape(tf.nn.bias_add(rows, bias), shape)
        else:
            outputs = self.convolution_op(inputs, self.kernel)
            outputs = tf.nn.bias_add(outputs, bias)
        return outputs if self.activation is None else self.activation(outputs)

    def _is_plain(self, inputs):
        if not compilation.is_fused():
            return False
        is_half = keras.backend.standardize_dtype(inputs.dtype) in _HALF
        alike = self.groups == 1 and set(self.dilation_rate) == {1}
        odd = all(size % 2 for size in self.kernel_size)
        simple = self.padding == "valid" or (odd and set(self.strides) == {1})
        return is_half and alike and simple and None not in inputs.shape[1:3]

    def _is_product(self, inputs):
        if not self._is_plain(inputs):
            return False
        return max(self.compute_output_shape(inputs.shape)[1:3]) <= _FEW

    def _is_winograd(self, inputs):
        if not self._is_plain(inputs) or self.kernel_size != (3, 3):
            return False
        is_same = self.padding == "same" and self.strides == (1, 1)
        is_small = max(inputs.shape[1:3]) <= _SMALL
        return is_same and is_small and min(self.kernel.shape[-2:]) >= _WIDE

    def _transformed(self):
        """Returns the kernel in Winograd's domain, of shape `(16, channels, filters)`.

        It is computed once, when the function around is compiled.
        """
        import tensorflow as tf

        with tf.init_scope():
            kernel = ops.convert_to_numpy(ops.cast(self.kernel, "float32"))
            kernel = np.einsum("ai,bj,ijcf->abcf", _KERNEL, _KERNEL, kernel)
            kernel = kernel.reshape(16, *kernel.shape[2:])
            return ops.cast(ops.convert_to_tensor(kernel), self.compute_dtype)


_KERNEL = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]], "float32") / 2


@functools.lru_cache(maxsize=64)
def _patches(kernel_size, strides, top, left, height, width):
    """Returns what makes of maps the patches that kernels see, as channels."""

    def patches(x):
        x = ops.pad(x, ((0, 0), (top, top), (left, left), (0, 0)))
        parts = [
            _every(_every(x, 1, i, height, strides[0]), 2, j, width, strides[1])
            for i in range(kernel_size[0])
            for j in range(kernel_size[1])
        ]
        return ops.concatenate(parts, axis=-1)

    return compilation.compiled_map(patches)


def _winograd(x, kernel, bias):
    """Returns `F(2x2, 3x3)`: a convolution of 3x3 with 16 products for four points."""
    height, width = x.shape[1:3]
    tiles, back = _transforms(height, width)
    return back(ops.matmul(tiles(x), kernel), bias)


@functools.lru_cache(maxsize=64)
def _transforms(height, width):
    """Returns those of the inputs and of the outputs, for maps of a size."""
    rows, columns = -(-height // 2), -(-width // 2)

    def along(x, axis, count):
        a, b, c, d = (_every(x, axis, start, count, 2) for start in range(4))
        return a - c, b + c, c - b, b - d

    def tiles(x):
        border = (1, 2 * rows - height + 1), (1, 2 * columns - width + 1)
        x = ops.pad(x, ((0, 0), *border, (0, 0)))
        parts = [p for half in along(x, 1, rows) for p in along(half, 2, columns)]
        return ops.reshape(ops.stack(parts), (16, -1, x.shape[-1]))

    def back(products, bias):
        channels = products.shape[-1]
        a = ops.reshape(products, (4, 4, -1, rows, columns, channels))
        a = a[0] + a[1] + a[2], a[1] - a[2] - a[3]
        points = [(b[0] + b[1] + b[2], b[1] - b[2] - b[3]) for b in a]
        points = [ops.stack(pair, axis=3) for pair in points]
        points = ops.reshape(
            ops.stack(points, axis=2), (-1, 2 * rows, 2 * columns, channels)
        )
        return points[:, :height, :width] + ops.cast(bias, points.dtype)

    return compilation.compiled_map(tiles), compilation.compiled_map(back)


def _every(x, axis, start, count, stride):
    """Returns so many rows or columns of maps, one of each stride."""
    index = [slice(None)] * len(x.shape)
    index[axis] = slice(start, start + stride * (count - 1) + 1, stride)
    return x[tuple(index)]
