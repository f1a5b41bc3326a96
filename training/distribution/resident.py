"""Steps on an accelerator that holds the images: many of them in one call, on JAX.

A step of a small network takes an accelerator less time than Python takes to start it,
and images that are augmented anew in each epoch need not travel there again. So the
images go to the device once, as bytes, and a call takes the numbers of those of many
steps: it takes them out, augments them and trains, in one loop that XLA has compiled.
Order, draws and updates are those of single steps.

On a CPU this would be slower: there XLA computes the gradient of a convolution inside
of a loop 15 to 50 times as slowly as outside.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import keras
import numpy as np
from absl import logging

from training import batches, distribution, progress
from training.data import ImageData

STEPS = 100  # Of a call; between calls are progress, checkpoints and Ctrl-C.
_SHARE = 0.5  # Of the free memory of a device: the rest is for the training.
_CHUNK = 1000  # Images that are read at once.


@dataclasses.dataclass(frozen=True)
class Resident:
    """A training set on a device.

    Attributes:
        images: uint8 array of JAX, of shape `(images, height, width, channels)`.
        labels: int32 array of JAX, of shape `(images, ...)`.
        prepare: Augmentation: a function of a key, images, labels, their numbers and
            which image of the batch each is mixed with, if any is.
        numbered: Whether labels come in a pair with the numbers of the images.
    """

    images: object
    labels: object
    prepare: Callable
    numbered: bool = False

    def train_function(self, train_step: Callable) -> Callable:
        """Returns a function like `keras.Model.train_function`, of `STEPS` steps.

        Args:
            train_step: A function of the state of a model and of a batch, like
                `keras.Model.train_step` on JAX.
        """
        import jax
        from jax import numpy as jnp

        def run(state, images, labels, key, order, count):
            rows = jnp.stack(order)

            def step(number, state):
                index = rows[number]
                # That before it, as in `training.batches`.
                partners = np.roll(np.arange(len(index)), 1)
                examples, target = self.prepare(
                    key, images[index], labels[index], index, partners
                )
                target = (target, index) if self.numbered else target
                return train_step(state, (examples, target))

            logs = jax.eval_shape(step, 0, state)[0]
            logs = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), logs)
            # A number that is not known beforehand: the last call compiles nothing.
            return jax.lax.fori_loop(
                0, count, lambda number, last: step(number, last[1]), (logs, state)
            )

        compiled = jax.jit(run, donate_argnums=0)

        def function(state, iterator):
            (key, *_), order = zip(
                *(batch[0] for batch in itertools.islice(iterator, STEPS)), strict=True
            )
            filled = (*order, *order[-1:] * (STEPS - len(order)))
            count = np.int32(len(order))
            return compiled(state, self.images, self.labels, key[0], filled, count)

        return function


def fits(data: ImageData) -> bool:
    """Returns whether steps of a training can take their images from the device.

    That is on JAX, on one accelerator with enough free memory; the log says so where
    there is too little.
    """
    if keras.backend.backend() != "jax" or distribution.num_replicas() > 1:
        return False
    import jax

    device = jax.devices()[0]
    if device.platform == "cpu":
        return False
    size = int(np.prod(data.images.shape))
    found = device.memory_stats() or {}
    free = found.get("bytes_limit", 0) - found.get("bytes_in_use", 0)
    if size > _SHARE * free:
        logging.info(
            "The images take %.1f GB and the device has %.1f GB left, of which they "
            "may take %d %%: they are sent batch by batch.",
            size / 1e9,
            free / 1e9,
            100 * _SHARE,
        )
        return False
    return True


def put(
    data: ImageData,
    augmentations: Sequence[str],
    views: Sequence[Sequence[str]],
    numbered: bool = False,
) -> Resident:
    """Reads a training set and puts it onto the device.

    Args:
        data: The training set.
        augmentations: Names of augmentations; see `training.augment.read`.
        views: For each view of an image, the augmentations that follow the others.
        numbered: Whether labels come in a pair with the numbers of the images.
    """
    import jax

    images = np.empty(data.images.shape, data.input_type)
    with progress.track("Images onto the device", len(images)) as count:
        for start in range(0, len(images), _CHUNK):
            index = np.arange(start, min(start + _CHUNK, len(images)))
            images[index] = batches.take(data, index)[0]
            count(len(index))
    labels = np.asarray(data.labels, data.label_type)
    prepare = batches.preparation(
        tuple(augmentations),
        tuple(map(tuple, views)),
        len(data.classes),
        labels.ndim > 1,
    )
    logging.info(
        "The device holds the %d images, %.2f GB.", len(images), images.nbytes / 1e9
    )
    images, labels = jax.device_put(images), jax.device_put(labels)
    return Resident(images, labels, prepare, numbered)


def numbers(data: ImageData, batch_size: int, seed: int, epoch: int, start: int = 0):
    """Returns what calls of an epoch take: its key and the images of each step.

    Args:
        data: The training set.
        batch_size: Examples per step.
        seed: Seed of the order and the augmentation.
        epoch: The number of the epoch, from 0.
        start: The number of the first step.
    """
    key = keras.ops.convert_to_numpy(batches.key_of(seed, epoch)).reshape(1)
    order = batches.order_of(data, batch_size, seed, epoch)[start:]
    return (((key, index.astype("uint32")),) for index in order)
