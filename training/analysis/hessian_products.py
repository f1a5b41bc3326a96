"""Products of vectors with the Hessian of the loss of a batch, by its weights."""

import keras
import numpy as np
from keras import ops

from layers import checks, compilation, gradients
from training.analysis import base, weight_loss
from training.analysis.weight_loss import BATCH_STATISTICS, WeightLoss


class HessianProducts:
    """The gradient and the Hessian of NLL + L2 of batches, by all trained weights.

    A vector has an entry for each weight, in the order of the trained variables. The
    functions are compiled once for batches of one size.

    Args:
        loss: The loss.
        statistics: One of `weight_loss.BATCH_STATISTICS`.
        at_once: How many images pass at a time, of which the size of a batch is a
            multiple; None for all.

    Attributes:
        size: The number of weights.
        dtype: That of vectors.

    Raises:
        ValueError: If there are no such statistics, or statistics of a batch would be
            of parts of it.
    """

    def __init__(
        self, loss: WeightLoss, statistics: str = "fixed", at_once: int | None = None
    ):
        checks.check_choice(statistics, "batch_statistics", BATCH_STATISTICS)
        if at_once is not None:
            checks.check_count(at_once, "at_once")
            if statistics == "recomputed" and loss.norms:
                raise ValueError(
                    "Statistics of a batch need all of its images at a time: leave out "
                    f"`at_once`. Received: at_once={at_once}, "
                    f"batch_statistics={statistics}"
                )
        self.loss, self.statistics, self.at_once = loss, statistics, at_once
        self.size = sum(weight.size for weight in loss.weights)
        self.dtype = loss.dtype
        autograph = loss.autograph
        self._second = compilation.program(self._both, autograph=autograph)
        self._first = compilation.program(self._gradient, autograph=autograph)
        self._weights = [ops.convert_to_tensor(weight) for weight in loss.weights]
        self._others = [ops.convert_to_tensor(value) for value in loss.others]

    def products(self, vectors: np.ndarray, images, targets, key: int = 0):
        """Returns the products of vectors with the Hessian.

        Args:
            vectors: Array of shape `(vectors, size)`.
            images: Array of shape `(batch, height, width, channels)`.
            targets: Array of shape `(batch, num_classes)`, probabilities.
            key: Key of all draws.

        Returns:
            Array of the shape of the vectors.

        Raises:
            ValueError: If a layer has no second derivative; it is named.
            FloatingPointError: If a product is not finite.
        """
        vectors = ops.convert_to_tensor(np.asarray(vectors, self.dtype))
        try:
            found = self._sum(self._second, images, targets, key, vectors)
        except Exception as error:  # Backends raise several kinds.
            name = _without_second_derivative(self.loss)
            if name is None:
                raise
            raise ValueError(
                f"The layer '{name}' has no second derivative, so there is no Hessian "
                f"of the model '{self.loss.model.name}': {_short(error)}"
            ) from error
        return base.check_finite(found, "A product with the Hessian")

    def gradient(self, images, targets, key: int = 0, weights=None):
        """Returns the loss, and its gradient as a vector.

        Args:
            images: As in `products`.
            targets: As in `products`.
            key: As in `products`.
            weights: List of arrays in place of the weights of the model.
        """
        weights = self._weights if weights is None else weights
        weights = [ops.convert_to_tensor(weight) for weight in weights]
        found = self._sum(self._first, images, targets, key, weights=weights)
        return float(found[0]), found[1:]

    def split(self, vector: np.ndarray) -> list[np.ndarray]:
        """Returns a vector as arrays of the shapes of the weights."""
        ends = np.cumsum([weight.size for weight in self.loss.weights])
        parts = np.split(vector, ends[:-1])
        return [
            part.reshape(weight.shape)
            for part, weight in zip(parts, self.loss.weights, strict=True)
        ]

    def _sum(self, function, images, targets, key, *vectors, weights=None):
        """Returns the mean of what parts of a batch give."""
        size = len(images)
        step = size if self.at_once is None else min(self.at_once, size)
        if size % step:
            raise ValueError(
                "The images of a batch must be a multiple of those that pass at a "
                f"time. Received: batch_size={size}, at_once={step}"
            )
        weights = self._weights if weights is None else weights
        total = 0.0
        for start in range(0, size, step):
            part = slice(start, start + step)
            found = function(
                weights,
                self._others,
                ops.convert_to_tensor(images[part]),
                ops.convert_to_tensor(targets[part]),
                weight_loss.key_of(key),
                weight_loss.key_of(start),
                *vectors,
            )
            total = total + ops.convert_to_numpy(found) / (size // step)
        return total

    def _function(self, others, images, targets, key, offset):
        def function(weights):
            return self.loss.objective(
                weights, others, images, targets, key, offset, self.statistics
            )

        return function

    def _gradient(self, weights, others, images, targets, key, offset):
        function = self._function(others, images, targets, key, offset)
        total, pull = gradients.vjp(function, weights)
        found = pull(ops.ones_like(total))
        flat = [ops.reshape(ops.cast(x, self.dtype), (-1,)) for x in (total, *found)]
        return ops.concatenate(flat)

    def _both(self, weights, others, images, targets, key, offset, vectors):
        function = self._function(others, images, targets, key, offset)
        rows, start = [], 0
        for weight in self.loss.weights:
            part = vectors[:, start : start + weight.size]
            rows.append(
                ops.cast(ops.reshape(part, (-1, *weight.shape)), weight.dtype.name)
            )
            start += weight.size
        _, _, found = gradients.hessian_products(function, weights, rows)
        count = vectors.shape[0]
        flat = [ops.reshape(ops.cast(x, self.dtype), (count, -1)) for x in found]
        return ops.concatenate(flat, axis=1)


def _without_second_derivative(loss: WeightLoss) -> str | None:
    """Returns the name of the first layer without one, if that is what is wrong."""
    model = loss.model
    shape = [2 if side is None else side for side in model.input_shape[1:]]
    images = ops.convert_to_tensor(np.full((1, *shape), 7, "float32"))

    def works(layer):
        part = keras.Model(model.inputs, layer.output)

        def function(values):
            outputs, _ = part.stateless_call(
                part.trainable_variables,
                part.non_trainable_variables,
                values[0],
                training=False,
            )
            outputs = ops.cast(keras.tree.flatten(outputs)[0], "float32")
            return ops.sum(ops.square(outputs))

        try:
            rows = [ops.ones_like(images)[None]]
            compilation.program(
                lambda: gradients.hessian_products(function, [images], rows)[2]
            )()
        except Exception:
            return False
        return True

    found = [layer for layer in model.layers if hasattr(layer, "output")]
    found = [layer for layer in found if not isinstance(layer, keras.layers.InputLayer)]
    if not found or works(found[-1]):
        return None
    first, last = 0, len(found) - 1  # The first that fails is between them.
    while first < last:
        middle = (first + last) // 2
        first, last = (middle + 1, last) if works(found[middle]) else (first, middle)
    return found[first].name


def _short(error) -> str:
    text = " ".join(str(error).split())
    return text if len(text) < 200 else f"{text[:200]}..."
