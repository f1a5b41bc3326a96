"""Batches: the data order and the augmentation, pure functions of seed and step."""

import functools
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from layers import compilation, random
from training.augment import AUGMENTATIONS
from training.data import ImageData
from zoo import arrays


def steps_per_epoch(data: ImageData, batch_size: int) -> int:
    """Returns the number of whole batches in a data set.

    Raises:
        ValueError: If there is none.
    """
    check_size(data, batch_size)
    return len(data) // batch_size


def check_size(data: ImageData, batch_size: int, replicas: int = 1):
    """Checks that there is a whole batch in a data set, which devices can share.

    Raises:
        ValueError: If there is none, or, on JAX, they cannot.
    """
    if len(data) < batch_size:
        raise ValueError(
            f"`batch_size` is larger than data set '{data.name}'; "
            f"`--set=batch_size={max(len(data) // 2, 1)}` would fit. Received: "
            f"batch_size={batch_size}, {len(data)} images"
        )
    if keras.backend.backend() == "jax" and uneven(batch_size, replicas):
        raise ValueError(
            "On JAX, `batch_size` must be a multiple of the number of devices. "
            f"Received: batch_size={batch_size}, {replicas} devices"
        )


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


def _views(images, keys, views):
    """Returns an axis of views behind that of the images, if there are several."""
    each = [
        augment(images, random.fold(keys, _VIEW + number), names)
        for number, names in enumerate(views)
    ]
    return each[0] if len(each) == 1 else ops.stack(each, axis=1)


# Keys below it are those of augmentations.
_VIEW = 0x71E3


def take(data: ImageData, index: np.ndarray):
    """Returns images, int32 labels, and uint32 numbers, those of an index."""
    images = data.images[index]
    # TensorFlow would cast others without a word.
    arrays.check_images(images, f"images of data set '{data.name}'")
    return images, np.asarray(data.labels[index], "int32"), index.astype("uint32")


def uneven(batch_size: int, replicas: int) -> bool:
    """Returns whether replicas get unequal numbers of the images of a batch."""
    return batch_size % replicas > 0


def spread(index: np.ndarray, share: int, replicas: int):
    """Shares the images of a batch out to replicas, and fills up with copies.

    Keras and TensorFlow want equal shares. The first replicas get one image more where
    the number does not divide.

    Args:
        index: The numbers of the images, of shape `(images,)`.
        share: Rows for each replica.
        replicas: Their number.

    Returns:
        Arrays of shape `(replicas * share,)`: the number of the image in each row, and
        1.0 where it counts, 0.0 for the copies behind the images of each replica.

    Example:

    >>> spread(np.arange(5, 10), 2, 4)[0].tolist()
    [5, 6, 7, 5, 8, 5, 9, 5]
    """
    rows = np.full(replicas * share, index[0])
    weights = np.zeros(len(rows), "float32")
    for replica, images in enumerate(np.array_split(index, replicas)):
        place = slice(replica * share, replica * share + len(images))
        rows[place], weights[place] = images, 1
    return rows, weights


