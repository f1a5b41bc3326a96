"""Trainings in which few images have labels: which ones, and their batches."""

import keras
import numpy as np

from layers import compilation, random
from training import batches
from training.data import ImageData
from zoo import arrays


def split(data: ImageData, recipe, replicas: int = 1):
    """Returns the training images that keep their labels, and all of them without.

    The first are `recipe.labels` images, drawn with `recipe.labels_seed` class by
    class, so that each class has its share; a smaller part with the same seed is a part
    of a larger one. The labels of the others are not looked at, but for their counts.
    As in the published semi-supervised trainings, the images without labels are all
    training images, those that have one too.

    Args:
        data: The training set.
        recipe: A `training.recipes.base.Recipe`.
        replicas: How many devices share a batch.

    Returns:
        Two data sets; the training set and None if all images keep their labels.

    Raises:
        ValueError: If there are fewer images than labels, a class has no labeled image,
            there is no whole batch or, on JAX, devices cannot share it evenly.
    """
    count = recipe.labels
    if not count:
        return data, None
    if count > len(data):
        raise ValueError(
            "`labels` is how many training images keep their label, and there are "
            f"{len(data)} in data set '{data.name}'; with labels=0 all of them do. "
            f"Received: labels={count}"
        )
    labeled = data.sample(count, recipe.labels_seed)
    _check_classes(data, labeled, count)
    _check_sizes(recipe, len(data), replicas)
    return labeled, data


def _check_sizes(recipe, count, replicas):
    """Checks that there is a whole batch of each kind, which devices can share."""
    sizes = {
        "batch_size": (recipe.batch_size, recipe.labels, "with labels"),
        "unlabeled_batch_size": (recipe.unlabeled_batch_size, count, "for training"),
    }
    for name, (size, there, kind) in sizes.items():
        if size > there:
            raise ValueError(
                f"`{name}` is larger than the number of images {kind}; "
                f"`--set={name}={max(there // 2, 1)}` would fit. Received: "
                f"{name}={size}, {there} images {kind}"
            )
        if keras.backend.backend() == "jax" and batches.uneven(size, replicas):
            raise ValueError(
                f"On JAX, `{name}` must be a multiple of the number of devices. "
                f"Received: {name}={size}, {replicas} devices"
            )


def _check_classes(data, labeled, count):
    """Checks that each class with images has one that keeps its label."""
    sets = data, labeled
    there, known = (np.setdiff1d(x.labels, [arrays.UNLABELED]) for x in sets)
    if not len(missing := np.setdiff1d(there, known)):
        return
    names = [data.classes[label] for label in missing[:5]]
    some = ", ..." if len(missing) > 5 else ""
    raise ValueError(
        f"Of the {len(there)} classes of data set '{data.name}', {len(missing)} "
        f"({', '.join(names)}{some}) would have no labeled image, and nothing could "
        f"tell what they are; labels={len(there)} is the least with one for each. "
        f"Received: labels={count}"
    )


def steps_per_epoch(labeled: ImageData, unlabeled: ImageData | None, recipe) -> int:
    """Returns the number of steps of an epoch: of a pass over all training images.

    Args:
        labeled: Images with labels, from `split`.
        unlabeled: All of them, from `split`, or None.
        recipe: A `training.recipes.base.Recipe`.
    """
    if unlabeled is None:
        return batches.steps_per_epoch(labeled, recipe.batch_size)
    return batches.steps_per_epoch(unlabeled, recipe.unlabeled_batch_size)


def train_batches(
    labeled: ImageData,
    batch_size: int,
    unlabeled: ImageData,
    unlabeled_batch_size: int,
    together: bool = True,
    seed: int = 0,
    epoch: int = 0,
    start: int = 0,
    **settings,
):
    """Returns the batches of an epoch, with images without labels beside the others.

    Labeled images come as often as there are steps for: each time all of them in
    another order, and augmented in another way.

    Args:
        labeled: Images with labels.
        batch_size: How many of them a batch has.
        unlabeled: Images whose labels are left out.
        unlabeled_batch_size: How many of these a batch has.
        together: Whether they are there at all; without them the steps are the same.
        seed: Seed of the order and the augmentation.
        epoch: The number of the epoch, from 0.
        start: The number of the first batch.
        **settings: Others of `training.batches.train_batches`.

    Returns:
        Like `training.batches.train_batches`, with the pair of both kinds of images in
        place of the images.
    """
    place = {"epoch": epoch, "start": start, **settings}
    steps = batches.steps_per_epoch(unlabeled, unlabeled_batch_size)
    known = batches.train_batches(labeled, batch_size, seed=seed, steps=steps, **place)
    if not together:
        return known
    other = int(keras.ops.convert_to_numpy(random.fold(seed, _UNLABELED)))
    others = batches.train_batches(unlabeled, unlabeled_batch_size, seed=other, **place)
    if keras.backend.backend() != "tensorflow":
        return (_beside(*pair) for pair in zip(known, others, strict=True))
    import tensorflow as tf

    beside = compilation.unconverted(_beside)
    return batches.made_ahead(tf.data.Dataset.zip(known, others).map(beside))


def _beside(batch, other):
    images, *labels_and_weights = batch
    return (images, other[0]), *labels_and_weights


_UNLABELED = 0x0DD5  # Makes another seed of that of a training.
