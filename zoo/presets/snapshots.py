"""Weights at several times of a training, which lie beside those at its end."""

import os
import pathlib
from collections.abc import Iterator

import keras

from zoo.presets import weight_file
from zoo.storage import remote

FOLDER = "snapshots"


def path_of(folder: str | os.PathLike, epoch: int) -> pathlib.Path:
    """Returns where the weights after an epoch lie in the folder of a training."""
    return pathlib.Path(folder, FOLDER, f"epoch_{epoch:05d}.safetensors")


def path_of_draw(folder: str | os.PathLike, chain: int, draw: int) -> pathlib.Path:
    """Returns where a draw of a Markov chain lies in the folder of a sampling."""
    name = f"chain_{chain:02d}_draw_{draw:05d}.safetensors"
    return pathlib.Path(folder, FOLDER, name)


def models(
    model: keras.Model, weights: str | os.PathLike | None
) -> Iterator[keras.Model]:
    """Yields a model with the weights of each snapshot, always the same one.

    Args:
        model: A model of the same architecture, which stays as it is.
        weights: Path of the weights at the end, or of their folder; None for published
            ones, beside which there are no snapshots.

    Raises:
        FileNotFoundError: If there are no snapshots.
        ValueError: If one is damaged or of another model.
    """
    paths, where = [], f"of the training of the published '{model.name}'"
    if weights is not None:
        folder = pathlib.Path(weights)
        folder = (folder if folder.is_dir() else folder.parent) / FOLDER
        remote.fetch(folder)
        paths = sorted(folder.glob("*.safetensors"))
        where = f"in '{remote.shown(folder)}'"
    if not paths:
        raise FileNotFoundError(
            f"There are no snapshots {where}. Train with `--set=snapshots=20`, which "
            "keeps the weights after each of the last 20 epochs, and give the folder "
            "of the training; draw some by `zoo-sample`; or give some weights joined "
            "by `+`."
        )
    config = keras.saving.serialize_keras_object(model)
    copied = keras.saving.deserialize_keras_object(config)
    copied.set_weights(model.get_weights())
    for path in paths:
        weight_file.load_weights(copied, path)
        yield copied
