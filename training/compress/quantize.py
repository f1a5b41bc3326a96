"""Quantization-aware training: what of it is the training's."""

import keras

from layers import keras_internals
from layers.normalization import BatchNormalization
from layers.quantization import FakeQuantization
from zoo.classifier import Classifier
from zoo.compressed import WEIGHT_BITS, noted
from zoo.quantization import is_quantized, quantized, weight_bits


def with_integers(model: keras.Model, bits: int) -> Classifier:
    """Returns a network with the weights of another one that computes as integers do.

    Args:
        model: A functional Keras model; one that is quantized so already stays.
        bits: The bits of weights, 8 or 4; see `zoo.quantization.quantized`.

    Raises:
        ValueError: If it cannot be quantized, or has been with other bits.
    """
    if is_quantized(model):
        if weight_bits(model) != bits:
            raise ValueError(
                f"The weights to start from are those of {weight_bits(model)} bits; go "
                "on with these, or start from a network that was not quantized. "
                f"Received: weight_bits={bits}"
            )
        return model
    return noted(quantized(model, bits), model, {WEIGHT_BITS: bits})


def freeze_statistics(model: keras.Model):
    """Keeps batch statistics and ranges of features as they are from here on.

    Normalizations then use their moving statistics in training, as in inference, and
    train their scales on. It takes effect where a step is traced anew.

    Args:
        model: Keras model; layers of nested models are included.

    Raises:
        ValueError: See `with_statistics`.
    """
    for layer in with_statistics(model):
        layer.frozen = True


def with_statistics(model: keras.Model) -> list[keras.Layer]:
    """Returns the layers whose statistics or ranges can be frozen.

    Args:
        model: Keras model; layers of nested models are included.

    Raises:
        ValueError: If there is nothing to freeze, or a normalization is one of Keras
            that cannot be.
    """
    found = []
    for layer in keras_internals.flat_layers(model):
        if isinstance(layer, (BatchNormalization, FakeQuantization)):
            found.append(layer)
        elif isinstance(layer, keras.layers.BatchNormalization):
            raise ValueError(
                "`frozen_epochs` is for `layers.BatchNormalization`, whose statistics "
                "can be frozen while its scale is trained. Received: layer="
                f"{layer.name}, of the class {type(layer).__name__}"
            )
    if not found:
        raise ValueError(
            "`frozen_epochs` freezes batch statistics and ranges of features, and the "
            "model has neither: set frozen_epochs=0. Received: "
            f"model={model.name}"
        )
    return found
