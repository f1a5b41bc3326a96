"""The precision of Gaussian processes on features that no longer change."""

import keras
from keras import ops

import layers
from layers import compilation, keras_internals


def update_precision(model: keras.Model, images, batch_size: int = 128):
    """Gives Gaussian processes the precision of all images, as the model is now.

    In a training it is that of the features of one epoch, in which weights changed.
    Weights that are averaged afterwards have other features. Frozen layers, and models
    without a `layers.GaussianProcess`, stay as they are.

    Args:
        model: Functional Keras model.
        images: Array of shape `(images, height, width, channels)`, or an object that
            gives such arrays when it is sliced.
        batch_size: Images per step.
    """
    for layer in keras_internals.flat_layers(model):
        if isinstance(layer, layers.GaussianProcess) and layer.trainable:
            body = keras.Model(model.input, layer.input)
            features = compilation.program(lambda x, of=body: of(x, training=False))
            layer.begin_epoch()
            for start in range(0, len(images), batch_size):
                batch = ops.convert_to_tensor(images[start : start + batch_size])
                layer.observe(features(batch))
            layer.end_epoch()
