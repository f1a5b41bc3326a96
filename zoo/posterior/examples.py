"""Labeled images in the forms that users have them, as batches."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from zoo import arrays
from zoo.classifier import match


class RandomSample:
    """Some of all rows that were added, of which each is as likely.

    Args:
        size: How many; of fewer rows all are taken.
        seed: Seed of the choice.

    Attributes:
        rows: The rows, as a list of arrays.
    """

    def __init__(self, size: int, seed: int = 0):
        self.size, self.rows = size, []
        self._seen, self._rng = 0, np.random.default_rng(seed)

    def add(self, rows: np.ndarray):
        """Adds the rows of an array."""
        for row in rows if self.size else ():
            self._seen += 1
            if len(self.rows) < self.size:
                self.rows.append(np.array(row))
            elif (place := self._rng.integers(self._seen)) < self.size:
                self.rows[place] = np.array(row)


def batches(
    dataset,
    labels,
    batch_size: int,
    classes: Sequence[str],
    num_classes: int,
    task: str = "classification",
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields batches of images and their labels.

    Args:
        dataset: Labeled images in one of the forms of `zoo.posterior.Posterior.adapt`.
        labels: Integer array of shape `(examples,)`, or one label for each pixel, for
            an array of images; else None.
        batch_size: Images in a batch, for data that are no batches yet.
        classes: Names of the classes of the model, in the order of its logits; empty if
            not known.
        num_classes: The number of logits.
        task: What the model is for; of a regressor labels are targets.

    Yields:
        Arrays of shape `(batch, *image_shape)`, and of integers in `[0, num_classes)`
        of shape `(batch,)`, or `(batch, height, width)` with one for each pixel; of a
        regressor float64 targets of shape `(batch,)`.

    Raises:
        ValueError: If there are no images, no label for each of them, or labels that
            are no classes.
    """
    count, check = 0, _CHECKS[task]
    for batch in _batches(dataset, labels, batch_size, classes):
        images, own = map(np.asarray, batch)
        if own.shape[:1] != images.shape[:1]:
            raise ValueError(
                "There must be one integer label for each image. Received: "
                f"{len(images)} images, labels of shape {own.shape}"
            )
        yield arrays.check_inputs(images), check(own, num_classes)
        count += len(images)
    if not count:
        raise ValueError("A posterior adapts to labeled images. Received: 0 images")


def _targets(values, num_classes):
    return arrays.check_targets(values).astype("float64")


# Of labels, by task.
_CHECKS = {
    "classification": arrays.check_labels,
    "segmentation": arrays.check_labels,
    "regression": _targets,
}


def _batches(dataset, labels, batch_size, classes):
    is_pair = isinstance(dataset, tuple) and len(dataset) == 2
    if labels is None and is_pair and hasattr(dataset[0], "shape"):
        dataset, labels = dataset
    if labels is not None:
        return _slices(dataset, labels, batch_size)
    if hasattr(dataset, "images") and hasattr(dataset, "labels"):
        return _slices(dataset.images, _matched(dataset, classes), batch_size)
    if hasattr(dataset, "shape") or not isinstance(dataset, Iterable):
        raise ValueError(
            "`dataset` must have `images` and `labels`, or be batches of both; with an "
            "array of images, give `labels` too. Received: dataset of type "
            f"{type(dataset).__name__}, labels=None"
        )
    return _pairs(dataset)


def _slices(images, labels, batch_size):
    labels = np.asarray(labels)
    if not labels.ndim or len(labels) != len(images):
        raise ValueError(
            "`labels` must have one integer for each image. Received: "
            f"{len(images)} images, labels.shape={labels.shape}"
        )
    for start in range(0, len(images), batch_size):
        rows = slice(start, start + batch_size)
        yield images[rows], labels[rows]


def _pairs(dataset):
    for batch in dataset:
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise ValueError(
                "Batches must be pairs `(images, labels)`. Received: "
                f"a batch of type {type(batch).__name__}"
            )
        yield tuple(batch)


def _matched(dataset, classes):
    """Returns labels in the order of the logits, where the names of both are known."""
    given = tuple(map(str, getattr(dataset, "classes", ())))
    numbered = given == tuple(map(str, range(len(given))))
    if not classes or numbered or given == tuple(classes):
        return dataset.labels
    places = match(given, classes, "the data set", "the model")
    return arrays.renumbered(dataset.labels, places)
