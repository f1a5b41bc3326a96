"""Which images weights were trained on, before they are tested or fitted on any."""

import dataclasses
import json
import pathlib
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from absl import logging

from training.corruptions.table import OTHER_ORDER
from training.data import identities
from training.data.image_data import ChosenImages, ImageData
from training.evaluation import external_models
from zoo import dataset_name, finding
from zoo.presets import index, training_images
from zoo.presets.provenance import seen_images
from zoo.publishing import training_record
from zoo.registry import parse, split_posterior
from zoo.storage import files, urls

_SHOWN = 3  # Maximal number of file names in a line.


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a training saw, as far as it is recorded.

    Attributes:
        name: Name of the model.
        base: The data set.
        seen: How many of it; see `zoo.presets.Preset`.
        images: Sorted hashes of these images, or None.
        image_shape: Height, width and channels of them, if that is known: images of
            another shape have other hashes.
    """

    name: str
    base: str
    seen: Mapping[str, object]
    images: np.ndarray | None = None
    image_shape: tuple[int, ...] | None = None

    def has(self, images) -> np.ndarray | None:
        """Returns which images the training saw, or None if that cannot be told."""
        if self.images is None or tuple(images.shape[1:]) != self.image_shape:
            return None
        return np.isin(identities.of_pixels(images), self.images)


def find(name: str, weights: str | None = None) -> list[Trained]:
    """Returns the trainings of a model, or of the members of an ensemble.

    Args:
        name: Name of the model, or a URL; several ones may be joined by `+`.
        weights: Path or URL of the weights, for each of them; or None.

    Returns:
        Those of which there is a record.
    """
    pairs = finding.members(split_posterior(name)[0], weights)
    found = (
        _find(own, path) for own, path in pairs if not external_models.is_external(own)
    )
    return [trained for trained in found if trained]


def _find(name, weights) -> Trained | None:
    folder = weights or (name if urls.is_url(name) else None)
    if folder is None:
        try:
            preset = finding.choose(parse(name))
        except ValueError:
            return None
    else:
        preset, path = finding.resolve(folder)
        if preset is None:
            return _of_training(name, path)
    base = dataset_name.base_dataset(preset.data or "")
    images = training_images.of_preset(preset, index.FOLDER, folder)
    return Trained(name, base, preset.seen, images, tuple(preset.input_shape))


def _of_training(name, path) -> Trained | None:
    record = (path if path.is_dir() else path.parent) / training_record.FILE
    if not record.is_file():
        return None
    found = json.loads(record.read_text(encoding="utf-8"))
    base = dataset_name.base_dataset(found["dataset"])
    shape = tuple(found.get("input_shape") or ())
    images = training_images.beside(path)
    return Trained(name, base, found.get("seen") or {}, images, shape)


def warn(name: str, weights: str | None, data: ImageData, split: str):
    """Warns if weights were trained on the images that something is fitted to.

    Where a training recorded its images, these count, in any order and under any name.
    Else the name of the data set and the number of images that were held out decide.

    Args:
        name: Name of the model, or a URL; several ones may be joined by `+`.
        weights: Path or URL of the weights, for each of them; or None.
        data: The images; its name may be that of a `zoo.dataset_name.part`.
        split: Which ones of their data set: `"train"`, `"validation"` or another.
    """
    for trained in find(name, weights):
        known = trained.has(data.images)
        if known is not None:
            text = f"'{trained.name}' was trained on {known.sum():,} of these images"
        else:
            text = f"'{trained.name}' {seen_images(trained.seen)}"
        if _knows(trained, data, split) if known is None else known.any():
            warnings.warn(
                f"{text}. What is fitted to the {split} images of '{data.name}' is "
                "fitted to what the weights know already, and comes out too sure. Fit "
                "it to images that they have not seen.",
                stacklevel=2,
            )


def _knows(trained, data, split) -> bool:
    """Returns whether a training saw images of a split, by the name of the set."""
    base = dataset_name.base_dataset(dataset_name.without_part(data.name))
    held_out = trained.seen.get("held_out", 0) >= data.held_out > 0
    is_fresh = split == "test" or (split == "validation" and held_out)
    return base == trained.base and not is_fresh


class Leaks:
    """Finds images of data sets that models of an evaluation were trained on.

    Args:
        names: Names of the models, as `find` takes them.
        weights: A path or nothing for each of them.
    """

    def __init__(self, names: Sequence[str], weights: Sequence[str | None] = ()):
        weights = weights or [None] * len(names)
        found = [t for pair in zip(names, weights, strict=False) for t in find(*pair)]
        self._trained = [trained for trained in found if trained.images is not None]
        self._known = {}  # By what data sets are called, and where they come from.
        self.rows = []  # What was found, an image each.

    def of(self, data: ImageData) -> np.ndarray:
        """Returns which images some model was trained on, and says how many.

        Args:
            data: Whole images, not corrupted ones, which no training saw. Those of
                another shape than in a training cannot be compared with it.

        Returns:
            Boolean array of shape `(images,)`.
        """
        key = data.name, data.source, len(data)
        if key not in self._known:
            found = np.zeros(len(data), bool)
            for trained in self._trained:
                own = trained.has(data.images)
                if own is not None and own.any():
                    logging.warning("%s", self._say(trained.name, data, own))
                    found |= own
            self._known[key] = found
        return self._known[key]

    def _say(self, name, data, own) -> str:
        places = np.flatnonzero(own).tolist()
        paths = getattr(data.images, "paths", None)
        names = [str(paths[place]) for place in places] if paths else []
        self.rows += [
            {"model": name, "dataset": data.name, "image": place}
            | ({"file": names[i]} if names else {})
            for i, place in enumerate(places)
        ]
        some = f": {', '.join(names[:_SHOWN])}" if names else ""
        some += ", ..." if len(names) > _SHOWN else ""
        return (
            f"Of the {len(own):,} images of '{data.name}', {len(places):,} were in the "
            f"training of '{name}'{some}"
        )

    def write(self, folder: pathlib.Path) -> list[pathlib.Path]:
        """Writes `seen.jsonl`, a line for each image that a training saw.

        Args:
            folder: Folder of the evaluation.

        Returns:
            Its path, if there are such images.
        """
        if not self.rows:
            return []
        lines = "".join(json.dumps(row) + "\n" for row in self.rows)
        with files.replacing(folder / "seen.jsonl") as temporary:
            temporary.write_text(lines, encoding="utf-8")
        return [folder / "seen.jsonl"]

    def checked(self, data: ImageData, exclude: bool) -> ImageData:
        """Says how many images some model was trained on; may leave them out.

        Args:
            data: Whole images, as `of` takes them.
            exclude: Whether to leave them out.
        """
        self.of(data)
        return self.without(data, data) if exclude else data

    def without(self, data: ImageData, clean: ImageData) -> ImageData:
        """Leaves out the images that a model was trained on.

        Args:
            data: Made of the clean images, one of each or several frames, in order.
            clean: These images.

        Raises:
            ValueError: If the images are in another order than the clean ones.
        """
        seen = self.of(clean)
        if not seen.any():
            return data
        if OTHER_ORDER in data.source or len(seen) * data.frames != len(data):
            raise ValueError(
                f"The images of '{data.name}' are not those of '{clean.name}' one by "
                "one, so those that a training saw cannot be left out of them; "
                "evaluate them without `exclude_seen`."
            )
        places = np.flatnonzero(np.repeat(~seen, data.frames))
        is_array = isinstance(data.images, np.ndarray)
        images = data.images[places] if is_array else ChosenImages(data.images, places)
        return dataclasses.replace(
            data, images=images, labels=data.labels[places], excluded=int(seen.sum())
        )
