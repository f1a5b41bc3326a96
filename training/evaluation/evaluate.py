"""Evaluation: posteriors, data sets and metrics give rows."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np

from training import task
from training.evaluation import class_names, ood, predictions
from training.evaluation.sampling import Passes
from training.metrics import RANKING, SEQUENCES, compute
from training.progress import track
from zoo import arrays
from zoo.posterior import Posterior

_FACTS = ("source", "selection", "excluded", "data")  # Of the images of a row.


def evaluate(
    model: keras.Model | Posterior,
    dataset,
    num_samples: Sequence[int] = (1, 2, 5, 10, 30, 50),
    metrics: Mapping[str, Callable] | None = None,
    seed: int = 0,
    batch_size: int = 100,
    progress: bool = True,
) -> list[dict]:
    """Evaluates the mean prediction of the first `n` samples, for several `n`.

    The data are read once, and each image is passed as often as the largest `n` asks;
    see `training.evaluation.sampling.Passes`. Nothing is written;
    `training.evaluation.sweep` keeps what it computes.

    Args:
        model: From images to logits; or a posterior, which limits `n` to its samples.
        dataset: With `images`, `labels`, `classes` and `name`; see
            `training.data.ImageData`. Batches are slices of `images`. Labels are
            matched by the names of the classes, where the model knows its own.
        num_samples: The ensemble sizes `n`.
        metrics: Functions of `(probs, labels)` by name; by default those of the task of
            the model, see `training.task`.
        seed: Seed of the samples.
        batch_size: Images per step, which are passed one sample after the other.
        progress: Whether to show it, on a terminal or in the log.

    Returns:
        One row per ensemble size and metric, a dict of `model` and `dataset` (names),
        `num_samples`, `metric`, `value`, `num_examples`, `seed` and `seconds`. These
        are the time of the whole pass, with all its samples. `source`, where the
        images come from, `selection`, which of them were taken, and `excluded`, how
        many were left out, are there if the data set says so; rows of stored
        predictions have `data`, which is another of other images or labels, and
        `precision`, unless it is float32. Those of an attack have its settings, which
        are `attack`, `attack_norm`, `epsilon`, `steps`, `step_size`, `restarts` and
        `draws`.

    Raises:
        ValueError: If data set and model do not fit together, sizes are not positive
            or too large, or the model gives NaN.
    """
    passes = Passes(model, num_samples, seed, batch_size)
    dataset = check_dataset(passes, dataset)
    begin = time.monotonic()
    text = f"{passes.name} on {dataset.name}"
    show = track(text, len(dataset.labels)) if progress else _silence()
    with show as advance:
        values = _collect(passes, dataset.images, advance)
    meta = {
        **predictions.metadata(passes, dataset),
        "seconds": round(time.monotonic() - begin, 3),
    }
    labels = np.asarray(dataset.labels)
    return rows(predictions.of_arrays(meta, {"labels": labels, **values}), metrics)


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
        seed: Seed of the samples.
        batch_size: Images per step.

    Returns:
        float32 array of shape `(len(num_samples), examples, ..., num_classes)`.
    """
    passes = Passes(posterior, num_samples, seed, batch_size)
    if not len(images):
        shape = len(passes.sizes), 0, *posterior.map_shape, posterior.num_classes
        return np.zeros(shape, "float32")
    return _collect(passes, images, lambda count: None)["probs"]


def rows(
    stored: predictions.Predictions,
    metrics: Mapping[str, Callable] | None = None,
    sizes: Sequence[int] | None = None,
    ranks_by: str | None = None,
) -> list[dict]:
    """Returns one row per ensemble size and metric, as `evaluate` does.

    Sets of sequences have those of `training.metrics.SEQUENCES` too, and labels of
    pixels those of `training.metrics.PIXEL_RANKING` for each uncertainty of the model.

    Args:
        stored: What a model says of a data set.
        metrics: Functions of `(probs, labels)` by name; by default those of the task.
        sizes: The ensemble sizes; by default all.
        ranks_by: The name of a score, for the metrics of `training.metrics.RANKING`
            with it, such as `raulc/entropy`; see `training.evaluation.ood.scores`.
    """
    meta, of = stored.meta, task.of_predictions(stored.meta)
    common = {"model": meta["model"], "dataset": meta["dataset"]}
    numbers = {
        "num_examples": meta["count"],
        "seed": meta["seed"],
        "seconds": meta["seconds"],
        **({"precision": meta["precision"]} if _is_reduced(meta) else {}),
        **{k: meta[k] for k in _FACTS if meta.get(k)},
        **meta.get("attack", {}),
    }

    def values(size):
        probs = stored.probs[stored.index(size)]
        if metrics is None:
            yield from of.measure(probs, stored.labels, meta.get("classes"))
        else:
            yield from compute(metrics, probs, stored.labels).items()
        if (frames := meta.get("frames", 1)) > 1:
            sequences = _sequences(probs, frames)
            yield from ((name, f(sequences)) for name, f in SEQUENCES.items())
        if ranks_by:
            scores = ood.score(stored, size, ranks_by)
            for name, function in RANKING.items():
                yield f"{name}/{ranks_by}", function(probs, stored.labels, scores)
        if of.by_score and metrics is None:
            for score in ood.uncertainties(stored, size):
                own = ood.score(stored, size, score)
                for name, function in of.by_score.items():
                    yield f"{name}/{score}", function(probs, stored.labels, own)

    return [
        {**common, "num_samples": size, "metric": name, "value": value, **numbers}
        for size in sizes or meta["sizes"]
        for name, value in values(size)
    ]


