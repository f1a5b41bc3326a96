"""What a training leaves beside its weights, and what a preset takes from it."""

import json
import os
import pathlib
import re
from collections.abc import Mapping

from zoo import seeds

FILE = "recipe.json"
DATA_LICENSES = {
    "fashion_mnist": "mit",
    "imagenet-1k": "terms of access of image-net.org, for research alone",
}


def read(path: str | os.PathLike) -> dict:
    """Returns what a training wrote beside its weights.

    Args:
        path: Of the weights or of their folder.

    Raises:
        FileNotFoundError: If there is no record.
        ValueError: If it lacks a field.
    """
    path = pathlib.Path(path)
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


def base_dataset(name: str) -> str:
    """Returns the name of the data set that another one is made of by its name.

    Example:

    >>> base_dataset("fashion_mnist_size/64")
    'fashion_mnist'
    """
    return re.sub(r"_(c|rotation|translation|p|size)/.*", "", name)


def default_name(stem: str, record: Mapping) -> str:
    """Returns the name of the weights of a training: the tag is data set and seed."""
    tag = re.sub(r"\W", "_", base_dataset(record["dataset"]))
    return seeds.join(f"{stem}.{tag}", record["seed"])


def describe(
    record: Mapping, license: str, data_license: str | None
) -> dict[str, object]:
    """Returns the fields of a preset that a record gives.

    Args:
        record: As `read` returns it.
        license: Of the weights.
        data_license: Of the training data; known for some.

    Raises:
        ValueError: If the licence of the data is not known.
    """
    base = base_dataset(record["dataset"])
    data_license = data_license or DATA_LICENSES.get(base)
    if data_license is None:
        raise ValueError(
            f"The licence of the data set '{record['dataset']}' is not known here; "
            "give `data_license`. Received: data_license=None"
        )
    # Where folders lay on that machine is nobody's business.
    command = re.sub(
        r"(--workdir[= ])\S*?([^/\s]+)/?(?=\s|$)", r"\1runs/\2", record["command"]
    )
    command = re.sub(r"(?<=[= ])/\S*/(?=[^/\s])", "", command)
    return {
        "classes": tuple(record["classes"]),
        "license": license,
        "data": record["dataset"],
        "data_license": data_license,
        "recipe": record["recipe"],
        "settings": record["settings"],
        "origin": record.get("origin") or {},
        "seen": record.get("seen") or {},
        "epochs": record["settings"].get("epochs"),
        "seed": record["seed"],
        "command": command,
        "commit": record["commit"],
        "versions": record.get("versions", {}),
    }
