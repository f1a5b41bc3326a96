"""Convolutions of several groups, of which TensorFlow computes gradients on a CPU."""

import keras
from keras import ops


def conv(inputs, kernel, strides=1, padding="valid", data_format=None, dilation_rate=1):
    """Computes `keras.ops.conv`, of several groups in the way that is fast.

    TensorFlow has no gradients of grouped convolutions on a CPU, so Keras has XLA
    compile both, which then take hundreds of times as long as those of the groups one
    by one. Here the convolution is TensorFlow's, and the gradients are of the groups.

    Args:
        inputs: Tensor of shape `(batch, height, width, channels)`.
        kernel: Tensor of shape `(height, width, channels / groups, filters)`.
        strides: Of both axes, or a pair.
        padding: `"valid"` or `"same"`.
        data_format: As of Keras; with channels first nothing is changed.
        dilation_rate: Of both axes, or a pair.

    Returns:
        A tensor of shape `(batch, new_height, new_width, filters)`.
    """
    if not _is_slow(inputs, kernel, data_format):
        return ops.conv(inputs, kernel, strides, padding, data_format, dilation_rate)
    import tensorflow as tf

    groups = inputs.shape[-1] // kernel.shape[-2]

    def convolve(x, kernel):
        return tf.nn.convolution(
            x, kernel, strides, padding.upper(), "NHWC", dilation_rate
        )

    @tf.custom_gradient
    def grouped(x, kernel):
        def gradients(upstream):
            with tf.GradientTape() as tape:
                tape.watch((x, kernel))
                parts = tf.split(x, groups, -1), tf.split(kernel, groups, -1)
                outputs = [convolve(*part) for part in zip(*parts, strict=True)]
                outputs = tf.concat(outputs, -1)
            return tape.gradient(outputs, (x, kernel), upstream)

        return convolve(x, kernel), gradients

    return grouped(*(tf.convert_to_tensor(x) for x in (inputs, kernel)))


def _is_slow(inputs, kernel, data_format) -> bool:
    """Returns whether these are several groups on TensorFlow without a GPU."""
    data_format = data_format or keras.config.image_data_format()
    if keras.backend.backend() != "tensorflow" or data_format != "channels_last":
        return False
    is_symbolic = any(isinstance(x, keras.KerasTensor) for x in (inputs, kernel))
    if is_symbolic or inputs.shape[-1] == kernel.shape[-2]:
        return False
    if inputs.shape[0] == 0:  # For which the shape of TensorFlow's is wrong.
        return False
    import tensorflow as tf

    return not tf.config.list_logical_devices("GPU")


@keras.saving.register_keras_serializable(package="layers")
class GroupedConv2D(keras.layers.Conv2D):
    """Keras' convolution, whose several groups can be trained on a CPU.

    See `conv` for what is computed. Of one group, and on other backends and devices, it
    is Keras' layer, whose weights and arguments it has.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(batch, new_height, new_width, filters)`.

    Example:

    >>> layer = GroupedConv2D(16, 3, padding="same", groups=4)
    >>> tuple(layer(keras.ops.ones((8, 4, 4, 8))).shape)
    (8, 4, 4, 16)

    Reference:
        [ImageNet Classification with Deep Convolutional Neural Networks](
        https://papers.nips.cc/paper/2012/hash/c399862d3b9d6b76c8436e924a68c45b-Abstract.html)
        (Krizhevsky et al., 2012), section 3.5, of groups of channels.
    """

    def convolution_op(self, inputs, kernel):
        return conv(
            inputs,
            kernel,
            strides=list(self.strides),
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )
