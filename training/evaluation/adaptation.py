"""The labeled images that posteriors adapt to, and a warning where they are known."""

import dataclasses
import functools
import os
from collections.abc import Mapping

import numpy as np

from training import data
from training.data import ImageData
from training.evaluation import seen
from training.evaluation.evaluate import check_dataset
from training.evaluation.sampling import Passes
from training.progress import track
from zoo import dataset_name
from zoo.conformal import Decision
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
        chosen: `"validation"` for its validation set; `"train"` for all of its training
            images, and a number for that many of them; or the name of another data set,
            whose test images these are then, or all of a folder that is not divided.
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
    if chosen != "train" and not str(chosen).isdecimal():
        split = "all" if data.is_undivided(chosen) else "test"
        return load(chosen, split), split
    train = load(dataset, "train")
    count = len(train) if chosen == "train" else int(chosen)
    if not 0 < count <= len(train):
        raise ValueError(
            f"Data set '{dataset}' has {len(train)} training images that a posterior "
            f"can adapt to. Received: calibrate={count}"
        )
    index = np.arange(count) * len(train) // count  # Evenly spread, as some are sorted.
    pixels, labels = train.images[index], train.labels[index]
    name = dataset_name.part(train.name, count)
    return dataclasses.replace(train, name=name, images=pixels, labels=labels), "train"


def halves(dataset: ImageData) -> tuple[ImageData, ImageData]:
    """Returns every second image of a set, and the others.

    A decision that adapts to the same images as a posterior promises too much, as that
    knows them.

    Args:
        dataset: Labeled images.
    """
    return tuple(
        dataclasses.replace(
            dataset,
            name=f"{dataset.name}/{first + 1}_of_2",
            images=dataset.images[first::2],
            labels=dataset.labels[first::2],
        )
        for first in (0, 1)
    )


def adapt(
    posterior: Posterior,
    name: str,
    weights: str | os.PathLike | None,
    dataset: str,
    chosen: str = "validation",
    data_dir: str | None = None,
    batch_size: int = 100,
    decision: Decision | None = None,
) -> ImageData:
    """Adapts a posterior to the splits that it needs, and returns the images.

    Warns if its weights know the images that they should not. What was adapted before
    stays.

    Args:
        posterior: The posterior.
        name: Name of its model, or a URL; several ones may be joined by `+`.
        weights: Path of the weights, for each of them; or None.
        dataset: Name of a data set.
        chosen: What to take for the validation set, as `images` has it.
        data_dir: Folder of the files, as `training.data.load` takes it.
        batch_size: Images per step.
        decision: It adapts to the mean predictions of the posterior for the validation
            set; if both do, to a half of it each.

    Returns:
        The images of the first split.
    """
    size = posterior.image_shape[:2]
    where, given = (data_dir, None if None in size else size), {}
    splits = () if posterior.is_adapted else posterior.adapts_to
    of_decision = () if decision is None else ("validation",)
    for split in dict.fromkeys((*splits, *of_decision)):
        wanted = chosen if split == "validation" else split
        given[split], of = images(dataset, wanted, *where)
        if split == "validation":
            path = os.fspath(weights) if weights else None
            seen.warn(name, path, given[split], of)
    found, to_decide = next(iter(given.values())), given.get("validation")
    if of_decision and "validation" in splits:
        given["validation"], to_decide = halves(to_decide)
    if splits:
        fit(posterior, given, batch_size)
    if decision is not None:
        passes = Passes(posterior, [posterior.num_samples], batch_size=batch_size)
        matched = check_dataset(passes, to_decide)
        batches = [values["probs"][0] for _, values in passes.batches(matched.images)]
        decision.adapt(np.concatenate(batches), matched.labels)
    return found


def fit(
    posterior: Posterior,
    given: Mapping[str, object],
    batch_size: int = 100,
    seed: int = 0,
    name: str | None = None,
):
    """Adapts a posterior to labeled images by split, and shows how far it is.

    Args:
        posterior: The posterior.
        given: By split, a data set or None.
        batch_size: Images per step.
        seed: Seed of the samples.
        name: How it is called there, if not by the name of the layer.

    Raises:
        ValueError: If a split is not there.
    """
    name = name or posterior.name
    found = [given.get(split) for split in posterior.adapts_to]
    for split, dataset in zip(posterior.adapts_to, found, strict=True):
        if dataset is None:
            raise ValueError(
                f"The posterior '{name}' has not learned yet what it needs to know; "
                f"give {split} images for that. Received: {split}=None"
            )
    with track(f"Adapting {name}", 0) as progress:
        main, *others = (_counted(dataset, progress) for dataset in found)
        validation = dict(zip(("validation",), others, strict=False))
        posterior.adapt(main, batch_size=batch_size, seed=seed, **validation)


def _counted(dataset, progress):
    """Returns a data set that tells a progress which of its images are taken."""
    if not isinstance(dataset, ImageData):
        return dataset
    return dataclasses.replace(dataset, images=_Counted(dataset.images, progress))


class _Counted:
    def __init__(self, images, progress):
        self._images, self._progress = images, progress
        self.shape = images.shape

    def __len__(self):
        return len(self._images)

    def __getitem__(self, rows):
        if isinstance(rows, slice) and not rows.start:  # Maybe not for the first time.
            self._progress.expect(len(self))
        found = self._images[rows]
        self._progress(len(found))
        return found
