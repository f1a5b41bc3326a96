"""Subsampling, and pooling to a size that does not depend on that of the map."""

import keras
import numpy as np
from keras import ops

from layers.checks import check_channels_last, check_count


def subsampled(x, strides: int):
    """Returns each `strides`-th row and column of a map, beginning with the first.

    They are the averages of windows of one value. On a CPU TensorFlow takes up to 80
    times as long to slice with steps.

    Args:
        x: Tensor of shape `(batch, height, width, channels)`.
        strides: Rows and columns from one to the next.

    Returns:
        Tensor of shape `(batch, ceil(height / strides), ceil(width / strides),
        channels)`.
    """
    return x if strides == 1 else ops.average_pool(x, 1, strides)


@keras.saving.register_keras_serializable(package="layers")
class AdaptiveAveragePooling2D(keras.layers.Layer):
    """Averages a map of any size to one of a given size, as in PyTorch.

    Output row `i` of `n` is the mean of the rows from `floor(i * height / n)` up to
    `ceil((i + 1) * height / n)`, without that one, and so are the columns. Keras' layer
    of this name, as of 3.15, gives NaN on JAX for three rows and more, and fails in
    graphs of TensorFlow for one row.

    Args:
        output_size: Height and width of the result.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(batch, output_size, output_size, channels)`.

    Example:

    >>> x = keras.ops.reshape(keras.ops.arange(9.0), (1, 3, 3, 1))
    >>> keras.ops.convert_to_numpy(AdaptiveAveragePooling2D(2)(x))[0, :, :, 0].tolist()
    [[2.0, 3.0], [5.0, 6.0]]
    """

    def __init__(self, output_size: int, **kwargs):
        check_channels_last(kwargs)
        super().__init__(**kwargs)
        self.output_size = check_count(output_size, "output_size")
        self.built = True

    def call(self, inputs):
        x = inputs
        for axis in (1, 2):
            size = ops.shape(x)[axis]
            if not isinstance(size, int) or size != self.output_size:
                means = ops.cast(self._means(size), x.dtype)
                x = ops.moveaxis(ops.tensordot(means, x, axes=(1, axis)), 0, axis)
        return x

    def _means(self, size):
        """Returns what of each row is in each row of the result."""
        count = self.output_size
        first = np.arange(count)[:, None] * size // count
        after = -(-np.arange(1, count + 1)[:, None] * size // count)
        rows = ops.arange(size)
        chosen = ops.logical_and(ops.greater_equal(rows, first), ops.less(rows, after))
        return ops.cast(chosen, "float32") / ops.cast(after - first, "float32")

    def compute_output_shape(self, input_shape):
        batch, _, _, channels = input_shape
        return batch, self.output_size, self.output_size, channels

    def compute_output_spec(self, inputs):
        shape = self.compute_output_shape(inputs.shape)
        return keras.KerasTensor(shape, self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "output_size": self.output_size}
