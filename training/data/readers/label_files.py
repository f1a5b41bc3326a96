"""The names of classes that travel with exported files, one in each line.

A SavedModel has them in `assets.extra/labels.txt`. A LiteRT file ends with an archive
that holds `labels.txt`, as its format has it for files that belong to a model: it opens
as a zip file, and interpreters do not see what is behind the model.

Reference: https://www.tensorflow.org/lite/models/convert/metadata
"""

import os
import pathlib
import zipfile
from collections.abc import Sequence

FILE = "labels.txt"
BESIDE = f"assets.extra/{FILE}"  # In the folder of a SavedModel.


def write(folder: str | os.PathLike, classes: Sequence[str]):
    """Writes the names into the folder of a SavedModel; without names, nothing."""
    if classes:
        path = pathlib.Path(folder, BESIDE)
        path.parent.mkdir(exist_ok=True)
        path.write_text(_lines(classes), encoding="utf-8")


def read(folder: str | os.PathLike) -> tuple[str, ...]:
    """Returns the names in the folder of a SavedModel; empty if there are none."""
    path = pathlib.Path(folder, BESIDE)
    return names_in(path) if path.is_file() else ()


def names_in(path: str | os.PathLike) -> tuple[str, ...]:
    """Returns the names in a text file, one in each line; blank lines are skipped."""
    text = pathlib.Path(path).read_text(encoding="utf-8")
    return tuple(line.strip() for line in text.split("\n") if line.strip())


def given(names: Sequence[str]) -> tuple[str, ...]:
    """Returns names of classes, those in a file if it is the path of one."""
    if len(names) == 1 and pathlib.Path(names[0]).is_file():
        return names_in(names[0])
    return tuple(names)


def attach(path: str | os.PathLike, classes: Sequence[str]):
    """Puts the names behind the model in a LiteRT file; without names, nothing."""
    if classes:
        with zipfile.ZipFile(path, "a") as archive:
            # Without the time of day, so that equal models are equal files.
            archive.writestr(zipfile.ZipInfo(FILE), _lines(classes))


def _lines(classes):
    return "".join(f"{name}\n" for name in classes)
