"""Self-attention in the windows of a feature map: smoothing whose weights are learned.

Arrays of windows have one row for each point: windows come one after the other, each
with its points row by row.
"""

import keras
import numpy as np
from keras import ops

from layers.checks import check_channels_last, check_count

_NEVER = -1e9  # Added to the score of a point that nothing shall attend to.


def windows(x, height: int, width: int):
    """Cuts maps into windows.

    Args:
        x: Tensor of shape `(batch, rows, columns, channels)`.
        height: Rows of a window, a divisor of those of the map.
        width: Columns of a window, likewise.

    Returns:
        Tensor of shape `(batch * rows * columns, channels)`, with the points of a
        window together.
    """
    batch, rows, columns, channels = ops.shape(x)
    down, across = rows // height, columns // width
    x = ops.reshape(x, (batch * down, height, across, width * channels))
    x = ops.transpose(x, (0, 2, 1, 3))
    return ops.reshape(x, (batch * rows * columns, channels))


def merged(x, shape: tuple, height: int, width: int):
    """Puts windows together again.

    Args:
        x: What `windows` returns, maybe with other channels.
        shape: `(batch, rows, columns)` of the maps.
        height: Rows of a window.
        width: Columns of a window.

    Returns:
        Tensor of shape `(batch, rows, columns, channels)`.
    """
    batch, rows, columns = shape
    down, across, channels = rows // height, columns // width, x.shape[-1]
    x = ops.reshape(x, (batch * down, across, height, width * channels))
    x = ops.transpose(x, (0, 2, 1, 3))
    return ops.reshape(x, (batch, rows, columns, channels))


def shifts(height: int, width: int, size: int) -> np.ndarray:
    """Returns which entry of the table of positions each pair of points has.

    Args:
        height: Rows of a window.
        width: Columns of a window.
        size: The largest side of a window, for which the table is.

    Returns:
        Integer array of shape `(height * width, height * width)`, by query and key:
        places in the flat table of `(2 * size - 1) ** 2` shifts from query to key, rows
        first, beginning with the shift of `size - 1` up and left.
    """
    points = np.divmod(np.arange(height * width), width)
    down, right = (place[None] - place[:, None] + size - 1 for place in points)
    return down * (2 * size - 1) + right


@keras.saving.register_keras_serializable(package="layers")
class LocalAttention(keras.layers.Layer):
    """Multi-head self-attention of the points of each window of a feature map.

    Windows do not overlap. A point of a window becomes a weighted mean of the values of
    all its points, with weights `softmax(query . key / sqrt(key_dim) + position)` in
    each head, and `position` by the shift from the one point to the other, which all
    heads share. The means of the heads, side by side, are projected to the outputs.
    With equal queries and keys it is a box blur of the values: attention is smoothing
    with weights that are learned and depend on the image.

    Maps of any size are taken. Those that windows do not divide are filled up on the
    right and below with points that no other attends to, and that are cut off at the
    end. Of maps that are smaller than a window, the window is the map.

    Queries, keys and values have no bias, and the outputs have one. In half precision
    the softmax is in float32.

    Args:
        filters: The number of output channels.
        num_heads: The number of heads.
        key_dim: The number of channels of queries, keys and values in each head.
        window_size: The side of the windows, in points.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(batch, height, width, filters)`.

    Example:

    >>> features = keras.random.normal((8, 14, 14, 64))
    >>> attention = LocalAttention(64, num_heads=3, window_size=4)
    >>> attention(features).shape, attention.count_params()
    (TensorShape([8, 14, 14, 64]), 49265)

    Reference:
        [How Do Vision Transformers Work?](https://arxiv.org/abs/2202.06709) (Park and
        Kim, 2022), with the windows and positions of [Swin Transformer](
        https://arxiv.org/abs/2103.14030) (Liu et al., 2021), Eq. 4, without shifted
        windows.
    """

    def __init__(
        self,
        filters: int,
        num_heads: int = 8,
        key_dim: int = 64,
        window_size: int = 7,
        **kwargs,
    ):
        check_channels_last(kwargs)
        super().__init__(**kwargs)
        self.filters = check_count(filters, "filters")
        self.num_heads = check_count(num_heads, "num_heads")
        self.key_dim = check_count(key_dim, "key_dim")
        self.window_size = check_count(window_size, "window_size")

    def build(self, input_shape):
        inner, shifts_of_side = self.num_heads * self.key_dim, 2 * self.window_size - 1
        # Of queries, keys and values, each head by head.
        self.kernel = self.add_weight(
            shape=(input_shape[-1], 3 * inner),
            initializer="glorot_uniform",
            name="kernel",
        )
        self.positions = self.add_weight(
            shape=(shifts_of_side, shifts_of_side),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="positions",
        )
        self.output_kernel = self.add_weight(
            shape=(inner, self.filters),
            initializer="glorot_uniform",
            name="output_kernel",
        )
        self.bias = self.add_weight(
            shape=(self.filters,), initializer="zeros", name="bias"
        )

    def call(self, inputs):
        batch, *sides = ops.shape(inputs)[:3]
        height, width = (self._side(side) for side in sides)
        missing = [-side % n for side, n in zip(sides, (height, width), strict=True)]
        amounts = [[0, 0], *([0, count] for count in missing), [0, 0]]
        # Sides that are not known beforehand are tensors.
        is_whole = all(isinstance(n, int) and n == 0 for n in missing)
        x = inputs if is_whole else ops.pad(inputs, amounts)
        shape = batch, *(a + b for a, b in zip(sides, missing, strict=True))
        masks = None
        if not is_whole:
            inside = ops.pad(ops.ones((batch, *sides, 1), "float32"), amounts)
            masks = windows(_NEVER * (1 - inside), height, width)
        x = self._attend(windows(x, height, width), masks, height, width)
        x = merged(x, shape, height, width)
        return x if is_whole else x[:, : sides[0], : sides[1]]

    def _side(self, side):
        """Returns the side of the windows of a map with that side."""
        size = self.window_size
        return min(side, size) if isinstance(side, int) and side else size

    def _attend(self, x, masks, height, width):
        """Returns the outputs for windows; masks are added to the scores of keys."""
        points = height * width
        count = ops.shape(x)[0] // points
        x = ops.matmul(x, self.kernel)
        x = ops.reshape(x, (count, points, 3, self.num_heads, self.key_dim))
        query, key, value = ops.unstack(ops.transpose(x, (2, 0, 3, 1, 4)), 3)
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
        places = shifts(height, width, self.window_size)
        positions = ops.take(ops.reshape(self.positions, (-1,)), places)
        scores = ops.cast(scores, "float32") * self.key_dim**-0.5
        scores = scores + ops.cast(positions, "float32")
        if masks is not None:
            scores = scores + ops.reshape(masks, (count, 1, 1, points))
        # Keras warns of the softmax of one number.
        weights = ops.softmax(scores) if points > 1 else ops.ones_like(scores)
        weights = ops.cast(weights, value.dtype)
        x = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        x = ops.reshape(x, (count * points, self.num_heads * self.key_dim))
        return ops.matmul(x, self.output_kernel) + self.bias

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        config = {
            "filters": self.filters,
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "window_size": self.window_size,
        }
        return {**super().get_config(), **config}
