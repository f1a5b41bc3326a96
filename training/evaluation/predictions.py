"""Predictions on disk: made once, chunk by chunk, and read without the images.

The folder of a model and a data set holds

    meta.json                model, dataset, classes, sizes, seed, batch_size,
                             precision, count of images, how many are done, frames,
                             seconds, `data`, which is another of other images or
                             labels, and more
    labels.npy               int32 (count,), -1 for pixels without a label; of a
                             regressor the targets, float64
    probs.npy                float32 (sizes, count, classes): the mean probabilities of
                             the first `sizes[i]` samples; of a regressor means and
                             standard deviations, (sizes, count, 2)
    mutual_information.npy   float32 (sizes, count), in nats
    energy.npy               float32 (sizes, count): -logsumexp(logits), mean of samples
    max_logit.npy            float32 (sizes, count): largest logit, mean of samples
    density.npy, ...         float32 (sizes, count): scores that the posterior gives

With logits for each pixel, height and width follow `count`.

`done` is written when its images are on the disk. A process that was killed, whenever,
goes on from there and ends with the same bits. Where the folder stands for one behind a
URL, its files are read when they are needed, and sent when they are whole and every few
minutes before that, `meta.json` last.
"""

import dataclasses
import functools
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from absl import logging

from training.data import fingerprint
from training.differences import differences
from training.evaluation import array_files
from training.evaluation.sampling import SCORES, Passes
from zoo.storage import files, remote

_EDITION = 1  # Counts the changes of what is written.
# What must be the same for stored predictions to be those that are asked for.
_SAME = (
    *("model", "dataset", "classes", "count", "seed", "batch_size", "fingerprint"),
    *("precision", "attack"),
)
_PERIOD = 2.0  # Seconds between two chunks, at least.
_SENDING_PERIOD = 300.0  # Seconds until what is not whole is sent again, at least.


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a model says of a data set, as arrays that are read when they are used.

    Attributes:
        meta: What the predictions are of; see the module.
        labels: Array of shape `(count,)`.
        probs: Array of shape `(sizes, count, classes)`.
        mutual_information: Array of shape `(sizes, count)`, like the others.
        energy, max_logit: See the module.
        scores: The posterior's own scores by name, of the same shape.
    """

    meta: dict
    labels: np.ndarray
    probs: np.ndarray
    mutual_information: np.ndarray
    energy: np.ndarray
    max_logit: np.ndarray
    scores: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def index(self, size: int) -> int:
        """Returns where an ensemble size is on the first axis of the arrays."""
        return self.meta["sizes"].index(size)


def folder_of(root: str | os.PathLike, model: str, dataset: str) -> pathlib.Path:
    """Returns the folder of a model and a data set: `root/model/dataset`.

    A slash in the name of a data set makes a folder in a folder; other names have other
    folders.
    """
    parts = map(_as_folder, dataset.split("/"))
    return pathlib.Path(root, _as_folder(model), *parts)


def _as_folder(name):
    """Returns the name of one folder inside of another, different for each name."""
    quoted = name.replace("%", "%25").replace("/", "%2F") or "%"
    return quoted.replace(".", "%2E") if quoted in (".", "..") else quoted


def load(folder: str | os.PathLike) -> Predictions:
    """Opens the predictions of one model and data set.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If they are not whole.
    """
    folder = pathlib.Path(folder)
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    if meta["done"] < meta["count"]:
        raise ValueError(
            f"The predictions in '{folder}' end at image {meta['done']} of "
            f"{meta['count']}; the command that makes them goes on from there."
        )
    arrays = {}
    for name, (shape, dtype) in _layout(meta).items():
        path = folder / f"{name}.npy"
        try:
            arrays[name] = np.load(path, mmap_mode="r")
        except (EOFError, ValueError) as error:
            raise ValueError(f"'{path}' is truncated: {error}. Delete it.") from error
        if arrays[name].shape != shape or arrays[name].dtype != dtype:
            raise ValueError(
                f"'{path}' must be {dtype} of shape {shape}. Received: "
                f"{arrays[name].dtype}, {arrays[name].shape}. Delete it."
            )
    return of_arrays(meta, arrays)


def of_arrays(meta: dict, arrays: Mapping[str, np.ndarray]) -> Predictions:
    """Returns predictions from arrays by name, with the posterior's own scores."""
    own = meta.get("scores", ())
    shared = {name: array for name, array in arrays.items() if name not in own}
    return Predictions(meta, **shared, scores={name: arrays[name] for name in own})


