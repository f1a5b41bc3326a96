"""What the analyses have in common: how they are called, and what they find.

An analysis is a function, a figure and a line of `training.analysis.ANALYSES`. The
module of a function has another name than the function, which is imported into
`training.analysis`.

An analysis of one model, `takes="model"`, is called as

    function(model, dataset, *, batch_size=..., seed=0, progress=None, **settings)

and one of two models, `takes="pair"`, as

    function(first, second, dataset, *, batch_size=..., seed=0, progress=None, ...)

and one of a folder of trainings, `takes="sweep"`, as

    function(folder, dataset, *, batch_size=..., seed=0, progress=None, ...)

Models are functional Keras models from images in `[0, 255]` to logits, and `dataset` is
a `training.data.ImageData` of the split that the line of the table names. `batch_size`
has a default of its own in each function, which the command line overrides; `progress`
is a `training.progress.Progress` or None, see `counted`. All other arguments are
keywords with defaults, which are the settings that the command line changes by
`--set=name:key=value:key=value`; values are numbers, JSON, or words. With `keeps`, the
function gets a keyword `folder` too, a path where it may keep what it has computed
before it ends, or None; the next call with the same models, images and settings gets
the same folder.

A function returns a `Finding`: rows, and arrays for the figures. It raises a
`ValueError` for what does not fit together, which names it, and a `FloatingPointError`
where a value is not finite.

The figure is drawn by

    plot(findings: dict[str, Finding]) -> dict[str, matplotlib.figure.Figure]

with findings by the name of the model, or of the pair, `"a and b"`. It returns figures
by their titles, in the order of the page, and reads nothing but the findings, so that a
page can be made anew from files.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping

import keras
import numpy as np
from keras import ops

from layers import graphs
from layers.checks import check_count
from training.data.image_data import Numbers
from training.data.resize import to_image_shape
from training.evaluation import class_names
from zoo import arrays
from zoo.classifier import classes_of

# Arguments of functions that are no settings.
COMMON = ("batch_size", "seed", "progress", "folder")


@dataclasses.dataclass(frozen=True)
class Finding:
    """What an analysis found.

    Attributes:
        rows: Values for tables and files: dicts with a `metric`, its name; a `value`, a
            number; and what else tells the row from others, such as a `layer`, a
            `batch` or a `radius`, and says how it was computed. All of it is JSON. The
            command adds model, data set, seed, number of images and versions.
        arrays: Arrays by name, for figures and for others to go on with; no objects.
    """

    rows: list[dict]
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def values(self, metric: str, **facts) -> list[float]:
        """Returns the values of a metric, in the order of the rows.

        Args:
            metric: Its name.
            **facts: What else the rows have.
        """
        wanted = {"metric": metric, **facts}.items()
        return [row["value"] for row in self.rows if wanted <= row.items()]


@dataclasses.dataclass(frozen=True)
class Analysis:
    """A line of the table of analyses.

    Attributes:
        function: The analysis, as the head of this module says.
        plot: Its figures, as the head of this module says.
        heading: Its title in reports.
        text: What the figures show, and how it is computed, in a sentence or two.
        takes: `"model"`, `"pair"` or `"sweep"`: what the function is called with.
        split: The split of the data set that it looks at: `"test"` or `"train"`.
        keeps: Whether the function takes a `folder` for what it has computed before it
            ends.
    """

    function: Callable[..., Finding]
    plot: Callable[[Mapping[str, Finding]], dict]
    heading: str
    text: str
    takes: str = "model"
    split: str = "test"
    keeps: bool = False


def check(model: keras.Model, dataset, batch_size: int):
    """Checks that a model can be analyzed with a data set.

    Args:
        model: The model.
        dataset: A `training.data.ImageData`.
        batch_size: Images in a batch.

    Returns:
        The data set, its images in the shape that the model takes and its labels in the
        order of the model's classes.

    Raises:
        ValueError: If the model is not functional, does not return logits for each
            image or each pixel, or has other classes; if the images do not fit, or
            pixels have no label; or if there are fewer images than in a batch.
    """
    check_functional(model)
    check_count(batch_size, "batch_size")
    if len(dataset.labels) < batch_size:
        raise ValueError(
            f"The data set '{dataset.name}' is smaller than a batch: take more images "
            f"or a smaller batch. Received: {len(dataset.labels)} images, "
            f"batch_size={batch_size}"
        )
    whose = f"model '{model.name}'"
    dataset = class_names.relabeled(dataset, classes_of(model), whose)
    count, given = model.output_shape[-1], len(dataset.classes)
    if given > count or (given < count and not isinstance(dataset.classes, Numbers)):
        raise ValueError(
            f"The model '{model.name}' has {count} classes. Received: "
            f"dataset={dataset.name} with {given}"
        )
    if given < count:  # Of some there is no image.
        dataset = dataclasses.replace(dataset, classes=Numbers(count))
    if np.ndim(dataset.labels) != len(model.output_shape) - 1:
        raise ValueError(
            f"The model '{model.name}' classifies each "
            f"{'image' if len(model.output_shape) == 2 else 'pixel'}, and the data set "
            f"'{dataset.name}' has labels of another kind. Received: "
            f"output_shape={model.output_shape}, labels of shape "
            f"{np.shape(dataset.labels)}"
        )
    if np.min(dataset.labels) == arrays.UNLABELED:
        missing = np.count_nonzero(dataset.labels == arrays.UNLABELED)
        raise ValueError(
            "Analyses count each pixel, and some have no label: leave out images with "
            f"such pixels. Received: dataset={dataset.name}, {missing} of "
            f"{np.size(dataset.labels)} labels are {arrays.UNLABELED}"
        )
    shape = tuple(
        own if side is None else side
        for side, own in zip(model.input_shape[1:], dataset.input_shape, strict=True)
    )
    return dataset if dataset.input_shape == shape else to_image_shape(dataset, shape)


def check_functional(model: keras.Model):
    """Raises a ValueError if a model is not a functional one from images to logits."""
    if not isinstance(model, keras.Model) or graphs.functional(model) is None:
        raise ValueError(
            "An analysis looks at the layers of one network: give a functional or "
            "sequential Keras model, not a posterior, an ensemble or a subclass. "
            f"Received: model={getattr(model, 'name', model)}, which is a "
            f"{type(model).__name__}"
        )
    inputs, outputs = model.input_shape, model.output_shape
    takes_images = isinstance(inputs, tuple) and len(inputs) == 4
    if not (takes_images and isinstance(outputs, tuple) and len(outputs) in (2, 4)):
        raise ValueError(
            "A model to analyze maps one batch of images, (batch, height, width, "
            "channels), to logits of each image or each pixel. Received: "
            f"model={model.name}, input_shape={inputs}, output_shape={outputs}"
        )


def batches(dataset, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields images and labels in batches of one size.

    What does not fill a batch is left out, so that each batch counts the same and a
    function of batches is compiled once.

    Args:
        dataset: A `training.data.ImageData`.
        batch_size: Images in a batch.

    Yields:
        float32 images of shape `(batch_size, height, width, channels)` in `[0, 255]`,
        and int32 labels of shape `(batch_size,)`.
    """
    for number in range(num_batches(dataset, batch_size)):
        part = slice(number * batch_size, (number + 1) * batch_size)
        images = arrays.check_pixels(np.asarray(dataset.images[part]))
        yield images.astype("float32"), dataset.labels[part].astype("int32")


