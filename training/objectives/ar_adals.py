"""AR-AdaLS: label smoothing that adapts to bins of images by their robustness."""

import math

import keras
import numpy as np
from absl import logging
from keras import ops

import layers
from layers import checks, compilation
from training import objective
from training.attacks import robustness, whole_set


def ar_adals(
    model: keras.Model,
    recipe,
    bins: int = 10,
    rate: float = 0.005,
    begins: int = 0,
) -> objective.Objective:
    """Returns the cross-entropy of labels that are smoothed for each bin of images.

    Where a small change of the pixels changes a prediction, the network is often too
    sure of it. So images are sorted by `training.attacks.robustness.robustness` into
    bins of equal size, those of the training set and those of the validation set each
    by themselves, and the labels of bin `r` are smoothed by `e[r]`: the loss is

        (1 - e[r]) * -log p(label) + e[r] * mean over all K classes of -log p

    All `e` begin at 0. After each epoch the validation images of a bin tell how sure
    the network is of them, and how often right:

        e[r] <- clip(e[r] + rate * (mean confidence - accuracy), 0, (K - 1) / K)

    Bins are those of the network at the beginning of the epoch `begins`, and stay. So
    start from trained weights, or begin late: until then there is no smoothing. This
    takes about as long as six epochs, once.

    It follows the abstract of the paper and reports of it, since there is no published
    code: the attack here is PGD with a Euclidean norm and not that of Carlini and
    Wagner, and the largest `e` is the one with which labels say nothing.

    Args:
        model: From images to logits.
        recipe: A `training.recipes.base.Recipe`; without label smoothing.
        bins: The number of bins.
        rate: Share of the difference that is added after an epoch. That of the paper
            is for hundreds of epochs; for a few, 0.3 does as much.
        begins: The number of the epoch, from 0, at whose beginning images are sorted.

    Raises:
        ValueError: If the recipe has label smoothing, the settings are out of their
            ranges, or, when the training begins, there are less images than bins or no
            validation set.

    Reference:
        [Improving Calibration through the Relationship with Adversarial Robustness](
        https://arxiv.org/abs/2006.16375) (Qin et al., 2021).
    """
    if recipe.label_smoothing:
        raise ValueError(
            "The objective 'ar_adals' smooths labels by itself. Received: "
            f"label_smoothing={recipe.label_smoothing}"
        )
    checks.check_count(bins, "bins")
    if not (checks.is_number(rate) and 0 <= rate < math.inf):
        raise ValueError(
            "`rate` is the share of a difference that is added, and not negative. "
            f"Received: rate={rate}"
        )
    if begins not in range(recipe.epochs):
        raise ValueError(
            "`begins` is the number of an epoch, from 0 and below that of the epochs. "
            f"Received: begins={begins}, epochs={recipe.epochs}"
        )
    adaptive = _Bins(bins, rate, begins, recipe.batch_size)

    def training_loss(model, images, labels, logits):
        smoothing = adaptive.smoothing_of(objective.numbers())
        return cross_entropy(logits, labels, smoothing)

    return objective.Objective(
        objective.cross_entropy(),
        training_loss,
        begin_epoch=adaptive.begin_epoch,
        variables=adaptive.variables,
        adapt=adaptive.adapt,
        end_epoch=adaptive.end_epoch,
        numbered=True,
        integer_labels=True,
    )


def cross_entropy(logits, labels, smoothing):
    """Returns the cross-entropy of labels, each with its own smoothing, in nats.

    Args:
        logits: Tensor of shape `(batch, num_classes)`.
        labels: Integer tensor of shape `(batch,)`.
        smoothing: Tensor of shape `(batch,)`, the probability spread over all classes.

    Returns:
        Tensor of shape `(batch,)`.
    """
    logs = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    own = ops.sum(ops.one_hot(labels, logs.shape[-1], dtype=logs.dtype) * logs, axis=-1)
    return -(1 - smoothing) * own - smoothing * ops.mean(logs, axis=-1)