def store(
    passes: Passes,
    dataset,
    folder: str | os.PathLike,
    advance: Callable[[int, bool], None] = lambda count, is_new: None,
    period: float = _PERIOD,
) -> Predictions:
    """Makes the predictions that are not in a folder yet.

    What is there is taken if it is of the same weights, images, labels, seed, batch
    size and precision, and has the ensemble sizes; otherwise it is made anew, in new
    files, so that what was loaded before stays as it is. What was begun goes on with
    fewer sizes, too.

    Args:
        passes: The model and its settings.
        dataset: With `images`, `labels`, `classes` and `name`.
        folder: Folder of model and data set; another process that writes to it is
            waited for.
        advance: Called with a number of images that are done, and whether that took
            passes now.
        period: Seconds from one chunk to the next, at least; a chunk is of whole
            batches.

    Returns:
        The predictions of all images.
    """
    batches = functools.partial(passes.batches, dataset.images)
    meta = describe(passes, dataset)
    return write(meta, dataset.labels, batches, folder, advance, period)


def write(
    meta: dict,
    labels: np.ndarray,
    batches: Callable[[int], Iterator[tuple[int, dict[str, np.ndarray]]]],
    folder: str | os.PathLike,
    advance: Callable[[int, bool], None] = lambda count, is_new: None,
    period: float = _PERIOD,
) -> Predictions:
    """Writes predictions, from any source, that are not in a folder yet.

    Args:
        meta: What they are of; see the module.
        labels: Labels of all examples.
        batches: Gives, from the number of an example on, the number of the first
            example of each batch and its values, as
            `training.evaluation.sampling.Passes.batches`.
        folder: Folder of model and data set; another process that writes to it is
            waited for.
        advance: Called with a number of examples that are done, and whether that took
            passes now.
        period: Seconds from one chunk to the next, at least.

    Returns:
        The predictions of all examples.
    """
    folder, labels = pathlib.Path(folder), np.asarray(labels)
    # Those of images mean nothing to a model with logits for each pixel.
    shape = meta["count"], *meta.get("map_shape", ())
    if labels.ndim < len(shape):
        labels = labels.reshape(-1, *[1] * (len(shape) - 1))
        labels = np.broadcast_to(labels, shape)
    with files.locked(folder / ".lock"):
        meta = _begin(folder, meta, labels)
        if meta["done"]:
            advance(meta["done"], False)
        if meta["done"] < meta["count"]:
            _go_on(batches(meta["done"]), folder, meta, advance, period)
    return load(folder)


def metadata(passes: Passes, dataset) -> dict[str, object]:
    """Returns what the rows of predictions say of the model and the data set."""
    return {
        "model": passes.name,
        "dataset": dataset.name,
        "sizes": list(passes.sizes),
        "scores": list(passes.posterior.score_names),
        "seed": passes.seed,
        "precision": passes.precision,
        "count": len(dataset.labels),
        "classes": list(map(str, dataset.classes)),
        "map_shape": list(passes.posterior.map_shape),
        "task": passes.posterior.task,
        "frames": getattr(dataset, "frames", 1),
        "source": getattr(dataset, "source", ""),
        "selection": getattr(dataset, "selection", ""),
        "excluded": getattr(dataset, "excluded", 0),
        **_attack(dataset),
    }


def _attack(dataset):
    """Returns the settings of the attack that made the images, if one did."""
    attack = getattr(dataset.images, "attack", None)
    return {"attack": attack.settings} if attack else {}


def describe(
    passes: Passes, dataset, model: str | None = None, loaded=None
) -> dict[str, object]:
    """Returns what predictions are of, before the first of them is made.

    Args:
        passes: The model and its settings.
        dataset: With `images`, `labels`, `classes` and `name`.
        model: The fingerprint of the model, if it is known.
        loaded: The data set with labels and classes as they were before these were
            matched with those of the model, if that is another one.
    """
    images = fingerprint.of_images(dataset.images)
    return {
        **metadata(passes, dataset),
        "num_classes": passes.posterior.num_classes,
        "batch_size": passes.batch_size,
        "data": fingerprint.of_named(loaded or dataset, images)[:12],
        "done": 0,
        "seconds": 0.0,
        "fingerprint": {
            "edition": _EDITION,
            "model": model or fingerprint.of_posterior(passes.posterior),
            "images": images,
            "labels": fingerprint.of_images(np.asarray(dataset.labels)),
        },
    }