def num_batches(dataset, batch_size: int) -> int:
    """Returns how many full batches there are."""
    return len(dataset.labels) // batch_size


def numbered(
    dataset, batch_size: int, progress=None
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yields the number of each batch, its images and its labels.

    Args:
        dataset: As in `batches`.
        batch_size: As in `batches`.
        progress: As in `counted`.
    """
    pairs, total = batches(dataset, batch_size), num_batches(dataset, batch_size)
    for number, (images, labels) in counted(enumerate(pairs), total, progress):
        yield number, images, labels


def counted(items: Iterable, total: int, progress=None) -> Iterator:
    """Yields items, and tells progress after each.

    Args:
        items: What is done one by one.
        total: How many items there are.
        progress: A `training.progress.Progress`, or None to tell nobody.
    """
    if progress is not None:
        progress.expect(total)
    for item in items:
        yield item
        if progress is not None:
            progress(1)


def accuracy(probs: np.ndarray, labels: np.ndarray) -> float:
    """Returns how many of the largest probabilities are those of the labels.

    Args:
        probs: Probabilities or logits, of shape `(..., num_classes)`.
        labels: Numbers of classes, of shape `(...)`.
    """
    return float(np.mean(np.argmax(probs, axis=-1) == labels))


def check_finite(values, what: str) -> np.ndarray:
    """Returns values as an array, after a look whether all are finite.

    Raises:
        FloatingPointError: If one is not.
    """
    values = ops.convert_to_numpy(values)
    if not np.isfinite(values).all():
        raise FloatingPointError(
            f"{what} is not finite: {np.sum(~np.isfinite(values))} of {values.size} "
            "values are NaN or infinity."
        )
    return values
