"""Data sets in another size by name: `fashion_mnist_size/64`."""

import dataclasses
from collections.abc import Callable

from training import names
from training.images import ImageData
from training.ood import adapt


def load(name: str, split: str, data_dir: str | None, clean: Callable) -> ImageData:
    """Loads a data set whose images are resized when they are indexed.

    By the rule of `training.data.adapt`, to a square. A network whose stem subsamples
    sees small images so.

    Args:
        name: `<data set>_size/<pixels>`.
        split: See `training.data.load`, as for `data_dir`, both of the clean images.
        data_dir: See above.
        clean: Loads the data set as it is.

    Returns:
        The resized images with the same labels.

    Raises:
        ValueError: If the size is none.
    """
    _, kind, rest = names.split(name)
    side = names.KINDS[kind](rest)
    data = clean()
    resized = adapt(data, (side, side, data.input_shape[2]))
    return dataclasses.replace(
        resized, name=f"{data.name}_{kind}/{rest}", source=f"{data.source}, resized"
    )
