"""Max unpooling: values go back to where a map had its largest ones."""

import keras
from keras import ops

from layers.checks import check_channels_last


@keras.saving.register_keras_serializable(package="layers")
class MaxUnpooling2D(keras.layers.Layer):
    """Puts each value where another map has the largest of a window of 2x2 pixels.

    The decoder of SegNet undoes a max pooling so: called as `layer([x, like])`, where
    `like` is what was pooled, it returns a map of the size of `like` with a value of
    `x` in each window and zeros else. Of equal values in a window the first one counts,
    row by row. It needs no indices of a pooling, so the smaller map may also come from
    a convolution with a stride.

    Where the sides of `like` are not twice those of `x`, what windows cover beyond it
    is left out, and what they do not cover is zero.

    Input shape: `(batch, height, width, channels)`, and `(batch, height', width',
    channels)`, with known sizes.

    Output shape: That of the second input.

    Example:

    >>> like = keras.ops.reshape(keras.ops.array([1.0, 4, 3, 2]), (1, 2, 2, 1))
    >>> x = keras.ops.full((1, 1, 1, 1), 7.0)
    >>> keras.ops.convert_to_numpy(MaxUnpooling2D()([x, like])).ravel().tolist()
    [0.0, 7.0, 0.0, 0.0]

    Reference:
        [SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image
        Segmentation](https://arxiv.org/abs/1511.00561) (Badrinarayanan et al., 2017),
        Figure 3.
    """

    def __init__(self, **kwargs):
        check_channels_last(kwargs)
        super().__init__(**kwargs)
        self.built = True

    def call(self, inputs):
        x, like = inputs
        _check(x, like)
        windows, sides = tuple(x.shape[1:3]), tuple(like.shape[1:3])
        channels = x.shape[-1]
        wide = tuple(2 * side for side in windows)
        # Less than all there is, so that no border is a largest value.
        lowest = ops.min(like)
        found = _fitted(like, wide, lowest) if wide != sides else like
        found = ops.reshape(found, (-1, windows[0], 2, windows[1], 2, channels))
        parts = [found[:, :, i, :, j] for i in (0, 1) for j in (0, 1)]
        largest = ops.max(ops.stack(parts), axis=0)
        left, placed = ops.ones_like(largest, dtype="bool"), []
        zero = ops.zeros((), x.dtype)
        for part in parts:
            is_here = ops.logical_and(left, ops.equal(part, largest))
            placed.append(ops.where(is_here, x, zero))
            left = ops.logical_and(left, ops.logical_not(is_here))
        rows = [ops.stack(placed[i : i + 2], axis=3) for i in (0, 2)]
        whole = ops.reshape(ops.stack(rows, axis=2), (-1, *wide, channels))
        return _fitted(whole, sides, 0) if wide != sides else whole

    def compute_output_shape(self, input_shape):
        return input_shape[1]


def _check(x, like):
    sizes = (*x.shape[1:3], *like.shape[1:3])
    if None in sizes or x.shape[-1] != like.shape[-1]:
        raise ValueError(
            "`MaxUnpooling2D` takes two maps of known sizes with equally many channels."
            f" Received: shapes {tuple(x.shape)} and {tuple(like.shape)}"
        )


def _fitted(x, sides, fill):
    """Cuts maps at the lower right, or adds a border of a value there."""
    for axis, side in zip((1, 2), sides, strict=True):
        missing = side - x.shape[axis]
        if missing < 0:
            x = x[:, :side] if axis == 1 else x[:, :, :side]
        elif missing:
            shape = [ops.shape(x)[0], *x.shape[1:]]
            shape[axis] = missing
            border = ops.broadcast_to(ops.cast(fill, x.dtype), shape)
            x = ops.concatenate([x, border], axis=axis)
    return x
