"""Metrics for `compile`, which add up batch by batch in constant memory.

They are those functions of `training.metrics` that depend on sums over the examples,
from the same definitions. `adaptive_ece`, `aurc`, `raulc` and the detection of
out-of-distribution images need all examples in order, so there are no such metrics;
apply the functions to the output of `predict`.
"""

import math

import keras
from keras import ops

from training.metrics import inputs
from training.metrics.definitions import DEFINITIONS
from zoo import arrays, outputs

# Maximal number of sums taken one by one along the last axis, in which backends add
# partial sums; scattered sums, and those along other axes, round at each example.
_FEW_SUMS = 64
# Rows of bfloat16 probabilities miss one by less.
_TOLERANCE = 1e-2


@keras.saving.register_keras_serializable(package="training")
class Classification(keras.metrics.Metric):
    """A metric of `training.metrics` over all batches since the last reset.

    Sums are kept in float32 with a second number for what rounding has lost, so the
    result does not drift with the number of batches and agrees with that of the
    function to 1e-6, for batches of up to 10,000. It is NaN where the function would
    raise an error: without examples, for labels that are no classes, and for rows that
    are no probabilities, as logits without `from_logits`. Examples of weight zero are
    left out, whatever they are, and so are pixels without a label.

    Args:
        metric: One of `METRICS`, the name of a function.
        num_classes: Needed for `brier_*`, `class_accuracy`, `class_wise_ece`, `iou` and
            `iou_90`.
        from_logits: Whether predictions are logits.
        num_bins: The number of bins; of the calibration errors alone.
        k: The number of most probable classes; of `top_k` alone.
        name: By default that of the function.
        dtype: Unused; sums are kept in float32 whatever the policy is.

    Example:

    >>> metric = Classification("ece", from_logits=True, num_bins=10)
    >>> metric.update_state([1, 0], [[0.0, 9.0], [0.0, 9.0]])
    >>> round(float(metric.result()), 3)
    0.5
    """

    def __init__(
        self,
        metric: str,
        num_classes: int | None = None,
        from_logits: bool = False,
        num_bins: int = 15,
        k: int = 5,
        name: str | None = None,
        dtype=None,
    ):
        _check_arguments(metric, num_classes, num_bins, k)
        super().__init__(name=name or metric, dtype=dtype)
        self.metric = metric
        self.num_classes = num_classes
        self.from_logits = from_logits
        self.num_bins = num_bins
        self.k = k
        self._definition = DEFINITIONS[metric]
        self._options = {name: getattr(self, name) for name in self._definition.options}
        shape = self._definition.shape(num_classes or 0, **self._options)
        self._total = self._add_sums(shape, "total")
        # What the total has too much (Kahan's summation).
        self._excess = self._add_sums(shape, "excess")

    def _add_sums(self, shape, name):
        return self.add_variable(shape, "zeros", dtype="float32", name=name)

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels, probs = self._convert(y_true, y_pred)
        weights = ops.ones_like(probs[..., 0])
        if sample_weight is not None:
            given = ops.cast(ops.convert_to_tensor(sample_weight), "float32")
            if math.prod(given.shape[1:]) == 1:  # One for all pixels of an image.
                given = ops.reshape(given, (-1, *[1] * (len(weights.shape) - 1)))
            weights = weights * given
        # Every pixel with a label is an example.
        if len(labels.shape) > 2:
            labels = ops.reshape(labels, ops.shape(weights))
            weights = ops.where(labels == arrays.UNLABELED, 0.0, weights)
        labels, weights = ops.reshape(labels, (-1,)), ops.reshape(weights, (-1,))
        probs = ops.reshape(probs, (-1, probs.shape[-1]))

        num_classes = probs.shape[1]
        is_class = ops.logical_and(labels >= 0, labels < num_classes)
        sums_to_one = ops.abs(ops.sum(probs, axis=1) - 1) < _TOLERANCE
        sound = ops.logical_and(is_class, sums_to_one)
        sound = ops.logical_and(sound, ops.min(probs, axis=1, initial=0) >= 0)
        harmless = ops.all(ops.logical_or(sound, weights == 0))
        labels = ops.where(sound, labels, 0)
        probs = ops.where(sound[:, None], probs, 1 / num_classes)

        sums = self._sums(probs, labels, weights)
        self._add(sums + ops.where(harmless, 0.0, math.nan))

    def _convert(self, y_true, y_pred):
        for name, values in (("y_true", y_true), ("y_pred", y_pred)):
            outputs.check_numbers(values, f"`{name}`")
        labels, probs = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        sides = tuple(probs.shape[1:-1])
        fits = tuple(labels.shape[1:]) in (sides, (*sides, 1))
        if len(probs.shape) not in (2, 4) or probs.shape[-1] in (0, 1) or not fits:
            raise ValueError(
                f"Metric '{self.name}' takes predictions of shape (batch, num_classes) "
                "for two or more classes, and integer labels of shape (batch,) or "
                "(batch, 1); or both with a height and a width behind the batch. "
                f"Received: y_true.shape={labels.shape}, y_pred.shape={probs.shape}"
            )
        if None not in (sizes := {labels.shape[0], probs.shape[0]}) and len(sizes) > 1:
            raise ValueError(
                f"Metric '{self.name}' needs a label for each prediction. Received: "
                f"y_true.shape={labels.shape}, y_pred.shape={probs.shape}"
            )
        count = probs.shape[-1]
        if self.num_classes not in (None, count) or self._options.get("k", 1) > count:
            raise ValueError(
                f"Predictions of metric '{self.name}' have {count} classes. Received: "
                f"num_classes={self.num_classes}, k={self.k}"
            )
        probs = ops.cast(probs, "float32")
        probs = ops.softmax(probs, axis=-1) if self.from_logits else probs
        return ops.cast(labels, "int32"), probs

    def _sums(self, probs, labels, weights):
        cells, values = self._definition.collect(ops, probs, labels, **self._options)
        num_cells, columns = self._total.shape
        cells = ops.reshape(cells, (-1,))
        values = ops.concatenate(values, axis=-1) * weights[:, None, None]
        values = ops.reshape(values, (-1, columns))
        if num_cells * columns > _FEW_SUMS:
            return ops.segment_sum(values, cells, num_cells)
        inside = cells == ops.arange(num_cells)[:, None]
        values = ops.transpose(values)
        return ops.sum(ops.where(inside[:, None], values, 0.0), axis=-1)

    def _add(self, sums):
        before = ops.convert_to_tensor(self._total)
        added = sums - self._excess
        after = before + added
        self._excess.assign((after - before) - added)
        self._total.assign(after)

    def result(self):
        return self._definition.value(ops, self._total - self._excess)

    def get_config(self):
        config = {
            "metric": self.metric,
            "num_classes": self.num_classes,
            "from_logits": self.from_logits,
            "num_bins": self.num_bins,
            "k": self.k,
        }
        return {**super().get_config(), **config}


def _check_arguments(metric, num_classes, num_bins, k):
    if metric not in DEFINITIONS:
        raise ValueError(
            f"Unknown metric. Known: {', '.join(METRICS)}. Received: metric={metric}"
        )
    inputs.check_positive(num_bins=num_bins, k=k)
    if num_classes is not None:
        inputs.check_positive(num_classes=num_classes)
    elif metric in _OF_CLASSES:
        raise ValueError(
            f"`{metric}` has a sum for each class and needs their number. Received: "
            f"metric={metric}, num_classes=None"
        )


METRICS = tuple(DEFINITIONS)
_OF_CLASSES = {"class_wise_ece", "class_accuracy", "iou", "iou_90"} | {
    name for name in METRICS if name.startswith("brier_")
}
