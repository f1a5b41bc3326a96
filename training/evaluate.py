"""Evaluation: posteriors, data sets and metrics give rows."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import keras
import numpy as np

from training import predictions
from training.metrics import CLASSIFICATION
from training.passes import SCORES, Passes, check_sizes
from training.track import track
from zoo.posterior import Posterior


def evaluate(
    model: keras.Model | Posterior,
    dataset,
    num_samples: Sequence[int] = (1, 2, 5, 10, 30, 50),
    metrics: Mapping[str, Callable] = CLASSIFICATION,
    seed: int = 0,
    batch_size: int = 100,
    progress: bool = True,
) -> list[dict]:
    """Evaluates the mean prediction of the first `n` samples, for several `n`.

    The data are read once, and each image is passed as often as the largest `n` asks;
    see `training.passes.Passes`. Nothing is written; `evaluate_all` keeps what it
    computes.

    Args:
        model: From images to logits; or a posterior, which limits `n` to its samples.
        dataset: With `images`, `labels`, `classes` and `name`; see
            `training.data.ImageData`. Batches are slices of `images`.
        num_samples: The ensemble sizes `n`.
        metrics: Functions of `(probs, labels)` by name.
        seed: Of the samples.
        batch_size: Images per step, which are passed one sample after the other.
        progress: Whether to show it, on a terminal or in the log.

    Returns:
        One row per ensemble size and metric, a dict of `model` and `dataset` (names),
        `num_samples`, `metric`, `value`, `num_examples`, `seed` and `seconds`. These
        are the time of the whole pass, with all its samples.

    Raises:
        ValueError: If data set and model do not fit together, sizes are not positive
            or too large, or the model gives NaN.
    """
    passes = Passes(model, num_samples, seed, batch_size)
    check_dataset(passes.posterior, dataset)
    begin = time.monotonic()
    text = f"{passes.posterior.name} on {dataset.name}"
    show = track(text, len(dataset.labels)) if progress else _silence()
    with show as advance:
        values = _collect(passes, dataset.images, advance)
    meta = {
        "model": passes.posterior.name,
        "dataset": dataset.name,
        "sizes": list(passes.sizes),
        "seed": seed,
        "count": len(dataset.labels),
        "seconds": round(time.monotonic() - begin, 3),
    }
    labels = np.asarray(dataset.labels)
    return rows(predictions.Predictions(meta, labels, **values), metrics)


def predict(
    posterior: Posterior,
    images,
    num_samples: Sequence[int],
    seed: int = 0,
    batch_size: int = 100,
) -> np.ndarray:
    """Returns the mean probabilities of the first `n` samples, for several `n`.

    Args:
        posterior: From images to sampled logits.
        images: Array of shape `(examples, height, width, channels)`, or an object that
            gives such arrays when it is sliced.
        num_samples: The ensemble sizes `n`.
        seed: Of the samples.
        batch_size: Images per step.

    Returns:
        float32 array of shape `(len(num_samples), examples, num_classes)`.
    """
    passes = Passes(posterior, num_samples, seed, batch_size)
    return _collect(passes, images, lambda count: None)["probs"]


def evaluate_all(
    models: Sequence[keras.Model | Posterior],
    datasets: Iterable,
    folder: str | os.PathLike,
    num_samples: Sequence[int] = (1, 2, 5, 10, 30, 50),
    metrics: Mapping[str, Callable] = CLASSIFICATION,
    seed: int = 0,
    batch_size: int = 100,
    num_datasets: int | None = None,
) -> list[dict]:
    """Evaluates any number of models on any number of data sets, and can be resumed.

    Each image is passed through each model once, whatever the sizes and metrics. What
    comes out is stored in `folder`, and what is there already is taken from it; see
    `training.predictions`. Metrics are computed from there.

    Args:
        models: Models or posteriors of different names. A posterior is evaluated at the
            sizes that it has samples for, and at all of its samples.
        datasets: Data sets with as many classes as the models; a generator may load
            them one by one.
        folder: Of the predictions.
        num_samples: The ensemble sizes.
        metrics: Functions of `(probs, labels)` by name.
        seed: Of the samples.
        batch_size: Images per step.
        num_datasets: How many there are, if `datasets` does not know.

    Returns:
        Rows as those of `evaluate`, data set by data set.
    """
    sizes = check_sizes(num_samples)
    members = [Passes(m, _sizes_for(m, sizes), seed, batch_size) for m in models]
    names = [passes.posterior.name for passes in members]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"Two models have one name. Received: {twice} twice")
    total = num_datasets if num_datasets is not None else len(datasets)
    per_image = sum(passes.per_image for passes in members)
    found = []
    with track("evaluate", 0, unit="passes") as advance:
        for number, dataset in enumerate(datasets):
            for passes in members:
                check_dataset(passes.posterior, dataset)
            # The data sets that are not loaded yet are taken to be like this one.
            advance.expect(len(dataset.labels) * per_image * (total - number))
            for passes in members:
                found += rows(_store(passes, dataset, folder, advance), metrics)
    return found


def _store(passes, dataset, folder, advance):
    name = passes.posterior.name
    advance.describe(f"{name} on {dataset.name}")

    def count(images, is_new):
        advance(images * passes.per_image, is_new)

    folder = predictions.folder_of(folder, name, dataset.name)
    return predictions.store(passes, dataset, folder, count)


def rows(stored: predictions.Predictions, metrics: Mapping[str, Callable]):
    """Returns one row per ensemble size and metric, as `evaluate` does."""
    meta = stored.meta
    common = {"model": meta["model"], "dataset": meta["dataset"]}
    numbers = {
        "num_examples": meta["count"],
        "seed": meta["seed"],
        "seconds": meta["seconds"],
    }
    return [
        {**common, "num_samples": size, "metric": name, "value": value, **numbers}
        for size, probs in zip(meta["sizes"], stored.probs, strict=True)
        for name, metric in metrics.items()
        for value in [metric(probs, stored.labels)]
    ]


def _sizes_for(model, sizes):
    """Returns the sizes that a posterior has samples for, and that of all of them."""
    if not isinstance(model, Posterior) or model.num_samples >= sizes[-1]:
        return sizes
    return (*(n for n in sizes if n < model.num_samples), model.num_samples)


def _collect(passes, images, advance):
    parts = {name: [] for name in ("probs", *SCORES)}
    for _, values in passes.batches(images):
        for name, value in values.items():
            parts[name].append(value)
        advance(values["probs"].shape[1])
    return {name: np.concatenate(part, axis=1) for name, part in parts.items()}


def check_dataset(posterior: Posterior, dataset):
    """Checks that a posterior takes the images of a data set and knows its classes.

    Raises:
        ValueError: If it does not, or there are no images.
    """
    shape, count = dataset.images.shape[1:], len(dataset.images)
    expected = posterior.image_shape
    fits = len(shape) == len(expected) and all(
        theirs in (None, ours) for ours, theirs in zip(shape, expected, strict=True)
    )
    if not fits:
        raise ValueError(
            f"Model '{posterior.name}' takes images of shape {expected}. Received: "
            f"dataset={dataset.name} with images of shape {tuple(shape)}"
        )
    if len(dataset.classes) != posterior.num_classes:
        raise ValueError(
            f"Model '{posterior.name}' knows {posterior.num_classes} classes. "
            f"Received: dataset={dataset.name} with {len(dataset.classes)}"
        )
    if not count or count != len(dataset.labels):
        raise ValueError(
            f"Data set '{dataset.name}' needs as many labels as images and at least "
            f"one. Received: {count} images, {len(dataset.labels)} labels"
        )


@contextlib.contextmanager
def _silence():
    yield lambda count: None
