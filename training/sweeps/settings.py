"""The settings of a sweep and their values, as commands are given them."""

import json
import pathlib
from collections.abc import Sequence

SUMMARY_FILE = "sweep.jsonl"


def parse(texts: Sequence[str]) -> dict[str, list]:
    """Returns the values of each setting.

    Args:
        texts: Such as `"batch_size=32,64"`: a name and values between commas, in JSON;
            text needs no quotes.

    Raises:
        ValueError: If one has no value, or a name or a value comes twice.

    Example:

    >>> parse(["batch_size=32,64", "model=resnet20,resnet20_smooth"])
    {'batch_size': [32, 64], 'model': ['resnet20', 'resnet20_smooth']}
    """
    axes = {}
    for text in texts:
        name, _, values = text.partition("=")
        try:
            found = json.loads(f"[{values}]")
        except ValueError:
            found = [part.strip() for part in values.split(",")]
        if not name or not found or "" in found:
            raise ValueError(
                "A setting of a sweep has a name and values, such as "
                f"'batch_size=32,64'. Received: sweep={text}"
            )
        if name in axes or any(value in found[:i] for i, value in enumerate(found)):
            raise ValueError(
                "Each setting of a sweep, and each value of it, is given once. "
                f"Received: sweep={text}"
            )
        axes[name] = found
    return axes


def read(folder) -> list[dict]:
    """Returns the rows of a sweep.

    Args:
        folder: Its work folder.

    Raises:
        FileNotFoundError: If it is not one.
    """
    path = pathlib.Path(folder, SUMMARY_FILE)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no '{path}', which `zoo-train --sweep` writes when the first of "
            "its trainings has ended."
        )
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
