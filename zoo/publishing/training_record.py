"""What a training leaves beside its weights, and what a preset takes from it."""

import json
import os
import pathlib
import re
from collections.abc import Mapping

from zoo import registry
from zoo.dataset_name import base_dataset
from zoo.presets import index
from zoo.storage import urls

FILE = "recipe.json"
DATA_LICENSES = {
    "fashion_mnist": "mit",
    "imagenet-1k": "terms of access of image-net.org, for research alone",
}

# SHA-256 of test images and labels, as `training.data.fingerprint.of_data` has it:
# these are the data set wherever they lie.
CONTENTS = {
    "fashion_mnist": "dc16cbf60e4bb2de6064890ecb51658c82f647bb7c7c547aed328b59d897ea30"
}


def read(path: str | os.PathLike) -> dict:
    """Returns what a training wrote beside its weights.

    Args:
        path: Path of the weights or of their folder.

    Raises:
        FileNotFoundError: If there is no record, or nothing at the path.
        ValueError: If it lacks a field.
    """
    if urls.is_url(path):
        raise FileNotFoundError(
            "What is published is read from local paths; copy the folder of the "
            f"training. Received: {path}"
        )
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no file or folder '{path}' of a training.")
    path = (path if path.is_dir() else path.parent) / FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no '{path}', which `zoo-train` writes beside the weights."
        )
    record = json.loads(path.read_text(encoding="utf-8"))
    needed = "model", "dataset", "recipe", "settings", "seed", "command", "commit"
    for field in (*needed, "classes"):
        if field not in record:
            raise ValueError(f"The record '{path}' has no field '{field}'.")
    return record


def classes_beside(weights: str | os.PathLike) -> tuple[str, ...]:
    """Returns the names of classes in the record beside weights of `zoo-train`.

    Args:
        weights: Path of the file.

    Returns:
        The names; empty if there is no record, or the file is another one.
    """
    path = pathlib.Path(weights)
    record = path.parent / FILE
    if path.name != index.WEIGHTS_FILE or not record.is_file():
        return ()
    return tuple(json.loads(record.read_text(encoding="utf-8")).get("classes", ()))


def is_of_folder(record: Mapping) -> bool:
    """Returns whether a training was of files of the user, whatever they are called."""
    data = record.get("data") or {}
    known = CONTENTS.get(record["dataset"])
    is_known = known is not None and data.get("test") == known
    return bool(data.get("path") or data.get("data_dir")) and not is_known


def default_name(stem: str, record: Mapping) -> str:
    """Returns the name of the weights of a training: the tag is data set and seed."""
    tag = re.sub(r"\W", "_", base_dataset(record["dataset"]))
    return registry.join_seed(f"{stem}.{tag}", record["seed"])


def describe(
    record: Mapping, license: str, data_license: str | None
) -> dict[str, object]:
    """Returns the fields of a preset that a record gives.

    Args:
        record: Record of a training, from `read`.
        license: License of the weights.
        data_license: License of the training data; known for some.

    Raises:
        ValueError: If the license of the data is not known.
    """
    own = is_of_folder(record)
    if data_license is None and not own:
        data_license = DATA_LICENSES.get(base_dataset(record["dataset"]))
    if data_license is None:
        kind = "images in the folder" if own else "data set"
        raise ValueError(
            f"The license of the {kind} '{record['dataset']}' is not known here; "
            "give `data_license`. Received: data_license=None"
        )
    # Paths of this machine are removed.
    command = re.sub(
        r"(--workdir[= ])\S*?([^/\s]+)/?(?=\s|$)", r"\1runs/\2", record["command"]
    )
    command = re.sub(r"(?<=[= ])/\S*/(?=[^/\s])", "", command)
    return {
        "classes": tuple(record["classes"]),
        "license": license,
        "data": record["dataset"],
        "data_is_own": own,
        "data_license": data_license,
        "recipe": record["recipe"],
        "settings": record["settings"],
        "initial_weights": record.get("initial_weights") or {},
        "seen": record.get("seen") or {},
        "overlaps": tuple(record.get("overlaps") or ()),
        "epochs": record["settings"].get("epochs"),
        "seed": record["seed"],
        "command": command,
        "commit": record["commit"],
        "versions": record.get("versions", {}),
    }
