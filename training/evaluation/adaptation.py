"""The labeled images that posteriors adapt to, and a warning where they are known."""

import dataclasses
import functools
import os

import numpy as np

from training import data
from training.data import ImageData
from training.evaluation import seen
from zoo import dataset_name
from zoo.posterior import Posterior


def images(
    dataset: str,
    chosen: str = "validation",
    data_dir: str | None = None,
    image_size: tuple[int, int] | None = None,
) -> tuple[ImageData, str]:
    """Returns labeled images to adapt to, and of which split they are.

    Args:
        dataset: Name of a data set.
        chosen: `"validation"` for its validation set; a number, for that many of its
            training images; or the name of another data set, whose test images these
            are then, or all of a folder that is not divided.
        data_dir: Folder of the files, as `training.data.load` takes it.
        image_size: Height and width for images that have none of their own.

    Raises:
        ValueError: If there are fewer images than that number.
        FileNotFoundError: If the images are not on this machine.
    """
    load = functools.partial(data.load, data_dir=data_dir, image_size=image_size)
    if chosen == "validation":
        found = load(dataset, "validation")
        return dataclasses.replace(found, name=dataset_name.part(found.name)), chosen
    if not str(chosen).isdecimal():
        split = "all" if data.is_undivided(chosen) else "test"
        return load(chosen, split), split
    count, train = int(chosen), load(dataset, "train")
    if not 0 < count <= len(train):
        raise ValueError(
            f"Data set '{dataset}' has {len(train)} training images that a posterior "
            f"can adapt to. Received: calibrate={count}"
        )
    index = np.arange(count) * len(train) // count  # Evenly spread, as some are sorted.
    pixels, labels = train.images[index], train.labels[index]
    name = dataset_name.part(train.name, count)
    return dataclasses.replace(train, name=name, images=pixels, labels=labels), "train"


def adapt(
    posterior: Posterior,
    name: str,
    weights: str | os.PathLike | None,
    dataset: str,
    chosen: str = "validation",
    data_dir: str | None = None,
    batch_size: int = 100,
) -> ImageData:
    """Adapts a posterior, warns if its weights know the images, and returns these.

    Args:
        posterior: The posterior.
        name: Name of its model, or a URL; several ones may be joined by `+`.
        weights: Path of the weights, for each of them; or None.
        dataset: Name of a data set.
        chosen: Which images to take, as `images` has it.
        data_dir: Folder of the files, as `training.data.load` takes it.
        batch_size: Images per step.
    """
    size = posterior.image_shape[:2]
    found, split = images(dataset, chosen, data_dir, None if None in size else size)
    seen.warn(name, os.fspath(weights) if weights else None, found, split)
    posterior.adapt(found, batch_size=batch_size)
    return found
