"""Random keys of the steps of a training, alike on one device and on several."""

import keras
from keras import ops

from layers import random

_NOISE = 0x2015E  # Apart from what others fold into the seed of a training.


class StepKeys:
    """Gives each image of each step a random key.

    The key is a function of the seed, the number of the step and the place of the image
    in the batch of all devices together: what is drawn by it is the same on any number
    of them.

    Args:
        batch_size: How many images a batch of all devices has.

    Attributes:
        step: Variable of the number of steps, for `Objective.variables`.
    """

    def __init__(self, batch_size: int):
        self.batch_size = batch_size
        self.step = keras.Variable(0, dtype="int32", trainable=False, name="noise_step")

    def next_keys(self, seed: int, num_rows):
        """Returns the keys of a step, and counts it.

        Args:
            seed: Seed of the training.
            num_rows: How many rows this device has of the batch, an integer or a scalar
                tensor.

        Returns:
            uint32 tensor of shape `(num_rows,)`.
        """
        key = random.fold(random.fold(seed, _NOISE), self.step.value)
        self.step.assign(self.step + 1)
        rows = _first_row(self.batch_size) + ops.arange(num_rows, dtype="int32")
        return random.fold(key, rows)


def _first_row(batch_size):
    """Returns the place of this device's first row in the batch of all devices."""
    # On JAX a program sees all rows.
    if keras.backend.backend() != "tensorflow":
        return 0
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return 0
    count = context.num_replicas_in_sync
    number = tf.cast(context.replica_id_in_sync_group, "int32")
    # The first devices have one image more where their number does not divide.
    return number * (batch_size // count) + tf.minimum(number, batch_size % count)
