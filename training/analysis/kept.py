"""What an analysis has computed before it ends, in a folder that it may go on from."""

import json
import os
import pathlib
from collections.abc import Callable

import numpy as np

from training.analysis.base import Finding
from zoo.storage import files


class Kept:
    """Keeps the parts of a finding, each as soon as it is there.

    Args:
        folder: Where files lie, which is made if it is not there; None keeps nothing.
    """

    def __init__(self, folder: str | os.PathLike | None):
        self.folder = None if folder is None else pathlib.Path(folder)

    def __call__(self, name: str, make: Callable[[], Finding]) -> Finding:
        """Returns a part, which is computed if it is not kept yet.

        Args:
            name: Its name, for a file.
            make: Computes it.

        Raises:
            ValueError: If the file is damaged.
        """
        if self.folder is None:
            return make()
        path = self._path(name)
        if path.exists():
            return _read(path)
        found = make()
        self.folder.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, rows=np.array(json.dumps(found.rows)), **found.arrays)
        return found

    def has(self, name: str) -> bool:
        """Returns whether a part is kept."""
        return self.folder is not None and self._path(name).exists()

    def drop(self, name: str):
        """Deletes a part that is needed no more, if it is kept."""
        if self.has(name):
            self._path(name).unlink()

    def _path(self, name):
        return self.folder / f"{name}.npz"


def _read(path):
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
            return Finding(json.loads(str(arrays.pop("rows"))), arrays)
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise ValueError(
            f"'{path}' is damaged ({error}). Delete it to compute it anew."
        ) from error
