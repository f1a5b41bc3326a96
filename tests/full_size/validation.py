"""The figures of a training, computed anew from its weights by one device."""

import json
import pathlib

import keras
import numpy as np

import zoo
from training import data

_CHUNK = 1000


def validate(path: str):
    """Computes NLL and accuracy of validation and test images for trainings.

    Args:
        path: Path of a JSON file with a list of folders of trainings; into each of
            them `validation.json` is written: the figures by the name of the split.
    """
    jobs = json.loads(pathlib.Path(path).read_text())
    if jobs["half"]:
        keras.config.set_dtype_policy("mixed_bfloat16")
    models, sets = {}, {}
    for folder in map(pathlib.Path, jobs["folders"]):
        record = json.loads((folder / "recipe.json").read_text())
        where = _dataset(record, folder), tuple(record["input_shape"][:2])
        if where not in sets:
            sets[where] = _load(*where, folder)
        key = record["model"], where
        if key not in models:
            models[key] = zoo.load(record["model"], weights=folder)
        zoo.presets.weight_file.load_weights(models[key], folder / "model.safetensors")
        result = {k: _measure(models[key], part) for k, part in sets[where].items()}
        (folder / "validation.json").write_text(json.dumps(result))


def _load(name, image_size, folder):
    """Returns the two sets by the prefix of their figures."""
    published = str(folder.parent / "inputs") if "cifar" in name else None
    return {
        prefix: data.load(name, split, published, image_size)
        for prefix, split in (("val", "validation"), ("test", "test"))
    }


def _dataset(record, folder):
    """Returns the name of the data set of a training; that of a folder is its path."""
    link = folder.parent / "images"
    is_folder = record["dataset"] in ("images", "photos")
    return str(link) if is_folder else record["dataset"]


def _measure(model, test):
    right = losses = 0.0
    for start in range(0, len(test), _CHUNK):
        logits = model.predict_on_batch(test.images[start : start + _CHUNK])
        logits = np.asarray(logits, "float64")
        labels = test.labels[start : start + _CHUNK]
        logits -= logits.max(axis=1, keepdims=True)
        own = np.take_along_axis(logits, labels[:, None], 1)[:, 0]
        losses += float((np.log(np.exp(logits).sum(axis=1)) - own).sum())
        right += float((logits.argmax(axis=1) == labels).sum())
    return {"nll": losses / len(test), "accuracy": right / len(test)}
