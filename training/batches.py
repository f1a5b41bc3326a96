"""Batches: the data order and the augmentation, pure functions of seed and step."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
from keras import ops

from layers import compilation, random
from training import augment, processor
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


def augmented(images, keys, functions: Sequence[Callable]):
    """Applies augmentations in order.

    Args:
        images: Tensor of shape `(batch, height, width, channels)`.
        keys: uint32 tensor of shape `(batch,)`.
        functions: Functions of both, as from `training.augment.read_all`.

    Returns:
        A tensor like `images`.
    """
    for function in functions:
        images = function(images, keys)
    return images


def _views(images, keys, views):
    """Returns an axis of views behind that of the images, if there are several."""
    each = [
        augmented(images, random.fold(keys, _VIEW + number), functions)
        for number, functions in enumerate(views)
    ]
    return each[0] if len(each) == 1 else ops.stack(each, axis=1)


# Keys below it are those of augmentations.
_VIEW = 0x71E3


def take(data: ImageData, index: np.ndarray):
    """Returns images, labels, and uint32 numbers, those of an index.

    Args:
        data: The images.
        index: Numbers from `order_of`, those of images that come again too.
    """
    places = index % len(data)
    images = data.images[places]
    if data.input_type == "uint8":
        # TensorFlow would cast others without a word.
        arrays.check_images(images, f"images of data set '{data.name}'")
    labels = np.asarray(data.labels[places], data.label_type)
    return images, labels, index.astype("uint32")


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


def _places(values, wanted):
    """Returns where, among values, the first one that equals each wanted one is."""
    order = np.argsort(values, kind="stable")
    return order[np.searchsorted(values, wanted, sorter=order)]


def _examples(data, index, batch_size, replicas, weight, own=None, pairs=False):
    """Returns images, labels, their numbers, and what else a batch needs.

    That is, for mixtures of pairs, where the other image of each row is; and, of uneven
    batches, the weights.
    """
    rows, weights = index, ()
    if weight is not None:
        rows, counts = spread(index, -(-batch_size // replicas), replicas)
        weights = (weight * counts,)
    if own is not None:
        rows, *weights = (
            x.reshape(replicas, -1)[own].ravel() for x in (rows, *weights)
        )
    if not pairs:
        return *take(data, rows), *weights
    # The image before it in the batch, whose order is random.
    others = index[_places(index, rows) - 1]
    # A process has all images of the batch, or also reads those of its pairs.
    loaded = rows if own is None else np.concatenate([rows, others])
    return *take(data, loaded), _places(loaded, others).astype("int32"), *weights


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
    steps: int | None = None,
    numbered: bool = False,
):
    """Returns the augmented batches of an epoch, from a step on.

    Order and augmentation depend on the arguments alone, so a training that goes on
    from the middle of an epoch sees what it would have seen.

    Args:
        data: The training set.
        batch_size: Examples per batch; a last smaller batch is left out.
        augmentations: Names of augmentations; see `training.augment.read`.
        seed: Seed of the order and the augmentation.
        epoch: The number of the epoch, from 0.
        start: The number of the first batch.
        replicas: How many share a batch. Where they cannot do so evenly, the batch is
            filled up; see `spread`.
        views: For each view of an image, the augmentations that follow the others.
        own: The replicas whose rows are made; by default all.
        steps: The batches of an epoch; see `order_of`.
        numbered: Whether labels come in a pair with the numbers of the images.

    Returns:
        On the TensorFlow backend a `tf.data.Dataset`, else an iterator, of images and
        labels, with several views of images of shape `(batch, views, height, width,
        channels)`; and, if `uneven`, of weights: zero for what fills up, and for images
        what makes the mean over the rows that over the images. Labels are int32 of
        shape `(batch,)`; where pairs of images are mixed, each with the image before it
        in the batch, they are float32 probabilities of shape `(batch, num_classes)`.

    Raises:
        ValueError: If an augmentation is unknown or the batch is larger than the set,
            or labels of pixels would stay where they are while the pixels move, or
            there is no pair of images to mix; or if a pixel had labels of several
            views.
    """
    prepare = preparation(
        tuple(augmentations),
        tuple(map(tuple, views)),
        len(data.classes),
        data.labels.ndim > 1,
    )
    pairs = augment.mixes_pairs(augmentations)
    if pairs and batch_size < 2:
        raise ValueError(
            "To mix pairs of images takes batches of two and more. Received: "
            f"batch_size={batch_size}, augmentations={list(augmentations)}"
        )
    shape = data.labels.shape[1:]
    if augmentations and shape and shape != data.input_shape[:2]:
        raise ValueError(
            "Augmentations move labels of pixels where there is one for each pixel of "
            f"an image. Received: labels of shape {shape}, images of shape "
            f"{data.input_shape}, augmentations={list(augmentations)}"
        )
    rows = -(-batch_size // replicas) * replicas
    weight = rows / batch_size if uneven(batch_size, replicas) else None

    count = len(order_of(data, batch_size, seed, epoch, steps)) - start

    def batch(number):
        # TensorFlow keeps this function for good, and must not keep the whole order.
        index = order_of(data, batch_size, seed, epoch, steps)[start + number]
        return _examples(data, index, batch_size, replicas, weight, own, pairs)

    key = key_of(seed, epoch)

    def prepared(images, labels, index, *others):
        images, labels = prepare(key, images, labels, index, *others[:pairs])
        return images, _target(labels, index, numbered, len(data)), *others[pairs:]

    if keras.backend.backend() != "tensorflow":
        return (prepared(*batch(number)) for number in range(count))
    import tensorflow as tf

    rows = _own_rows(rows, replicas, own)
    loaded = rows if own is None or not pairs else 2 * rows
    dataset = _dataset(
        batch,
        count,
        *_signature(data, loaded),
        *([tf.TensorSpec((rows,), tf.int32)] if pairs else []),
        *([] if weight is None else [tf.TensorSpec((rows,), tf.float32)]),
    )
    prepared = compilation.unconverted(prepared)
    at_once = min(processor.num_cores(), _AT_ONCE)
    return made_ahead(dataset.map(prepared, at_once, deterministic=True))


def order_of(
    data: ImageData, batch_size: int, seed: int, epoch: int, steps: int | None = None
) -> np.ndarray:
    """Returns the images of an epoch by number, of shape `(steps, batch_size)`.

    Args:
        data: The images.
        batch_size: Examples per batch.
        seed: Seed of the order.
        epoch: The number of the epoch, from 0.
        steps: The batches of the epoch, by default the whole ones that there are. Of
            more, images come again in another order, each time with a number that is
            larger by that of all images, so that they are augmented anew.
    """
    whole = steps_per_epoch(data, batch_size)
    rows = (whole if steps is None else steps) * batch_size
    return _order(len(data), rows, seed, epoch).reshape(-1, batch_size)


@functools.lru_cache(maxsize=4)  # Of images with labels and without, and the next.
def _order(count, rows, seed, epoch):
    rng = np.random.default_rng((seed, epoch))
    rounds = [rng.permutation(count) + i for i in range(0, rows, count)]
    order = np.concatenate(rounds)[:rows]
    order.flags.writeable = False
    return order


def key_of(seed: int, epoch: int):
    """Returns the key of the augmentation in an epoch, a scalar uint32 tensor."""
    return random.fold(random.fold(seed, epoch), 0xDA7A)


def _own_rows(rows, replicas, own):
    return rows if own is None else rows // replicas * len(own)


@functools.cache
def preparation(
    augmentations: tuple[str, ...],
    views: tuple[tuple[str, ...], ...],
    num_classes: int,
    of_maps: bool = False,
):
    """Returns the augmentation of a batch, compiled once for all epochs.

    Args:
        augmentations: Names of augmentations; see `training.augment.read`.
        views: For each view of an image, the augmentations that follow the others.
        num_classes: The number of classes, for mixtures of pairs.
        of_maps: Whether each pixel has a label, which is moved with it.

    Returns:
        A function of a key of `key_of`, images, labels, their numbers and, where pairs
        are mixed, an int32 tensor of shape `(rows,)`: which image each of the first
        rows is mixed with. It returns images and labels, of these rows.

    Raises:
        ValueError: If an augmentation is unknown, or mixes pairs and is not the last.
    """
    alone, mix = augment.read_all(augmentations)
    of_views = [augment.read_all(names) for names in views]
    if any(mixes for _, mixes in of_views):
        raise ValueError(
            "The views of an image have one label, so none of them is mixed with "
            f"another image. Received: views={views}"
        )
    of_views = [functions for functions, _ in of_views]
    movers = augment.read_of_maps(augmentations) if of_maps else []
    if of_maps and any(views):
        raise ValueError(
            "Views of an image move its pixels, each to another place, and there is "
            f"one label for each pixel. Received: views={views}"
        )

    def prepare(key, images, labels, index, partners=None):
        keys = random.fold(key, index)
        images = augmented(images, keys, alone)
        labels = augmented(labels, keys, movers)
        if mix is not None:
            count = partners.shape[0]
            labels = ops.one_hot(labels, num_classes, dtype="float32")
            others = (ops.take(x, partners, axis=0) for x in (images, labels))
            keys = keys[:count]
            images, labels = mix(images[:count], labels[:count], *others, keys)
        return _views(images, keys, of_views), labels

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
    sizes = {min(batch_size, len(data) - start) for start in starts}
    rows = -(-batch_size // replicas) * replicas
    fill = any(uneven(size, replicas) for size in sizes)
    weight = len(starts) * rows / len(data) if fill else None

    # JAX sees one batch, whose rows it counts as on one device: copies are last.
    shared = (rows, 1) if keras.backend.backend() == "jax" else (batch_size, replicas)

    def batch(number):
        start = starts[number]
        index = np.arange(start, min(start + batch_size, len(data)))
        return _examples(data, index, *shared, weight, own)

    if keras.backend.backend() != "tensorflow":
        made = map(batch, range(len(starts)))
        return ((images, labels, *weights) for images, labels, _, *weights in made)
    import tensorflow as tf

    @compilation.unconverted
    def without_numbers(images, labels, _, *weights):
        return images, labels, *weights

    rows = _own_rows(rows, replicas, own) if fill else None
    weights = [tf.TensorSpec((rows,), tf.float32)] if fill else []
    dataset = _dataset(batch, len(starts), *_signature(data, rows), *weights)
    return made_ahead(dataset.map(without_numbers))


def made_ahead(dataset):
    """Returns a `tf.data.Dataset` that makes two batches while others are used.

    Its sizes are not tuned as it runs: with TensorFlow 2.21 the end of an iterator may
    wait for the thread that tunes, which sleeps ever longer. An epoch of ten seconds
    would take twenty (findings/tensorflow_data_autotune_delays_the_end.sh).
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(_AHEAD).with_options(options)


