"""The loss of a network as a function of its weights.

It is the mean negative log-likelihood (NLL) of images and half of the weight decay
times the squared norm of the weights (L2), as a training minimizes it. Weights are
lists of arrays or tensors, one for each trained variable of the model, which itself
stays as it is; layers that are frozen are constants.

Batch normalization is by one of two statistics. Those that are `"fixed"` are the moving
statistics of the model, as in prediction. Those that are `"recomputed"` are of the
images at hand, as in training.
"""

import contextlib
import math
from collections.abc import Iterable

import keras
import numpy as np
from keras import ops

import layers
from layers import checks, compilation, gradients, graphs, keras_internals
from layers.batch_statistics import batch_normalizations, measuring, pooled
from training import optimizer
from training.analysis import base

BATCH_STATISTICS = "fixed", "recomputed"
METRICS = "loss", "nll", "error"  # Of each point of a line or a curve.
_AFFINE = (keras.layers.BatchNormalization, layers.BatchNormalization)


class WeightLoss:
    """Functions of the weights of a model, for compiled code.

    Args:
        model: A functional Keras model from images to logits.
        weight_decay: Factor of the weights in the gradient of the L2 part; those that
            trainings do not decay have none.

    Attributes:
        variables: The trained variables.
        weights: Their values, as arrays.
        dtype: That of the weights, or of the most precise of them.
        others: Values of all other variables, as arrays, batch statistics among them.
        norms: The batch normalizations.

    Raises:
        ValueError: If nothing is trained, or the weight decay is negative.
    """

    def __init__(self, model: keras.Model, weight_decay: float = 0.0):
        if not (checks.is_number(weight_decay) and 0 <= weight_decay < np.inf):
            raise ValueError(
                "`weight_decay` must be zero or positive, and finite. Received: "
                f"weight_decay={weight_decay}"
            )
        self.model, self.weight_decay = model, float(weight_decay)
        self.variables = model.trainable_variables
        if not self.variables:
            raise ValueError(
                f"The model '{model.name}' has no trained weights, as all of its "
                "layers are frozen or have none."
            )
        self.weights = [ops.convert_to_numpy(v) for v in self.variables]
        self.dtype = np.result_type(*self.weights).name
        self.others = [ops.convert_to_numpy(v) for v in model.non_trainable_variables]
        self.norms = batch_normalizations(model)
        spared = {id(weight) for weight in optimizer.undecayed(model)}
        self._decays = [id(variable) not in spared for variable in self.variables]
        places = {id(v): i for i, v in enumerate(model.non_trainable_variables)}
        self._moving = [
            (places[id(layer.moving_mean)], places[id(layer.moving_variance)])
            for layer in self.norms
        ]

    @property
    def autograph(self) -> bool:
        """Whether TensorFlow is to look for branches in layers of others."""
        found = keras_internals.flat_layers(self.model, include_self=False)
        return any(graphs.is_foreign(layer) for layer in found)

    def penalty(self, weights):
        """Returns the L2 part, a scalar.

        Args:
            weights: List of tensors or arrays.
        """
        squares = [
            ops.cast(ops.sum(ops.square(weight)), self.dtype)
            for weight, decays in zip(weights, self._decays, strict=True)
            if decays
        ]
        return 0.5 * self.weight_decay * sum(squares, ops.zeros((), self.dtype))

    def logits(
        self,
        weights,
        others,
        images,
        key,
        offset=0,
        statistics="fixed",
        derivatives: bool = True,
    ):
        """Returns logits, twice differentiable by the weights.

        Args:
            weights: List of tensors.
            others: List of tensors like `others` of this object.
            images: Tensor of shape `(batch, height, width, channels)`.
            key: Key of all draws, as in `layers.stream`.
            offset: The number of the first image.
            statistics: One of `BATCH_STATISTICS`; `"recomputed"` are those of these
                images, by which there are derivatives too.
            derivatives: Whether they are asked for; without them TensorFlow merges
                convolutions and normalizations.

        Returns:
            The logits, and a list of the moments that each batch normalization found in
            the images; see `layers.batch_statistics.measuring`.
        """
        noted = [[] for _ in self.norms]
        with contextlib.ExitStack() as stack:
            stack.enter_context(gradients.exact_moments())
            stack.enter_context(layers.stream(key, offset))
            if statistics == "recomputed":
                stack.enter_context(measuring(self.norms, noted))
            elif derivatives:
                stack.enter_context(_affine(self.norms))
            found, _ = self.model.stateless_call(
                weights, others, images, training=False
            )
        return found, noted

    def objective(
        self, weights, others, images, targets, key, offset=0, statistics="fixed"
    ):
        """Returns NLL + L2, a scalar.

        Args:
            weights: As in `logits`.
            others: As in `logits`.
            images: As in `logits`.
            targets: Probabilities of the classes, of the shape of the logits.
            key: As in `logits`.
            offset: As in `logits`.
            statistics: As in `logits`.
        """
        logits, _ = self.logits(weights, others, images, key, offset, statistics)
        mean = ops.mean(nll(logits, ops.cast(targets, logits.dtype)))
        return mean + ops.cast(self.penalty(weights), logits.dtype)

    def told(self, statistics: str) -> str:
        """Returns what rows say of batch statistics: `"none"` where there are none."""
        return statistics if self.norms else "none"

    def with_statistics(self, others, noted) -> list:
        """Returns values of the other variables with new batch statistics.

        Args:
            others: List of arrays.
            noted: For each batch normalization a list of moments of disjoint parts of
                the images, as arrays; see `layers.batch_statistics.pooled`.
        """
        found = list(others)
        for layer, places, own in zip(self.norms, self._moving, noted, strict=True):
            for place, value in zip(places, pooled(layer, own), strict=True):
                found[place] = value.astype(others[place].dtype)
        return found