def equal_bins(values: np.ndarray, count: int) -> np.ndarray:
    """Returns for each value the bin of its rank; bins differ by at most one value.

    Args:
        values: Array of shape `(values,)`.
        count: The number of bins.

    Returns:
        int32 array of that shape in `[0, count)`, 0 for the smallest.

    Example:

    >>> equal_bins(np.array([7.0, 1.0, 3.0, 9.0]), 2).tolist()
    [1, 0, 0, 1]
    """
    ranks = np.empty(len(values), "int64")
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return (ranks * count // len(values)).astype("int32")


class _Bins:
    """Bins of images, and the smoothing of each: the state of the objective."""

    def __init__(self, count, rate, begins, batch_size):
        self.rate, self.begins, self.batch_size = rate, begins, batch_size
        self._smoothing = _variable(np.zeros(count, "float32"), "label_smoothing")
        self.variables = [self._smoothing]
        self._sets = self._members = self._program = None

    def adapt(self, data, validation):
        count = self._smoothing.shape[0]
        sizes = len(data), len(validation or ())
        if min(sizes) < count:
            raise ValueError(
                "The objective 'ar_adals' sorts the images of a training and of a "
                f"validation set into {count} bins each. Received: {sizes[0]} and "
                f"{sizes[1]} images"
            )
        self._sets = data, validation
        self._members = [
            _variable(np.zeros(size, "int32"), name)
            for size, name in zip(sizes, ("bins", "validation_bins"), strict=True)
        ]
        self.variables += self._members

    def smoothing_of(self, numbers):
        """Returns the smoothing of images by their numbers."""
        members = self._members[0].value
        own = ops.take(members, ops.cast(numbers, "int32"), axis=0)
        return ops.take(self._smoothing.value, own, axis=0)

    def begin_epoch(self, model, epoch):
        if epoch != self.begins:
            return
        count = self._smoothing.shape[0]
        for data, members in zip(self._sets, self._members, strict=True):
            found = robustness.robustness(model, data, self.batch_size)
            members.assign(equal_bins(found, count))
            logging.info(
                "Of the %d images of '%s', half change their class by a change of norm "
                "%.1f, and %.1f %% by none of up to %.0f gray levels.",
                *(len(data), data.name, np.median(found)),
                *(100 * np.mean(found > robustness.RADIUS), robustness.RADIUS),
            )

    def end_epoch(self, model, epoch):
        if epoch < self.begins:
            return {}
        if self._program is None:
            self._program = compilation.program(_seen(model), owner=model)
        sure, right = whole_set.compute(
            self._program, self._sets[1], self.batch_size, "Confidence in each bin"
        )
        members = ops.convert_to_numpy(self._members[1])
        before = ops.convert_to_numpy(self._smoothing)
        largest = (model.output_shape[-1] - 1) / model.output_shape[-1]
        now = adapted(before, members, sure, right, self.rate, largest)
        self._smoothing.assign(now)
        # That of the next epoch.
        return {f"label_smoothing_{r}": float(value) for r, value in enumerate(now)}


def adapted(smoothing, members, confidence, right, rate: float, largest: float):
    """Returns the smoothing of all bins after an epoch.

    Args:
        smoothing: Array of shape `(bins,)`, that of the epoch.
        members: Integer array of shape `(images,)`, the bin of each.
        confidence: Array of shape `(images,)`, the largest probabilities.
        right: Array of shape `(images,)`, whether predictions are right.
        rate: Share of the difference that is added.
        largest: The largest smoothing.

    Returns:
        float32 array of shape `(bins,)`.
    """
    excess = np.asarray(confidence, "float64") - np.asarray(right, "float64")
    sums = np.bincount(members, excess, len(smoothing))
    means = sums / np.bincount(members, minlength=len(smoothing))
    return np.clip(smoothing + rate * means, 0, largest).astype("float32")


def _seen(model):
    def step(images, labels, start):
        with layers.stream(0, start):
            logits = model(images, training=False)
        probs = ops.softmax(ops.cast(logits, "float32"), axis=-1)
        predicted = ops.cast(ops.argmax(probs, axis=-1), "int32")
        return ops.max(probs, axis=-1), ops.equal(predicted, ops.cast(labels, "int32"))

    return step


def _variable(value, name):
    return keras.Variable(value, dtype=str(value.dtype), trainable=False, name=name)
