"""What an analysis has computed before it ends, in a folder that it may go on from."""

import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from training.analysis.base import Finding
from training.data import ImageData, fingerprint
from training.differences import differences
from zoo.storage import files, remote

_IDENTITY = "identity.json"


class Kept:
    """Keeps the parts of a finding, each as soon as it is there.

    Args:
        folder: Where files lie, which is made if it is not there; None keeps nothing.
        models: The models that the parts are of.
        dataset: The `training.data.ImageData` that they are of.
        **settings: What else they are of, anything that JSON takes.

    Raises:
        ValueError: If the folder has parts of something else.
    """

    def __init__(
        self,
        folder: str | os.PathLike | None,
        models: Sequence[keras.Model],
        dataset: ImageData,
        **settings,
    ):
        self.folder = None if folder is None else pathlib.Path(folder)
        if self.folder is None:
            return
        remote.fetch(self.folder)
        path = self.folder / _IDENTITY
        identity = {
            "models": [of_weights(model) for model in models],
            "data": fingerprint.of_data(dataset),
            **json.loads(json.dumps(settings)),
        }
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            if odd := differences(before, identity):
                raise ValueError(
                    f"'{self.folder}' has parts of another analysis: {odd}. Take "
                    "another folder, or the same settings, models and images."
                )
            return
        with files.replacing(path) as temporary:
            temporary.write_text(json.dumps(identity) + "\n", encoding="utf-8")

    def __call__(
        self, name: str, make: Callable[..., Finding], *args, **kwargs
    ) -> Finding:
        """Returns a part, which is computed if it is not kept yet.

        Args:
            name: Its name, for a file.
            make: Computes it.
            *args: What that takes.
            **kwargs: Likewise.

        Raises:
            ValueError: If the file is damaged.
        """
        if self.folder is None:
            return make(*args, **kwargs)
        path = self._place(name)
        if path.exists():
            return _read(path)
        found = make(*args, **kwargs)
        with files.replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, rows=np.array(json.dumps(found.rows)), **found.arrays)
        return found

    def has(self, name: str) -> bool:
        """Returns whether a part is kept."""
        return self.folder is not None and self._place(name).exists()

    def drop(self, name: str):
        """Deletes a part that is needed no more, if it is kept."""
        if self.has(name):
            remote.remove(self._place(name))
            self._place(name).unlink()

    def _place(self, name):
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


def of_weights(model) -> str:
    """Returns what changes when the weights of a model do.

    Args:
        model: A Keras model.
    """
    digest = hashlib.sha256()
    for variable in model.variables:
        value = ops.convert_to_numpy(variable)
        digest.update(f"{variable.path} {value.shape} {value.dtype}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
