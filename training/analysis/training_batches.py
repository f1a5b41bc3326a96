"""Batches of a training set, augmented as a training sees them."""

import itertools
from collections.abc import Sequence

import numpy as np
from keras import ops

from layers import checks
from training import augment, batches


def read_augmentations(value: str | Sequence[str]) -> tuple[str, ...]:
    """Returns the names of augmentations.

    Args:
        value: Them, or one text that joins them by `+`; `"none"` for none.

    Raises:
        ValueError: If one is not known or has no such settings.

    Example:

    >>> read_augmentations("flip+crop4")
    ('flip', 'crop4')
    """
    if isinstance(value, str):
        value = () if value == "none" else value.split("+")
    names = tuple(value)
    augment.read_all(names)
    return names


def joined(names: Sequence[str]) -> str:
    """Returns names of augmentations in one text, for rows."""
    return "+".join(names) or "none"


class Epoch:
    """The batches of an epoch of a training, made when they are read.

    Args:
        dataset: A `training.data.ImageData`.
        batch_size: Images in a batch; a last smaller one is left out.
        augmentations: Names of augmentations.
        seed: Seed of the order and the augmentation.
        epoch: The number of the epoch, from 0.

    Raises:
        ValueError: If there are fewer images.
    """

    def __init__(
        self,
        dataset,
        batch_size: int,
        augmentations: Sequence[str] = (),
        seed: int = 0,
        epoch: int = 0,
    ):
        if augmentations and np.ndim(dataset.labels) > 1:
            raise ValueError(
                "Augmentations move pixels, and not their labels: with a label for "
                "each pixel take the images as they are. Received: augmentations="
                f"{list(augmentations)}, dataset={dataset.name}"
            )
        self._dataset = dataset
        self._order = batches.order_of(dataset, batch_size, seed, epoch)
        self._key = batches.key_of(seed, epoch)
        self._num_classes = len(dataset.classes)
        self._partners = np.roll(np.arange(batch_size), 1)
        self._prepare = batches.preparation(
            tuple(augmentations), ((),), self._num_classes
        )

    def __len__(self):
        return len(self._order)

    def __iter__(self):
        """Yields images, `(batch_size, height, width, channels)`, and targets.

        These are float32 probabilities of the classes, `(batch_size, num_classes)`.
        """
        for index in self._order:
            images, labels, numbers = batches.take(self._dataset, index)
            found = self._prepare(self._key, images, labels, numbers, self._partners)
            images, labels = map(ops.convert_to_numpy, found)
            if not np.issubdtype(labels.dtype, np.floating):
                labels = np.eye(self._num_classes, dtype="float32")[labels]
            yield images, labels


def augmented(
    dataset,
    batch_size: int,
    augmentations: Sequence[str] = (),
    num_batches: int | None = None,
    seed: int = 0,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the first batches of the first epoch of a training.

    Args:
        dataset: A `training.data.ImageData`.
        batch_size: Images in a batch; a last smaller one is left out.
        augmentations: Names of augmentations.
        num_batches: How many; None for all that there are.
        seed: Seed of the order and the augmentation.

    Returns:
        What an `Epoch` yields.

    Raises:
        ValueError: If there are fewer images.
    """
    epoch = Epoch(dataset, batch_size, augmentations, seed)
    count = len(epoch) if num_batches is None else num_batches
    if checks.check_count(count, "num_batches") > len(epoch):
        raise ValueError(
            f"The data set '{dataset.name}' has too few images for so many batches. "
            f"Received: {len(dataset)} images, batch_size={batch_size}, "
            f"num_batches={num_batches}"
        )
    return list(itertools.islice(epoch, count))
