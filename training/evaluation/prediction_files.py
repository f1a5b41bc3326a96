"""Predictions of any framework in `.npz` files, as rows of an evaluation.

`numpy.savez` writes such a file, which has what one model says of one data set:

    model        text, what rows call the model
    dataset      text, as `zoo-evaluate` calls the data set: cifar10, cifar10_c/fog/3
    probs        floats (examples, classes), the mean probabilities of `num_samples`
                 passes; or (passes, examples, classes), those of each pass
    labels       integers (examples,), in the order of the classes; a file without is
                 of a data set out of distribution

and what is known of both:

    num_samples  how many passes `probs` is the mean of, 1 by default
    seed         seed of the passes; files of different seeds are kept apart
    commit       text, of the code that predicts
    data         text, the fingerprint of images and labels in rows of `zoo-evaluate`
    chosen_on    text, on which images choices were made: "validation: 5,000 images"
    card         text, the URL of a model card
    inside       text, the data set that one out of distribution is detected against,
                 where the model has several
    bytes        size of the model
    latency_ms, multiply_adds
                 time and operations of one image, with all passes
    seconds      time of all passes of all images

Labels and classes are those of the file: nothing is matched by names. Where there is
one of `<dataset>_validation` too, conformal decisions are fitted to it.
"""

import contextlib
import dataclasses
import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from absl import logging

from training.evaluation import decisions, evaluate, ood, predictions
from training.metrics.definitions import entropies
from training.report.rows import FACTS
from zoo import conformal, dataset_name, spelling

DECISIONS = ("lac_90", "aps_90")
# Ensemble sizes of single passes, those that there are passes for, and all of them.
SIZES = (1, 2, 5, 10, 30, 50)
_TEXTS = ("model", "dataset", "commit", "data", "chosen_on", "card", "inside")
_INTEGERS = ("num_samples", "seed", "bytes")
_NUMBERS = ("latency_ms", "multiply_adds", "seconds")
_NEEDED = ("model", "dataset", "probs")
_KNOWN = ("probs", "labels", *_TEXTS, *_INTEGERS, *_NUMBERS)
_TOLERANCE = 1e-3  # Of sums: probabilities may have been rounded to float16.
_CHUNK = 2**20  # Numbers that are looked at together.