def nll(logits, targets):
    """Returns the negative log-likelihood of each image or pixel, in nats.

    Args:
        logits: Tensor of shape `(batch, ..., num_classes)`.
        targets: Probabilities of the classes, of that shape.
    """
    return -ops.sum(targets * ops.log_softmax(logits), axis=-1)


@contextlib.contextmanager
def _affine(norms):
    """Makes batch normalizations multiply and add, as they do with fixed statistics.

    The second derivative of TensorFlow's fused kernel is composed of many operations.
    """
    changed = [layer for layer in norms if type(layer) in _AFFINE]
    try:
        for layer in changed:
            layer.call = _fixed_call(layer)
        yield
    finally:
        for layer in changed:
            del layer.call


def _fixed_call(layer):
    def call(inputs, training=None, mask=None):
        del training, mask
        dtype = keras.backend.result_type(inputs.dtype, "float32")
        found = [
            weight if weight is None else ops.cast(weight, dtype)
            for weight in (layer.beta, layer.gamma)
        ]
        outputs = ops.batch_normalization(
            ops.cast(inputs, dtype),
            ops.cast(layer.moving_mean, dtype),
            ops.cast(layer.moving_variance, dtype),
            layer.axis,
            *found,
            layer.epsilon,
        )
        return ops.cast(outputs, layer.compute_dtype)

    return call


class Evaluation:
    """NLL and accuracy of images at any weights, compiled once for all of them.

    Args:
        loss: The loss.
        batches: Pairs of images and targets, as arrays, all of one shape.
        statistics: One of `BATCH_STATISTICS`; `"recomputed"` are, at each point anew,
            those of all images of the batches, each of which is normalized by its own
            on the way, as `training.batch_statistics` has it.
    """

    def __init__(self, loss: WeightLoss, batches, statistics: str):
        checks.check_choice(statistics, "batch_statistics", BATCH_STATISTICS)
        self.loss = loss
        self.batches = [
            tuple(ops.convert_to_tensor(part) for part in batch) for batch in batches
        ]
        self.recomputes = statistics == "recomputed" and bool(loss.norms)
        autograph = loss.autograph
        self._judge = compilation.program(self._judged, autograph=autograph)
        self._measure = compilation.program(self._measured, autograph=autograph)

    def _judged(self, weights, others, images, targets, key, offset):
        logits, _ = self.loss.logits(
            weights, others, images, key, offset, derivatives=False
        )
        right = ops.equal(ops.argmax(logits, axis=-1), ops.argmax(targets, axis=-1))
        return ops.sum(nll(logits, targets)), ops.sum(ops.cast(right, "int32"))

    def _measured(self, weights, others, images, key, offset):
        return self.loss.logits(weights, others, images, key, offset, "recomputed")[1]

    def statistics(self, weights, others, key: int = 0) -> list[np.ndarray]:
        """Returns values of the other variables, with the statistics of all images.

        Args:
            weights: List of arrays.
            others: List of arrays.
            key: Key of all draws.
        """
        noted = [[] for _ in self.loss.norms]
        weights, others_ = _tensors(weights), _tensors(others)
        for images, offset in self._numbered():
            found = self._measure(weights, others_, images[0], key_of(key), offset)
            for own, new in zip(noted, found, strict=True):
                own += [[ops.convert_to_numpy(x) for x in moments] for moments in new]
        return self.loss.with_statistics(others, noted)

    def __call__(self, weights, key: int = 0, others=None) -> dict[str, float]:
        """Returns `nll` and `l2`, their sum `loss`, and `error`, a fraction.

        Args:
            weights: List of arrays or tensors.
            key: Key of all draws.
            others: Values of the other variables; by default those of the model.

        Raises:
            FloatingPointError: If a batch statistic is not finite.
        """
        others = self.loss.others if others is None else others
        if self.recomputes:
            others = self.statistics(weights, others, key)
        weights, others = _tensors(weights), _tensors(others)
        total, right, count = 0.0, 0, 0
        for (images, targets), offset in self._numbered():
            found = self._judge(weights, others, images, targets, key_of(key), offset)
            total += float(found[0])
            right += int(found[1])
            count += math.prod(targets.shape[:-1])  # Or of pixels.
        penalty = float(self.loss.penalty(weights))
        mean = total / count
        return {
            "loss": mean + penalty,
            "nll": mean,
            "l2": penalty,
            "error": 1 - right / count,
        }

    def along(self, points: Iterable, progress=None) -> dict[str, np.ndarray]:
        """Returns the `METRICS` of points, as an array each.

        Args:
            points: Weights, a key, and what an error calls the point, of each of them.
            progress: A `training.progress.Progress` that each point is told to.

        Raises:
            FloatingPointError: If a loss is not finite.
        """
        values = []
        for weights, key, name in points:
            found = self(weights, key)
            base.check_finite(found["loss"], f"The loss {name}")
            values.append([found[metric] for metric in METRICS])
            if progress is not None:
                progress(1)
        return dict(zip(METRICS, np.transpose(values), strict=True))

    def _numbered(self):
        offset = 0
        for batch in self.batches:
            yield batch, key_of(offset)
            offset += len(batch[0])


def _tensors(values):
    return [ops.convert_to_tensor(value) for value in values]


def key_of(number: int):
    """Returns an integer as compiled functions take it without being compiled anew."""
    return ops.convert_to_tensor(np.uint32(number & 0xFFFFFFFF))
