"""Which layers of a network a training changes."""

from collections.abc import Callable

import keras

from layers import keras_internals
from layers.variational import GaussianKernel


def _are_all(layer):
    return True


def _has_gaussian_weights(layer):
    return isinstance(layer, GaussianKernel)


# By their name in a recipe.
KINDS: dict[str, Callable[[keras.layers.Layer], bool]] = {
    "all": _are_all,
    "gaussian": _has_gaussian_weights,
}


def freeze_others(model: keras.Model, kind: str):
    """Freezes the layers of a model that are not of a kind.

    Their weights are no trainable ones then: no gradient is computed for them, and
    batch normalizations have their moving statistics in training too.

    Args:
        model: Keras model; layers of nested models are included.
        kind: A key of `KINDS`.

    Raises:
        ValueError: If no weight would be trained.
    """
    is_trained = KINDS[kind]
    for layer in keras_internals.flat_layers(model):
        # A layer with others inside would freeze these.
        if not any(map(is_trained, keras_internals.flat_layers(layer))):
            layer.trainable = False
    if not model.trainable_weights:
        raise ValueError(
            f"The recipe trains layers of the kind '{kind}' alone, such as those of "
            "the methods 'stf' and 'llsvi', and the model has none. Received: "
            f"trained_layers={kind}, model={model.name}"
        )