def _sequences(probs, frames):
    """Returns predictions of shape `(sequences, frames, classes)`; each pixel has one.

    Those of images are as they were.
    """
    num_classes = probs.shape[-1]
    parts = probs.reshape(len(probs) // frames, frames, -1, num_classes)
    return parts.swapaxes(1, 2).reshape(-1, frames, num_classes)


def _is_reduced(meta):
    return meta.get("precision", "float32") != "float32"


def _collect(passes, images, advance):
    parts = {}
    for _, values in passes.batches(images):
        for name, value in values.items():
            parts.setdefault(name, []).append(value)
        advance(values["probs"].shape[1])
    return {name: np.concatenate(part, axis=1) for name, part in parts.items()}


def check_dataset(passes: Passes, dataset, labeled: bool = True):
    """Checks that a model takes the images of a data set, and matches their labels.

    Args:
        passes: Passes of the model.
        dataset: With `images`, `labels`, `classes` and `name`.
        labeled: Whether the labels mean something to the model.

    Returns:
        The data set, with labels in the order of the model's classes.

    Raises:
        ValueError: If it does not take them, the classes are others, or there are no
            images.
    """
    shape, count = dataset.images.shape[1:], len(dataset.images)
    expected = passes.posterior.image_shape
    fits = len(shape) == len(expected) and all(
        theirs in (None, ours) for ours, theirs in zip(shape, expected, strict=True)
    )
    if not fits:
        raise ValueError(
            f"Model '{passes.name}' takes images of shape {expected}. Received: "
            f"dataset={dataset.name} with images of shape {tuple(shape)}"
            f"{_resized(shape, expected)}"
        )
    if not count or count != len(dataset.labels):
        raise ValueError(
            f"Data set '{dataset.name}' needs as many labels as images and at least "
            f"one. Received: {count} images, {len(dataset.labels)} labels"
        )
    return _LABELED[passes.posterior.task](passes, dataset, labeled)


def _with_targets(passes, dataset, labeled):
    labels = np.asarray(dataset.labels)
    if labeled and (dataset.classes or labels.dtype.kind != "f"):
        raise ValueError(
            f"Model '{passes.name}' predicts numbers, and data set '{dataset.name}' "
            f"has {len(dataset.classes)} classes."
        )
    arrays.check_targets(labels, f"targets of data set '{dataset.name}'")
    return dataset


def _with_classes(passes, dataset, labeled):
    name = f"labels of data set '{dataset.name}'"
    labels = arrays.check_labels(dataset.labels, len(dataset.classes), name)
    if labeled and labels.shape[1:] != tuple(passes.posterior.map_shape):
        raise ValueError(
            f"Model '{passes.name}' needs {name} of shape "
            f"{('images', *passes.posterior.map_shape)}. Received: "
            f"labels.shape={labels.shape}"
        )
    return class_names.matched(dataset, passes) if labeled else dataset


# By the task of the model.
_LABELED = {
    "classification": _with_classes,
    "segmentation": _with_classes,
    "regression": _with_targets,
}


@contextlib.contextmanager
def _silence():
    yield lambda count: None


def _resized(shape, expected) -> str:
    """Says how to name a data set whose images have another size."""
    if len(expected) != 3:
        return ""
    height, width, channels = expected
    if len(shape) != 3 or shape[2] != channels or height != width:
        return ""
    return f". With `_size/{height}` behind its name they are resized"