@dataclasses.dataclass(frozen=True)
class File:
    """What a file has but for its large arrays, which `load` reads.

    Attributes:
        path: Its path.
        facts: Its texts and numbers by name.
        is_labeled: Whether it has labels.
    """

    path: pathlib.Path
    facts: Mapping[str, object]
    is_labeled: bool

    @property
    def name(self) -> str:
        """The name of the data set."""
        return self.facts["dataset"]

    def load(self) -> predictions.Predictions:
        """Returns the predictions at all ensemble sizes, checked.

        Raises:
            ValueError: If arrays have other types or shapes, a row of probabilities is
                none, or a label is no class.
        """
        with _opened(self.path) as archive:
            probs = _array(self.path, archive, "probs")
            labels = _array(self.path, archive, "labels") if self.is_labeled else None
        self._check(probs, labels)
        sizes, means, information = self._means(probs)
        zeros = np.zeros(information.shape, "float32")  # Logits are not known.
        meta = {
            "model": self.facts["model"],
            "dataset": self.name,
            "sizes": sizes,
            "seed": self.facts.get("seed", 0),
            "count": probs.shape[-2],
            "num_classes": probs.shape[-1],
            "seconds": self.facts.get("seconds", 0.0),
            "data": self.facts.get("data"),
        }
        if labels is None:
            labels = np.zeros(probs.shape[-2], "int32")
        return predictions.Predictions(
            meta, labels.astype("int32"), means, information, zeros, zeros
        )

    def _check(self, probs, labels):
        shape = probs.shape
        if probs.dtype.kind != "f" or probs.ndim not in (2, 3):
            self._refuse(
                "`probs` must be floats of shape (examples, classes) or (passes, "
                f"examples, classes). Received: {probs.dtype}, {shape}"
            )
        if 0 in shape or shape[-1] < 2:
            self._refuse(
                "`probs` must have an example and two classes at least. Received: "
                f"probs.shape={shape}"
            )
        passes = self.facts.get("num_samples", shape[0])
        if probs.ndim == 3 and passes != shape[0]:
            self._refuse(
                f"`probs` has {shape[0]} passes. Received: num_samples={passes}"
            )
        self._check_rows(probs.reshape(-1, shape[-1]), shape)
        if labels is None:
            return
        if labels.dtype.kind not in "iu" or labels.shape != shape[-2:-1]:
            self._refuse(
                f"`labels` must be integers of shape {shape[-2:-1]}. Received: "
                f"{labels.dtype}, {labels.shape}"
            )
        odd = labels[(labels < 0) | (labels >= shape[-1])]
        if odd.size:
            self._refuse(
                f"`labels` must be from 0 to {shape[-1] - 1}. Received: {odd[0]}"
            )

    def _check_rows(self, rows, shape):
        step = max(1, _CHUNK // shape[-1])
        for start in range(0, len(rows), step):
            part = rows[start : start + step].astype("float64")
            with np.errstate(invalid="ignore"):  # Sums of infinities.
                sums = part.sum(axis=1)
                good = (np.abs(sums - 1) <= _TOLERANCE) & (part >= 0).all(axis=1)
            if not good.all():
                row = int(np.argmin(good))
                passed, example = divmod(start + row, shape[-2])
                of_pass = f" of pass {passed}" if len(shape) == 3 else ""
                self._refuse(
                    f"row {example}{of_pass} of `probs` is no distribution: its values "
                    f"are from {part[row].min():.6g} to {part[row].max():.6g} and sum "
                    f"to {sums[row]:.6g}. They must not be negative, and sum to one "
                    f"within {_TOLERANCE:g}; apply a softmax to logits."
                )

    def _means(self, probs):
        """Returns ensemble sizes, mean probabilities and mutual information of each."""
        if probs.ndim == 2:
            size = self.facts.get("num_samples", 1)
            means = probs[None].astype("float32")
            return [size], means, np.zeros(means.shape[:2], "float32")
        sizes = [n for n in SIZES if n < len(probs)] + [len(probs)]
        means, information = [], []
        total = np.zeros(probs.shape[1:])
        sums, done = np.zeros(probs.shape[1]), 0
        for size in sizes:
            for passed in probs[done:size].astype("float64"):
                total += passed
                sums += entropies(np, passed)
            done, mean = size, total / size
            means.append(mean.astype("float32"))
            found = np.maximum(entropies(np, mean) - sums / size, 0)
            information.append(found.astype("float32"))
        return sizes, np.stack(means), np.stack(information)

    def _refuse(self, text):
        raise ValueError(f"'{self.path}': {text}")


def read(path: str | os.PathLike) -> File:
    """Returns what a file has, without its predictions.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no archive of plain arrays, or does not have the names and
            types that the module describes.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no file '{path}'.")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"'{path}' is not an .npz file, as `numpy.savez` writes it.")
    with _opened(path) as archive:
        names = archive.files
        for name in names:
            if name not in _KNOWN:
                raise ValueError(
                    f"'{path}' has an array that no file of predictions has."
                    f"{spelling.hint(name, _KNOWN)} Known: {', '.join(_KNOWN)}. "
                    f"Received: {name}"
                )
        for name in _NEEDED:
            if name not in names:
                raise ValueError(
                    f"'{path}' has no `{name}`, which every file of predictions needs. "
                    f"Received: {', '.join(names) or 'nothing'}"
                )
        facts = {
            name: _fact(path, name, _array(path, archive, name))
            for name in names
            if name not in ("probs", "labels")
        }
    is_part = dataset_name.without_part(facts["dataset"]) != facts["dataset"]
    if is_part and "labels" not in names:
        raise ValueError(
            f"'{path}' has no `labels`, and decisions are fitted to those of a part of "
            f"the training images. Received: dataset={facts['dataset']}"
        )
    return File(path, facts, "labels" in names)


@contextlib.contextmanager
def _opened(path):
    """Opens an archive; of a damaged one NumPy would leave the file open."""
    with open(path, "rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
        except zipfile.BadZipFile as error:
            raise ValueError(f"'{path}' cannot be read: {error}") from error
        yield archive


def _array(path, archive, name) -> np.ndarray:
    try:
        return archive[name]
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"'{path}': `{name}` cannot be read: {error}") from error


def _fact(path, name, array):
    kinds = "U" if name in _TEXTS else "iu" if name in _INTEGERS else "iuf"
    what = {"U": "text", "iu": "an integer", "iuf": "a number"}[kinds]
    value = array.item() if array.shape == () else None
    is_good = array.shape == () and array.dtype.kind in kinds and value == value
    if is_good and name in _TEXTS:
        is_good = bool(value.strip())
    elif is_good and name != "seed":
        is_good = 0 < value < float("inf")
    if not is_good:
        raise ValueError(
            f"'{path}': `{name}` must be {what}{'' if kinds == 'U' else ' above 0'}. "
            f"Received: {name}={array.tolist()!r} of type {array.dtype}"
        )
    return value


def rows(
    paths: Iterable[str | os.PathLike], decide: Sequence[str] = DECISIONS
) -> list[dict]:
    """Returns rows of all files, as `training.evaluation.evaluate.rows` has them.

    Args:
        paths: The files, of one or several models.
        decide: Names of decisions that are fitted to validation sets; see
            `zoo.conformal.named`.

    Returns:
        The rows, each with the `file` that it is of. What the file does not say is
        not there.

    Raises:
        ValueError: If a file is no such one, or nothing is known to detect a data set
            out of distribution against.
    """
    models = {}
    for path in paths:
        file = read(path)
        models.setdefault(file.facts["model"], []).append(file)
    return [row for files in models.values() for row in _of_model(files, decide)]


def _of_model(files, decide):
    """Yields the rows of one model: validation sets are read first, others last."""
    fitted, inside = [], []  # Files, their predictions, and what was fitted to these.
    for file in sorted(files, key=_order):
        stored = file.load()
        passes = stored.meta["sizes"][-1]
        if dataset_name.without_part(file.name) != file.name:
            fitted.append((file, stored, _fit(decide, stored)))
        elif file.is_labeled:
            name = dataset_name.parse(file.name)
            own = evaluate.rows(stored)
            alike = (
                found
                for other, theirs, found in fitted
                if dataset_name.without_part(other.name) == str(name.clean)
                and _are_together(file, stored, other, theirs)
            )
            own += decisions.rows(own, next(alike, {}), stored)
            if name.kind == "clean":
                inside.append((file, stored))
            yield from (_with_facts(row, passes, file) for row in own)
        else:
            first, theirs = _inside(file, stored, inside)
            for row in ood.rows(theirs, stored):
                yield _with_facts(row, passes, file, first)


def _order(file):
    is_part = dataset_name.without_part(file.name) != file.name
    return not is_part, not file.is_labeled


def _are_together(file, stored, other, theirs) -> bool:
    """Returns whether two files have passes of one kind, and no different seeds."""
    seeds = {one.facts["seed"] for one in (file, other) if "seed" in one.facts}
    return stored.meta["sizes"] == theirs.meta["sizes"] and len(seeds) < 2


def _fit(decide, stored):
    found = {}
    for name in decide:
        conformal.named(name)  # Another name is an error.
        try:
            found[name] = decisions.fit(name, stored, stored.meta["sizes"])
        except ValueError as error:  # Too few images to promise anything.
            which = stored.meta["model"], stored.meta["dataset"]
            logging.warning("No %s of %s by %s: %s", name, *which, error)
    return found


def _inside(file, stored, inside):
    """Returns the file and predictions that one is detected against."""
    wanted = file.facts.get("inside")
    found = [
        (other, theirs)
        for other, theirs in inside
        if wanted in (None, other.name) and _are_together(file, stored, other, theirs)
    ]
    if len(found) != 1:
        passes = stored.meta["sizes"][-1]
        known = ", ".join(f"'{other.path}'" for other, _ in found or inside)
        raise ValueError(
            f"'{file.path}' has no labels, so it is of images out of distribution, and "
            f"needs one clean data set of '{file.facts['model']}' with labels, "
            f"{passes} passes and the same seed to be detected against; `inside` "
            f"names it. Received: inside={wanted}, and there are: {known or 'none'}"
        )
    return found[0]


def _with_facts(row, passes, *files):
    """Returns a row with what its files say, and without what they do not."""
    known = files[0].facts
    facts = {name: known[name] for name in FACTS if name in known}
    for cost in ("latency_ms", "multiply_adds"):
        if cost in facts:  # Of all passes.
            facts[cost] *= row["num_samples"] / passes
    row = {**row, **facts, "file": str(files[0].path)}
    for field in ("seed", "seconds", "data"):
        if any(field not in file.facts for file in files):
            row.pop(field, None)
    return row
