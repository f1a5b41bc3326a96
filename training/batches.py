"""Batches: the data order and the augmentation, pure functions of seed and step."""

import functools
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from layers import random
from training.augment import AUGMENTATIONS
from training.data import ImageData
from zoo import arrays


def steps_per_epoch(data: ImageData, batch_size: int) -> int:
    """Returns the number of whole batches in a data set.

    Raises:
        ValueError: If there is none.
    """
    if len(data) < batch_size:
        raise ValueError(
            f"`batch_size` is larger than data set '{data.name}'; "
            f"`--set=batch_size={max(len(data) // 2, 1)}` would fit. Received: "
            f"batch_size={batch_size}, {len(data)} images"
        )
    return len(data) // batch_size


def augment(images, keys, augmentations: Sequence[str]):
    """Applies augmentations in order.

    Args:
        images: Tensor of shape `(batch, height, width, channels)`.
        keys: uint32 tensor of shape `(batch,)`.
        augmentations: Keys of `training.augment.AUGMENTATIONS`.

    Returns:
        A tensor like `images`.
    """
    for name in augmentations:
        images = AUGMENTATIONS[name](images, keys)
    return images


def _index_batches(data, batch_size, seed, epoch, start):
    order = np.random.default_rng((seed, epoch)).permutation(len(data))
    for step in range(start, steps_per_epoch(data, batch_size)):
        index = order[step * batch_size : (step + 1) * batch_size]
        yield _taken(data, index)


def _taken(data, index):
    images = data.images[index]
    # TensorFlow would cast others without a word.
    arrays.check_images(images, f"images of data set '{data.name}'")
    return images, data.labels[index], index.astype("uint32")


def train_batches(
    data: ImageData,
    batch_size: int,
    augmentations: Sequence[str] = (),
    seed: int = 0,
    epoch: int = 0,
    start: int = 0,
):
    """Returns the augmented batches of an epoch, from a step on.

    Order and augmentation depend on the arguments alone, so a training that goes on
    from the middle of an epoch sees what it would have seen.

    Args:
        data: The training set.
        batch_size: Examples per batch; a last smaller batch is left out.
        augmentations: Keys of `training.augment.AUGMENTATIONS`.
        seed: Of the order and the augmentation.
        epoch: The number of the epoch, from 0.
        start: The number of the first batch.

    Returns:
        On the TensorFlow backend a `tf.data.Dataset`, else an iterator, of images and
        labels.

    Raises:
        ValueError: If an augmentation is unknown or the batch is larger than the set.
    """
    unknown = set(augmentations) - set(AUGMENTATIONS)
    if unknown:
        raise ValueError(
            f"Unknown augmentations {sorted(unknown)}. Known: {sorted(AUGMENTATIONS)}."
        )
    steps_per_epoch(data, batch_size)

    def batches() -> Iterator:
        return _index_batches(data, batch_size, seed, epoch, start)

    key = random.fold(random.fold(seed, epoch), 0xDA7A)
    prepare = _preparation(tuple(augmentations))
    if keras.backend.backend() != "tensorflow":
        return (
            (prepare(key, images, index), labels) for images, labels, index in batches()
        )
    import tensorflow as tf

    dataset = _dataset(batches, data, batch_size)
    steps = steps_per_epoch(data, batch_size) - start
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps))
    dataset = dataset.map(
        lambda images, labels, index: (prepare(key, images, index), labels),
        tf.data.AUTOTUNE,
        deterministic=True,
    )
    return dataset.prefetch(tf.data.AUTOTUNE)


@functools.cache
def _preparation(augmentations):
    """Returns the augmentation of a batch; JAX compiles it once for all epochs."""

    def prepare(key, images, index):
        return augment(images, random.fold(key, index), augmentations)

    if keras.backend.backend() != "jax":
        return prepare
    import jax

    return jax.jit(prepare)


def test_batch_size(count: int, largest: int) -> int:
    """Returns a number of examples per batch with which all batches are equal.

    A last smaller batch would be compiled for itself.

    Args:
        count: The number of examples.
        largest: The largest batch.

    Returns:
        The largest divisor of `count` between `largest / 2` and `largest`; where there
        is none, `largest`.

    Example:

    >>> test_batch_size(10_000, 128), test_batch_size(10_007, 128)
    (125, 128)
    """
    sizes = range(largest, (largest - 1) // 2, -1)
    return next((size for size in sizes if count % size == 0), largest)


def test_batches(data: ImageData, batch_size: int):
    """Returns the batches of a data set in order, the last one possibly smaller.

    Args:
        data: The images and labels.
        batch_size: Examples per batch.

    Returns:
        Of images and labels, as from `train_batches`.
    """

    def batches() -> Iterator:
        for start in range(0, len(data), batch_size):
            index = np.arange(start, min(start + batch_size, len(data)))
            yield _taken(data, index)

    if keras.backend.backend() != "tensorflow":
        return (batch[:2] for batch in batches())
    import tensorflow as tf

    dataset = _dataset(batches, data, None).map(lambda x, y, _: (x, y))
    steps = tf.data.experimental.assert_cardinality(-(-len(data) // batch_size))
    return dataset.apply(steps).prefetch(tf.data.AUTOTUNE)


def _dataset(batches, data, batch_size):
    import tensorflow as tf

    signature = (
        tf.TensorSpec((batch_size, *data.input_shape), tf.uint8),
        tf.TensorSpec((batch_size,), tf.int32),
        tf.TensorSpec((batch_size,), tf.uint32),
    )
    return tf.data.Dataset.from_generator(batches, output_signature=signature)
