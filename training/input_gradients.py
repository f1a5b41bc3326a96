"""Gradients by the pixels of images, inside of a step of training."""

import contextlib
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from layers import gradients


def input_gradients(model: keras.Model, function: Callable, images):
    """Returns the gradient of the sum of a function of images by these.

    Calls of the model in the function leave its batch statistics, and other weights
    that are not trained, as they were; counters of random layers go on. The result has
    gradients of its own.

    Args:
        model: The model that the function calls.
        function: From a tensor of images to any tensor.
        images: Tensor of shape `(batch, height, width, channels)`; integers are cast.

    Returns:
        Tensor of the shape of the images.

    Raises:
        NotImplementedError: If the backend of Keras is neither TensorFlow nor JAX.
    """
    if not keras.backend.is_float_dtype(images.dtype):
        images = ops.cast(images, "float32")

    def total(images):
        with unchanged(model):
            return ops.sum(function(images))

    return gradients.by_input(total, images)


@contextlib.contextmanager
def unchanged(model: keras.Model):
    """Gives weights that are not trained the values back that they had before.

    Args:
        model: What is called inside, such that its batch statistics stay.
    """
    weights = [
        weight
        for weight in model.non_trainable_variables
        if keras.backend.is_float_dtype(weight.dtype)
    ]
    before = [ops.copy(ops.convert_to_tensor(weight)) for weight in weights]
    yield
    for weight, value in zip(weights, before, strict=True):
        weight.assign(value)


def state_of(model: keras.Model) -> list:
    """Returns the values of all that a pass in training changes besides losses.

    These are weights that are not trained, such as batch statistics, and the counters
    of random layers.

    Args:
        model: The model.
    """
    return [
        ops.copy(ops.convert_to_tensor(weight))
        for weight in model.non_trainable_variables
    ]


@contextlib.contextmanager
def repeated(model: keras.Model, state: list):
    """Lets a pass begin where an earlier one began, and leaves no trace of it.

    It has the masks and other draws of the earlier pass, so that its outputs differ
    only by its inputs. Afterwards all that `state_of` returns is as before.

    Args:
        model: What is called inside, once.
        state: From `state_of`, before the earlier pass.
    """
    weights, after = model.non_trainable_variables, state_of(model)
    for weight, value in zip(weights, state, strict=True):
        weight.assign(value)
    yield
    for weight, value in zip(weights, after, strict=True):
        weight.assign(value)


def pixel_deviations(model: keras.Model) -> np.ndarray:
    """Returns what a model divides its pixels by first of all.

    A gradient by normalized pixels is that by pixels times this, so it is the same for
    pixels in [0, 255] and in [0, 1].

    Args:
        model: Functional Keras model with a `Normalization` or a `Rescaling`.

    Returns:
        Array that broadcasts with images.

    Raises:
        ValueError: If it has neither.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and not layer.invert:
            return np.sqrt(ops.convert_to_numpy(layer.variance))
        if isinstance(layer, keras.layers.Rescaling):
            return 1 / np.asarray(layer.scale, "float32")
    raise ValueError(
        "The scale of the pixels is not known, for the model has no `Normalization` "
        f"and no `Rescaling`. Received: the model '{model.name}'"
    )
