"""Priors of whole networks by name: `gaussian:scale=0.1`, `empcov:scale=0.1`."""

import inspect
import json
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from layers import keras_internals, priors
from zoo import spelling

# Of all weights.
EVERYWHERE = {
    "gaussian": priors.GaussianPrior,
    "laplace": priors.LaplacePrior,
    "student_t": priors.StudentTPrior,
}
# Of the kernel of the first layer; the other weights are Gaussian, of the same scale.
FIRST = {"empcov": priors.EmpCovPrior, "sum_filter": priors.SumFilterPrior}
PRIORS = {**EVERYWHERE, **FIRST}


def parse(text: str) -> tuple[str, dict[str, float]]:
    """Reads the name of a prior and its settings.

    Args:
        text: A key of `PRIORS`, and settings behind a colon each.

    Raises:
        ValueError: If there is no such prior or setting, or a value is no number.

    Example:

    >>> parse("student_t:scale=0.3:degrees_of_freedom=5")
    ('student_t', {'scale': 0.3, 'degrees_of_freedom': 5})
    """
    name, *parts = text.split(":")
    if name not in PRIORS:
        raise ValueError(
            f"Unknown prior '{name}'.{spelling.hint(name, PRIORS)} Known: "
            f"{', '.join(PRIORS)}. Received: prior={text}"
        )
    known = [n for n in inspect.signature(PRIORS[name]).parameters if n != "covariance"]
    settings = {}
    for part in parts:
        key, _, value = part.partition("=")
        if key not in known:
            raise ValueError(
                f"The prior '{name}' has no setting '{key}'."
                f"{spelling.hint(key, known)} Known: {', '.join(known)}. Received: "
                f"prior={text}"
            )
        settings[key] = _number(value, text)
    PRIORS[name](**settings, **({"covariance": [[1.0]]} if name == "empcov" else {}))
    return name, settings


def _number(value, text):
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError(
            "Settings of priors are numbers, such as 'gaussian:scale=0.1'. Received: "
            f"prior={text}"
        ) from None


class ModelPrior:
    """The prior of all trained weights of a network, which are independent.

    Args:
        text: What `parse` takes. The priors of `FIRST` are those of the kernel of the
            first layer.
        model: A Keras model, whose trained weights these are.

    Raises:
        ValueError: If there is no such prior, or it is not for such a first layer.
    """

    def __init__(self, text: str, model: keras.Model):
        self.text, (name, settings) = text, parse(text)
        self._model, self._settings, kind = model, settings, PRIORS[name]
        self._first, self._layer = None, None
        if name in FIRST:
            self._layer = first_layer(model)
            if name == "sum_filter" and len(self._layer.kernel.shape) != 4:
                raise ValueError(
                    "The prior 'sum_filter' is for networks that begin with a "
                    f"convolution. Received: '{self._layer.name}' of '{model.name}'"
                )
            if name != "empcov":
                self._first = kind(**settings)
            kind = priors.GaussianPrior
        scale = {} if name in FIRST else settings
        scale = {"scale": settings["scale"]} if "scale" in settings else scale
        self._other = kind(**(settings if name in EVERYWHERE else scale))

    def adapt(self, images, batch_size: int = 500):
        """Measures what the prior is to know of the training images, if anything.

        Args:
            images: Array of shape `(examples, *image_shape)`, or an object that gives
                such arrays when it is sliced.
            batch_size: Images per step.
        """
        if self._layer is not None and self._first is None:
            covariance = input_covariance(self._model, images, self._layer, batch_size)
            self._first = priors.EmpCovPrior(covariance, **self._settings)

    @property
    def of_weights(self) -> list[priors.Prior]:
        """The prior of each of the model's `trainable_variables`."""
        if self._layer is None:
            return [self._other] * len(self._model.trainable_variables)
        if self._first is None:
            raise ValueError(
                f"The prior '{self.text}' needs the covariance of the inputs: call its "
                "`adapt` with the images of the training."
            )
        kernel = self._layer.kernel
        return [
            self._first if variable is kernel else self._other
            for variable in self._model.trainable_variables
        ]

    def log_prob(self, weights: Sequence):
        """Returns the log density of the weights up to a constant, in nats.

        Args:
            weights: Tensors in the order of the model's `trainable_variables`.

        Returns:
            Scalar tensor.
        """
        pairs = zip(self.of_weights, map(ops.convert_to_tensor, weights), strict=True)
        return sum(p.standard_log_prob(p.to_standard(w)) for p, w in pairs)


def first_layer(model: keras.Model) -> keras.layers.Layer:
    """Returns the first layer of a network that has a kernel.

    Raises:
        ValueError: If it is not a dense layer or a convolution without groups.
    """
    kernels = [
        layer
        for layer in keras_internals.flat_layers(model)
        if hasattr(layer, "kernel") or hasattr(layer, "depthwise_kernel")
    ]
    found = kernels[0] if kernels else None
    is_conv = isinstance(found, keras.layers.Conv2D) and found.groups == 1
    if not (isinstance(found, keras.layers.Dense) or is_conv):
        raise ValueError(
            "A prior of the first layer is for a network that begins with a dense "
            "layer or a convolution without groups. Received: the model "
            f"'{model.name}' with {type(found).__name__}"
        )
    return found


def input_covariance(
    model: keras.Model, images, layer: keras.layers.Layer, batch_size: int = 500
) -> np.ndarray:
    """Returns the covariance of what the kernel of a layer is multiplied by.

    Of a dense layer these are its inputs, and of a convolution the patches that it
    sees, with the zeros at the border that it pads.

    Args:
        model: The network, in front of whose layer nothing is random.
        images: Array of shape `(examples, *image_shape)`, or an object that gives such
            arrays when it is sliced.
        layer: A dense layer or a convolution of it.
        batch_size: Images per step.

    Returns:
        float64 array of shape `(inputs, inputs)`, the unbiased estimate; the order of
        the inputs is that of all axes of the kernel but the last.
    """
    before = keras.Model(model.input, layer.input)
    count, mean, products = 0, 0.0, 0.0
    for start in range(0, len(images), batch_size):
        batch = np.asarray(images[start : start + batch_size])
        features = before(batch, training=False)
        rows = ops.convert_to_numpy(_rows(features, layer)).astype("float64")
        # Chan's update keeps the digits that squares of large means would lose.
        total = count + len(rows)
        own = rows.mean(axis=0)
        centered = rows - own
        shift = own - mean
        products = products + centered.T @ centered
        products = products + np.outer(shift, shift) * count * len(rows) / total
        mean = mean + shift * len(rows) / total
        count = total
    if count < 2:
        raise ValueError(
            "A covariance is that of two inputs at least. Received: "
            f"{len(images)} images"
        )
    return products / (count - 1)


def _rows(features, layer):
    if isinstance(layer, keras.layers.Conv2D):
        features = ops.image.extract_patches(
            features,
            layer.kernel_size,
            strides=layer.strides,
            dilation_rate=layer.dilation_rate,
            padding=layer.padding,
        )
    return ops.reshape(features, (-1, features.shape[-1]))
