"""Tasks: what a network predicts, and how that is trained, measured and shown.

A task is a row of `TASKS`, in the fields of which everything is that differs between
them; trainer, objectives, evaluation and reports ask these and no names. The network
says which one is its own, see `zoo.outputs.task_of`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import numpy as np
from keras import ops

from layers import replicas
from training import chance, metrics, number_losses
from zoo import arrays, outputs
from zoo.posterior import Posterior


@dataclasses.dataclass(frozen=True)
class Task:
    """What a network predicts.

    Attributes:
        name: A key of `TASKS`.
        measure: A function of predictions, labels and the names of the classes to pairs
            of the name of a metric and its value: of all examples, and what there is
            of each image and of each class.
        training_metrics: A function without arguments to the metrics of Keras that a
            training has beside the loss.
        check_data: A function of a model and a data set that raises a ValueError where
            one is not for the other.
        counted: A function of a batch of labels, and of weights of its rows or None, to
            labels that losses take and to the weight of each example or None.
        num_examples: A function of all labels to the number of examples, by which KL
            divergences are divided.
        guess: A function of all labels to what the best constant prediction reaches, a
            `training.chance.Guess`.
        by_score: Functions of predictions, labels and one score of each example, by
            name: how well each uncertainty of a model finds what it does not know. With
            such ones, the score that a model ranks by is evaluated in any case.
        sets: Functions of sets of classes and labels, by name.
        draws: What the report has beside tables: names of sections of a page, see
            `training.report.page`.
    """

    name: str
    measure: Callable
    training_metrics: Callable
    check_data: Callable
    counted: Callable
    num_examples: Callable
    guess: Callable
    by_score: Mapping[str, Callable] = dataclasses.field(default_factory=dict)
    sets: Mapping[str, Callable] = dataclasses.field(default_factory=dict)
    draws: tuple[str, ...] = ()


def of(model: keras.Model | Posterior) -> Task:
    """Returns the task of a model or a posterior."""
    is_posterior = isinstance(model, Posterior)
    return TASKS[model.task if is_posterior else outputs.task_of(model)]


def of_predictions(meta: Mapping) -> Task:
    """Returns the task of stored predictions, from what they say of themselves."""
    # As files before it have it.
    of_maps = outputs.TASKS[2 + len(meta.get("map_shape") or ())]
    return TASKS[meta.get("task") or of_maps]


def mean_weights(weights):
    """Returns weights by which the mean over rows is that over what is weighted.

    Keras divides a sum of losses by the number of rows, and on replicas by that of
    these. Here the weights of a batch have the mean one, on all replicas together; of
    nothing but zeros they stay so.

    Args:
        weights: Tensor of shape `(batch, ...)`, not negative.
    """
    total = replicas.summed(ops.sum(weights))
    size = ops.cast(ops.size(weights), weights.dtype)
    count = replicas.summed(size)
    is_none = ops.equal(total, 0)
    return weights * (count / ops.where(is_none, ops.ones_like(total), total))


@keras.saving.register_keras_serializable(package="training", name="nll")
def _nll(labels, logits):
    """Returns the NLL of each example; the operation of losses takes twice as long."""
    logits = ops.cast(logits, "float32")
    if len(labels.shape) < len(logits.shape):
        labels = ops.expand_dims(labels, -1)
    hit = ops.take_along_axis(logits, ops.cast(labels, "int32"), axis=-1)
    return ops.logsumexp(logits, axis=-1) - ops.squeeze(hit, -1)


def _of_classes():
    return [
        keras.metrics.MeanMetricWrapper(_nll, "nll"),
        keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
    ]


def _check_classes(model, data):
    if model.output_shape[-1] != len(data.classes):
        raise ValueError(
            f"The model has {model.output_shape[-1]} classes, and data set "
            f"'{data.name}' has {len(data.classes)}."
        )
    if model.output_shape[1:-1] != data.labels.shape[1:]:
        raise ValueError(
            f"The model returns logits of shape {model.output_shape}, and the labels "
            f"of data set '{data.name}' have the shape {data.labels.shape}."
        )


def _check_numbers(model, data):
    if data.classes or data.labels.dtype.kind != "f":
        raise ValueError(
            f"The model '{model.name}' predicts numbers, and data set '{data.name}' "
            f"has {len(data.classes)} classes; take one with targets, such as a .csv "
            "file."
        )


def _as_they_are(labels, weights):
    return labels, weights


def _pixels(labels, weights):
    """Gives pixels without a label the weight zero, and those of a row its own."""
    is_known = ops.not_equal(labels, arrays.UNLABELED)
    each = ops.cast(is_known, "float32")
    if weights is not None:
        whole = len(weights.shape) < 3  # One for an image.
        each = each * (ops.reshape(weights, (-1, 1, 1)) if whole else weights)
    return ops.where(is_known, labels, ops.zeros_like(labels)), each


def _measure(probs, labels, classes) -> Iterator[tuple[str, float]]:
    yield from metrics.compute(metrics.CLASSIFICATION, probs, labels).items()


def _measure_pixels(probs, labels, classes):
    yield from metrics.compute(metrics.SEGMENTATION, probs, labels).items()
    yield from metrics.means_by_image(metrics.BY_IMAGE, probs, labels).items()
    for metric, values in metrics.by_class(probs, labels, classes).items():
        yield from ((f"{metric}/{name}", value) for name, value in values.items())


def _measure_numbers(predicted, targets, classes):
    means, scales = np.moveaxis(np.asarray(predicted), -1, 0)
    for name, function in metrics.REGRESSION.items():
        yield name, function(means, scales, targets)


def _labeled(labels) -> int:
    return int(np.count_nonzero(np.asarray(labels) != arrays.UNLABELED))


_CHARTS = ("reliability", "thresholds", "entropies")
# By name.
TASKS = {
    "classification": Task(
        "classification",
        measure=_measure,
        training_metrics=_of_classes,
        check_data=_check_classes,
        counted=_as_they_are,
        num_examples=len,
        guess=chance.of_classes,
        sets=metrics.SETS,
        draws=(*_CHARTS, "mistakes"),
    ),
    "segmentation": Task(
        "segmentation",
        measure=_measure_pixels,
        training_metrics=_of_classes,
        check_data=_check_classes,
        counted=_pixels,
        num_examples=_labeled,
        guess=chance.of_classes,
        by_score=metrics.PIXEL_RANKING,
        sets=metrics.PIXEL_SETS,
        draws=(*_CHARTS, "maps"),
    ),
    "regression": Task(
        "regression",
        measure=_measure_numbers,
        training_metrics=number_losses.metrics,
        check_data=_check_numbers,
        counted=_as_they_are,
        num_examples=len,
        guess=chance.of_numbers,
    ),
}


def median_frequency(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the weight of each class by which rare ones count as much as the others.

    It is the median frequency over that of the class, which is the share of its pixels
    in all labeled pixels of the images in which it is; or, where images have one label
    each, of its images in all of them.

    Args:
        labels: Integer array of shape `(images, ...)`, -1 for pixels without a label.
        num_classes: The number of classes.

    Returns:
        float32 array of shape `(num_classes,)`; 0 for classes without a pixel.

    Reference:
        [Predicting Depth, Surface Normals and Semantic Labels](
        https://arxiv.org/abs/1411.4734) (Eigen and Fergus, 2015), section 6.3.2.
    """
    mine, beside = np.zeros(num_classes), np.zeros(num_classes)
    groups = labels.reshape(len(labels) if labels.ndim > 1 else 1, -1)
    for own in groups:
        counts = np.bincount(own[own != arrays.UNLABELED], minlength=num_classes)
        mine += counts
        beside += np.where(counts > 0, counts.sum(), 0)
    return _over(mine / np.where(beside > 0, beside, 1))


def _over(frequency):
    is_there = frequency > 0
    middle = np.median(frequency[is_there])
    found = np.where(is_there, middle / np.where(is_there, frequency, 1), 0)
    return found.astype("float32")


# Weights of classes by their name in a recipe: functions of all labels and the number
# of classes, or None.
CLASS_WEIGHTS: dict[str, Callable | None] = {
    "equal": None,
    "median_frequency": median_frequency,
}


def weigh(
    labels, weights, class_weights: Sequence[float] | None, are_probabilities: bool
):
    """Returns the weights of examples, by those of their classes too.

    Args:
        labels: Integer tensor of shape `(batch, ...)`, or one of probabilities with an
            axis of the classes behind.
        weights: Tensor of shape `(batch, ...)`, or None for ones.
        class_weights: The weight of each class, or None for ones.
        are_probabilities: Whether labels are probabilities.
    """
    if class_weights is None:
        return weights
    given = ops.convert_to_tensor(class_weights, "float32")
    if are_probabilities:
        own = ops.sum(labels * given, axis=-1)
    else:
        # Where functions run eagerly, Keras looks for shapes with other types.
        own = ops.take(given, ops.cast(labels, "int32"))
    return own if weights is None else weights * own
