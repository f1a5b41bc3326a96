"""Which images weights were trained on, before something is fitted to images."""

import json
import pathlib
import re
import warnings
from collections.abc import Mapping

from training.data.image_data import ImageData
from training.evaluation import external_models
from zoo import dataset_name
from zoo.presets import index
from zoo.presets.provenance import seen_images
from zoo.publishing import training_record
from zoo.storage import urls


def warn(name: str, weights: str | None, data: ImageData, split: str):
    """Warns if weights were trained on the images that something is fitted to.

    Args:
        name: Of the model, or a URL; several ones may be joined by `+`.
        weights: As `zoo.load` takes it, for each of them; or None.
        data: The images; its name may end in `_validation` or `_train/...`.
        split: Which ones of their data set: `"train"`, `"validation"` or another.
    """
    of_names = weights.split("+") if weights else [None]
    names = name.split("+")
    count = max(len(names), len(of_names))
    names, of_names = (x * (count if len(x) == 1 else 1) for x in (names, of_names))
    for own, path in zip(names, of_names, strict=False):
        trained = None if external_models.is_external(own) else _trained_on(own, path)
        if trained is None:
            continue
        base, seen = trained
        own_base = re.sub(r"_(validation|train/\d+)$", "", data.name)
        same = dataset_name.base_dataset(own_base) == base
        held_out = seen.get("held_out", 0) >= data.held_out > 0
        if same and split != "test" and not (split == "validation" and held_out):
            warnings.warn(
                f"'{own}' {seen_images(seen)}. What is fitted to the {split} images of "
                f"'{data.name}' is fitted to what the weights know already: a "
                "temperature comes out too low. Fit it to images that they have not "
                "seen.",
                stacklevel=2,
            )


def _trained_on(name, weights) -> tuple[str, Mapping[str, int]] | None:
    """Returns the data set of a training and what it saw of it, if that is known."""
    folder = weights or (name if urls.is_url(name) else None)
    if folder is None:
        try:
            preset = index.find(name)
        except ValueError:
            return None
    elif urls.is_url(folder) or (pathlib.Path(folder) / index.PRESET_FILE).is_file():
        preset = index.read_published(folder)
    else:
        path = pathlib.Path(folder)
        record = (path if path.is_dir() else path.parent) / training_record.FILE
        if not record.is_file():
            return None
        found = json.loads(record.read_text(encoding="utf-8"))
        return dataset_name.base_dataset(found["dataset"]), found.get("seen") or {}
    return dataset_name.base_dataset(preset.data or ""), preset.seen
