"""Flipout of TensorFlow Probability, under the Keras 2 that it needs (tf-keras).

A process that `benchmarks.train` starts: `python -m benchmarks.train_tfp`.
"""

from benchmarks import rounds


def make(shape: tuple, filters: int, batch: int, training: bool):
    """Returns a function that calls a 3x3 `Convolution2DFlipout` without bias.

    Args:
        shape: Height, width and channels of the inputs.
        filters: The number of outputs.
        batch: The number of examples.
        training: Whether to compute the gradients too.
    """
    import tensorflow as tf
    import tensorflow_probability as tfp

    layer = tfp.layers.Convolution2DFlipout(
        filters, 3, padding="same", bias_posterior_fn=None
    )
    inputs = tf.random.normal((batch, *shape))
    layer(inputs)

    def forward():
        return layer(inputs)

    def gradients():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs)
            loss = tf.reduce_mean(outputs**2) + sum(layer.losses) / 60_000
        return tape.gradient(loss, [inputs, *layer.trainable_variables])

    return tf.function(gradients if training else forward)


if __name__ == "__main__":
    rounds.serve(make)
