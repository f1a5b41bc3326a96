"""Convolution in a form that TensorFlow fuses with what follows."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class FusedConv2D(keras.layers.Conv2D):
    """Keras' convolution with a bias, for predictions.

    Keras adds the bias as a tensor that broadcasts, and TensorFlow then computes it, a
    rectifier and the sum of a residual block each in a pass of its own. A `BiasAdd`
    lets it compute all of them where it writes the outputs of the convolution. On other backends and with channels first it is Keras' layer,
    whose weights and arguments it has.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(batch, new_height, new_width, filters)`.

    Example:

    >>> layer = FusedConv2D(16, 3, padding="same")
    >>> tuple(layer(keras.ops.ones((8, 4, 4, 2))).shape)
    (8, 4, 4, 16)
    """

    def call(self, inputs):
        is_fusible = self.use_bias and self.data_format == "channels_last"
        if keras.backend.backend() != "tensorflow" or not is_fusible:
            return super().call(inputs)
        import tensorflow as tf

        outputs = self.convolution_op(inputs, self.kernel)
        outputs = tf.nn.bias_add(outputs, ops.convert_to_tensor(self.bias))
        return outputs if self.activation is None else self.activation(outputs)