def _examples(data, index, batch_size, replicas, weight, own=None):
    """Returns images, labels, their numbers and, of uneven batches, their weights."""
    rows, weights = index, ()
    if weight is not None:
        rows, counts = spread(index, -(-batch_size // replicas), replicas)
        weights = (weight * counts,)
    if own is not None:
        rows, *weights = (
            x.reshape(replicas, -1)[own].ravel() for x in (rows, *weights)
        )
    return *take(data, rows), *weights


def train_batches(
    data: ImageData,
    batch_size: int,
    augmentations: Sequence[str] = (),
    seed: int = 0,
    epoch: int = 0,
    start: int = 0,
    replicas: int = 1,
    views: Sequence[Sequence[str]] = ((),),
    own: range | None = None,
    numbered: bool = False,
):
    """Returns the augmented batches of an epoch, from a step on.

    Order and augmentation depend on the arguments alone, so a training that goes on
    from the middle of an epoch sees what it would have seen.

    Args:
        data: The training set.
        batch_size: Examples per batch; a last smaller batch is left out.
        augmentations: Keys of `training.augment.AUGMENTATIONS`.
        seed: Seed of the order and the augmentation.
        epoch: The number of the epoch, from 0.
        start: The number of the first batch.
        replicas: How many share a batch. Where they cannot do so evenly, the batch is
            filled up; see `spread`.
        views: For each view of an image, the augmentations that follow the others.
        own: The replicas whose rows are made; by default all.
        numbered: Whether labels come in a pair with the numbers of the images.

    Returns:
        On the TensorFlow backend a `tf.data.Dataset`, else an iterator, of images and
        labels, with several views of images of shape `(batch, views, height, width,
        channels)`; and, if `uneven`, of weights: zero for what fills up, and for images
        what makes the mean over the rows that over the images.

    Raises:
        ValueError: If an augmentation is unknown or the batch is larger than the set,
            or labels of pixels would stay where they are while the pixels move.
    """
    together = {*augmentations}.union(*views)
    if unknown := together - set(AUGMENTATIONS):
        raise ValueError(
            f"Unknown augmentations {sorted(unknown)}. Known: {sorted(AUGMENTATIONS)}."
        )
    if together and data.labels.ndim > 1:
        raise ValueError(
            "Augmentations move pixels, and not their labels; with a label for each "
            "pixel there must be none. Received: augmentations="
            f"{sorted(together)}, labels.shape={data.labels.shape}"
        )
    rows = -(-batch_size // replicas) * replicas
    weight = rows / batch_size if uneven(batch_size, replicas) else None

    order = order_of(data, batch_size, seed, epoch)[start:]

    def batch(number):
        return _examples(data, order[number], batch_size, replicas, weight, own)

    key = key_of(seed, epoch)
    prepare = preparation(tuple(augmentations), tuple(map(tuple, views)))
    if keras.backend.backend() != "tensorflow":
        return (
            (prepare(key, images, index), _target(labels, index, numbered), *weights)
            for images, labels, index, *weights in map(batch, range(len(order)))
        )
    import tensorflow as tf

    @tf.autograph.experimental.do_not_convert
    def prepared(images, labels, index, *weights):
        target = _target(labels, index, numbered)
        return prepare(key, images, index), target, *weights

    rows = _own_rows(rows, replicas, own)
    dataset = _dataset(batch, len(order), data, rows, weight is not None)
    dataset = dataset.map(prepared, tf.data.AUTOTUNE, deterministic=True)
    return dataset.prefetch(tf.data.AUTOTUNE)


def order_of(data: ImageData, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """Returns the images of an epoch by number, of shape `(steps, batch_size)`."""
    steps = steps_per_epoch(data, batch_size)
    order = np.random.default_rng((seed, epoch)).permutation(len(data))
    return order[: steps * batch_size].reshape(steps, batch_size)


def key_of(seed: int, epoch: int):
    """Returns the key of the augmentation in an epoch, a scalar uint32 tensor."""
    return random.fold(random.fold(seed, epoch), 0xDA7A)


def _own_rows(rows, replicas, own):
    return rows if own is None else rows // replicas * len(own)


@functools.cache
def preparation(augmentations: tuple[str, ...], views: tuple[tuple[str, ...], ...]):
    """Returns the augmentation of a batch, compiled once for all epochs.

    Args:
        augmentations: Keys of `training.augment.AUGMENTATIONS`.
        views: For each view of an image, the augmentations that follow the others.

    Returns:
        A function of a key of `key_of`, images and their numbers.
    """

    def prepare(key, images, index):
        keys = random.fold(key, index)
        return _views(augment(images, keys, augmentations), keys, views)

    return compilation.program(prepare)


def test_batch_size(count: int, largest: int) -> int:
    """Returns a number of examples per batch with which all batches are equal.

    A last smaller batch would be compiled for itself.

    Args:
        count: The number of examples.
        largest: The largest batch.

    Returns:
        The largest divisor of `count` between `largest / 2` and `largest`; without one,
        `largest`.

    Example:

    >>> test_batch_size(10_000, 128), test_batch_size(10_007, 128)
    (125, 128)
    """
    sizes = range(largest, (largest - 1) // 2, -1)
    return next((size for size in sizes if count % size == 0), largest)


def test_batches(
    data: ImageData,
    batch_size: int,
    replicas: int = 1,  # noqa: PT028
    own: range | None = None,  # noqa: PT028
):
    """Returns the batches of a data set in order, the last one possibly smaller.

    Args:
        data: The images and labels.
        batch_size: Examples per batch.
        replicas: How many share a batch. Where they cannot do so evenly, all batches
            are filled up.
        own: The replicas whose rows are made; by default all.

    Returns:
        Of images, labels and possibly weights, as from `train_batches`. With weights,
        the mean over the rows of all batches is that over the images.
    """
    starts = range(0, len(data), batch_size)
    indices = [np.arange(i, min(i + batch_size, len(data))) for i in starts]
    rows = -(-batch_size // replicas) * replicas
    fill = any(uneven(len(index), replicas) for index in indices)
    weight = len(starts) * rows / len(data) if fill else None

    # JAX sees one batch, whose rows it counts as on one device: copies are last.
    shared = (rows, 1) if keras.backend.backend() == "jax" else (batch_size, replicas)

    def batch(number):
        return _examples(data, indices[number], *shared, weight, own)

    if keras.backend.backend() != "tensorflow":
        made = map(batch, range(len(indices)))
        return ((images, labels, *weights) for images, labels, _, *weights in made)
    import tensorflow as tf

    @tf.autograph.experimental.do_not_convert
    def without_numbers(images, labels, _, *weights):
        return images, labels, *weights

    rows = _own_rows(rows, replicas, own) if fill else None
    dataset = _dataset(batch, len(indices), data, rows, fill)
    return dataset.map(without_numbers).prefetch(tf.data.AUTOTUNE)


def _dataset(batch, count, data, batch_size, weighted):
    """Returns `count` batches as a `tf.data.Dataset`, each made by its number.

    `tf.data.Dataset.from_generator` would do, but TensorFlow 2.21 lowers thresholds of
    `malloc` for all of the process when it is used. Every large tensor is then mapped
    and cleared anew, which can be half of the processor time of a training on a CPU.
    """
    import tensorflow as tf

    signature = (
        tf.TensorSpec((batch_size, *data.input_shape), tf.uint8),
        tf.TensorSpec((batch_size, *data.labels.shape[1:]), tf.int32),
        tf.TensorSpec((batch_size,), tf.uint32),
        *([tf.TensorSpec((batch_size,), tf.float32)] if weighted else []),
    )

    @tf.autograph.experimental.do_not_convert
    def example(number):
        tensors = tf.numpy_function(batch, [number], [spec.dtype for spec in signature])
        for tensor, spec in zip(tensors, signature, strict=True):
            tensor.set_shape(spec.shape)
        return tuple(tensors)

    return tf.data.Dataset.range(count).map(example)


def _target(labels, index, numbered):
    return (labels, index) if numbered else labels
