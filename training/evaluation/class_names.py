"""Labels of data sets, matched with the classes of models by their names."""

import dataclasses

from absl import logging

from training.data.image_data import ImageData, Numbers
from zoo import arrays
from zoo.classifier import match


def matched(dataset, passes):
    """Returns a data set with labels in the order of a model's classes.

    Args:
        dataset: With `images`, `labels`, `classes` and `name`.
        passes: With the `name` of the model, and its `posterior`.

    Raises:
        ValueError: If a class is not one of the model's; where their names are not
            known, if the numbers of classes differ.
    """
    known, given = passes.posterior.classes, tuple(map(str, dataset.classes))
    numbered = isinstance(dataset.classes, Numbers)
    if known and not numbered:
        return relabeled(dataset, known, f"model '{passes.name}'")
    count = passes.posterior.num_classes
    if len(given) > count or (len(given) < count and not numbered):
        raise ValueError(
            f"Model '{passes.name}' knows {count} classes. "
            f"Received: dataset={dataset.name} with {len(given)}"
        )
    logging.info(
        "The names of the classes of '%s' are not known: the labels of '%s' are taken "
        "as the numbers of the outputs of '%s'.",
        *(dataset.name if numbered else passes.name, dataset.name, passes.name),
    )
    return dataset if numbered and not known else _with(dataset, classes=known or given)


def relabeled(dataset, classes, whose: str):
    """Returns a data set with labels in the order of some classes.

    Args:
        dataset: With `images`, `labels`, `classes` and `name`; of some of the classes
            there may be no image.
        classes: Names of the classes; with none, or where those of the data set are not
            known, it stays as it is.
        whose: What has these classes, for the error.

    Raises:
        ValueError: If it has another class.
    """
    given = tuple(map(str, dataset.classes))
    named = classes and not isinstance(dataset.classes, Numbers)
    if not named or given == tuple(classes):
        return dataset
    places = match(given, classes, f"data set '{dataset.name}'", whose)
    labels = arrays.renumbered(dataset.labels, places)
    return _with(dataset, labels=labels, classes=tuple(classes))


def renamed(dataset, name: str):
    """Returns a data set under another name."""
    return dataset if dataset.name == name else _with(dataset, name=name)


def _with(dataset, **changes):
    if isinstance(dataset, ImageData):  # Of numbers to predict, too.
        return dataclasses.replace(dataset, **changes)
    fields = [field.name for field in dataclasses.fields(ImageData)]
    values = {name: getattr(dataset, name) for name in fields if hasattr(dataset, name)}
    return ImageData(**{**values, **changes})