def _signature(data, rows):
    """Returns the specs of images, labels and numbers of a number of rows."""
    import tensorflow as tf

    return (
        tf.TensorSpec((rows, *data.input_shape), data.input_type),
        tf.TensorSpec((rows, *data.labels.shape[1:]), data.label_type),
        tf.TensorSpec((rows,), tf.uint32),
    )


def _dataset(batch, count, *signature):
    """Returns `count` batches as a `tf.data.Dataset`, each made by its number.

    `tf.data.Dataset.from_generator` would do, but TensorFlow 2.21 lowers thresholds of
    `malloc` for all of the process when it is used. Every large tensor is then mapped
    and cleared anew, which can be half of the processor time of a training on a CPU.
    """
    import tensorflow as tf

    def noted(number):
        try:
            return batch(number)
        except Exception as error:
            _failed.append(error)
            raise

    @compilation.unconverted
    def example(number):
        tensors = tf.numpy_function(noted, [number], [spec.dtype for spec in signature])
        for tensor, spec in zip(tensors, signature, strict=True):
            tensor.set_shape(spec.shape)
        return tuple(tensors)

    return tf.data.Dataset.range(count).map(example)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Raises what was wrong with a batch, such as an image that is damaged.

    TensorFlow, whose threads make the batches, would raise an error of its own with the
    traceback of that in its message.
    """
    _failed.clear()
    try:
        yield
    except Exception as error:
        if not (_failed and type(error).__module__.startswith("tensorflow.")):
            raise
        raise _failed[0] from None
    finally:
        _failed.clear()


def _target(labels, index, numbered, count):
    # An image that comes again in an epoch has a number above the others.
    return (labels, index % np.uint32(count)) if numbered else labels


_failed: list[Exception] = []  # In threads of TensorFlow.
_AT_ONCE = 16  # Batches that are augmented at the same time, at most.
_AHEAD = 2
