"""Batch normalization by one fused kernel, where the backend has it."""

import keras
from keras import ops

from layers import deep_explainer, replicas


@keras.saving.register_keras_serializable(package="layers")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' batch normalization, computed by TensorFlow's fused kernel.

    Keras composes it of a dozen elementwise operations, which take longer than the
    convolutions of a narrow network. Here feature maps with the channels last go
    through `FusedBatchNormV3` in one pass, in training and in inference, where
    TensorFlow can merge it into the convolution before. Everything else (other ranks
    or axes, masks, renormalization, synchronized replicas, other backends) is Keras'
    own code, and the weights are the same. A replica without an image leaves the
    statistics as they are, whatever computes them.

    Input shape: `(batch, height, width, channels)`, or any that Keras' layer takes.

    Output shape: Same as the input.

    Example:

    >>> layer = BatchNormalization(momentum=0.9, epsilon=1e-5)
    >>> tuple(layer(keras.ops.ones((8, 4, 4, 16)), training=True).shape)
    (8, 4, 4, 16)

    Reference:
        [Batch Normalization](https://arxiv.org/abs/1502.03167)
        (Ioffe and Szegedy, 2015).
    """

    # Whether statistics stay in training too, and are those that normalize; scale and
    # offset are trained then. A step that is traced keeps it.
    frozen = False

    def call(self, inputs, training=None, mask=None):
        training = training and not self.frozen
        moves = training and self.trainable and not self.synchronized
        if not (moves and mask is None and replicas.may_be_empty(inputs)):
            return self._normalize(inputs, training, mask)
        with replicas.unless_empty(inputs, self.non_trainable_variables):
            return replicas.filled(lambda rows: self._normalize(rows, True), inputs)

    def _normalize(self, inputs, training, mask=None):
        if not self._fits(inputs, mask):
            return super().call(inputs, training=training, mask=mask)
        channels = inputs.shape[-1]
        gamma = ops.ones((channels,)) if self.gamma is None else self.gamma
        beta = ops.zeros((channels,)) if self.beta is None else self.beta
        if not (training and self.trainable):
            return fused(
                inputs,
                gamma,
                beta,
                mean=self.moving_mean,
                variance=self.moving_variance,
                epsilon=self.epsilon,
                training=False,
            )[0]
        outputs, mean, variance = fused(
            inputs,
            gamma,
            beta,
            mean=(),
            variance=(),
            epsilon=self.epsilon,
            training=True,
        )
        # The kernel gives the unbiased variance; Keras keeps the biased one.
        count = ops.cast(ops.prod(ops.shape(inputs)[:-1]), "float32")
        variance = variance * (1 - 1 / count)
        for moving, value in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            moving.assign(moving * self.momentum + value * (1 - self.momentum))
        return outputs

    def _fits(self, inputs, mask) -> bool:
        return (
            fits(inputs)
            and self.axis in (-1, 3)
            and mask is None
            and not (self.renorm or self.synchronized)
            and self.variable_dtype == "float32"
        )


def fits(inputs) -> bool:
    """Returns whether TensorFlow's kernel takes feature maps; see `fused`."""
    return (
        keras.backend.backend() == "tensorflow"
        and not deep_explainer.is_explaining()
        and len(inputs.shape) == 4
        and keras.backend.standardize_dtype(inputs.dtype)
        in ("float32", "bfloat16", "float16")
    )


def fused(inputs, gamma, beta, *, mean, variance, epsilon, training):
    """Returns what TensorFlow's kernel does: outputs, mean and unbiased variance.

    Args:
        inputs: Feature maps of shape `(batch, height, width, channels)`.
        gamma: float32 tensor of shape `(channels,)`.
        beta: Likewise.
        mean: Likewise; in training `()`.
        variance: Likewise.
        epsilon: Added to the variance.
        training: Whether to normalize by the moments of the batch.
    """
    import tensorflow as tf

    return tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=gamma,
        offset=beta,
        mean=mean,
        variance=variance,
        epsilon=epsilon,
        is_training=training,
    )[:3]