def count_done(folder: str | os.PathLike, meta: dict) -> int:
    """Returns how many examples are there of what is asked for.

    Args:
        folder: Folder of model and data set.
        meta: What is asked for; see `describe`.
    """
    old = _read(pathlib.Path(folder))
    return 0 if old is None or _unlike(old, meta) else old["done"]


def _layout(meta):
    """Returns the shape and type of each array."""
    shape = len(meta["sizes"]), meta["count"], *meta.get("map_shape", ())
    float32 = np.dtype("float32")
    return {
        "labels": (shape[1:], np.dtype(_LABEL_TYPES.get(meta.get("task"), "int32"))),
        "probs": ((*shape, meta["num_classes"]), float32),
        **{name: (shape, float32) for name in (*SCORES, *meta.get("scores", ()))},
    }


_LABEL_TYPES = {"regression": "float64"}


def _begin(folder, meta, labels):
    """Returns the description of what is there, or of new and empty files."""
    old = _read(folder)
    if old is not None:
        odd = _unlike(old, meta)
        if not odd:
            fewer = (
                len(meta["sizes"]) < len(old["sizes"]) and old["done"] < old["count"]
            )
            return _narrow(folder, old, meta["sizes"]) if fewer else old
        logging.info("%s is made anew: %s", folder, odd)
    _create(folder, meta, {"labels": np.asarray(labels)[None]})
    return meta


def _unlike(old, meta) -> str:
    """Says why stored predictions are not those that are asked for, if so."""
    odd = differences(*({key: _of(m, key) for key in _SAME} for m in (old, meta)))
    if odd or set(meta["sizes"]) <= set(old["sizes"]):
        return odd
    return f"sizes were {old['sizes']} and are now {meta['sizes']}"


def _of(meta, key):
    default = "float32" if key == "precision" else None  # As files before it have it.
    return meta.get(key, default)


def _narrow(folder, old, sizes):
    """Keeps what was begun for some of its ensemble sizes alone, and returns its meta.

    Larger ensembles would take passes that nobody asks for any more.
    """
    meta = {**old, "sizes": sizes}
    places, done = [old["sizes"].index(size) for size in sizes], old["done"]
    begun = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _layout(old)
    }
    begun = {
        name: array[None] if name == "labels" else array[places, :done]
        for name, array in begun.items()
    }
    logging.info("%s: %d images go on with sizes %s", folder, done, sizes)
    _create(folder, meta, begun)
    return meta


def _create(folder, meta, begun):
    """Makes files with the values of the first examples in place of what was there."""
    (folder / "meta.json").unlink(missing_ok=True)
    remote.remove(folder / "meta.json")
    for name, (shape, dtype) in _layout(meta).items():
        array_files.create(folder / f"{name}.npy", shape, dtype)
    with array_files.opened(folder, _layout(meta)) as targets:
        for name, values in begun.items():
            targets[name].write(values, 0)
    _write_meta(folder, meta)


def _read(folder):
    remote.fetch(folder)
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        for name, (shape, dtype) in _layout(meta).items():
            found = np.load(folder / f"{name}.npy", mmap_mode="r")
            if found.shape != shape or found.dtype != dtype:
                return None
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None
    return meta


def _go_on(batches, folder, meta, advance, period):
    begin, last, before = time.monotonic(), time.monotonic(), meta["seconds"]
    done = there = meta["done"]  # Behind a URL, fewer may be there than are kept.
    sent = time.monotonic()

    def keep(now, send):
        for target in targets.values():
            target.sync()
        meta.update(done=done, seconds=round(before + now - begin, 3))
        if send:
            for name in targets:
                remote.send(folder / f"{name}.npy")
        _write_meta(folder, meta, send)

    with array_files.opened(folder, _layout(meta)) as targets:
        try:
            for first, values in batches:
                count = values["probs"].shape[1]
                for name, value in values.items():
                    targets[name].write(value, first)
                done, now = first + count, time.monotonic()
                if now - last >= period or done == meta["count"]:
                    send = done == meta["count"] or now - sent >= _SENDING_PERIOD
                    keep(now, send)
                    last = now
                    if send:
                        there, sent = done, time.monotonic()
                advance(count, True)
        except BaseException:
            if done > there:  # What came before the error is kept.
                keep(time.monotonic(), send=True)
            raise


def _write_meta(folder, meta, send=False):
    with files.replacing(folder / "meta.json", send) as temporary:
        temporary.write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
