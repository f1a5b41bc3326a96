"""Random keys of the steps of a training, alike on one device and on several."""

import keras
import numpy as np
from keras import ops

from layers import random


class StepKeys:
    """Gives each image of each step a random key.

    The key is a function of the seed, the number of the step and the place of the image
    in the batch of all devices together: what is drawn by it is the same on any number
    of them.

    Args:
        batch_size: How many images a batch of all devices has.

    Attributes:
        state: Variable of the seed and the number of steps, for `Objective.variables`.
    """

    def __init__(self, batch_size: int):
        self.batch_size = batch_size
        self.state = keras.Variable(
            np.zeros(2, "uint32"), dtype="uint32", trainable=False, name="step_keys"
        )

    def set_seed(self, seed: int):
        """Starts anew from a seed, an integer in `[0, 2**32)`."""
        self.state.assign(np.array([seed, 0], "uint32"))

    def next_keys(self, num_rows):
        """Returns the keys of a step, and counts it.

        Args:
            num_rows: How many rows this device has of the batch, an integer or a scalar
                tensor.

        Returns:
            uint32 tensor of shape `(num_rows,)`.
        """
        # The sum is a tensor; in TensorFlow the variable would be read again.
        state = self.state + random.uint32(np.array([0, 1], "uint32"))
        self.state.assign(state)
        key = random.fold(state[0], state[1])
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
    count, number = context.num_replicas_in_sync, context.replica_id_in_sync_group
    # The first devices have one image more where their number does not divide.
    return number * (batch_size // count) + ops.minimum(number, batch_size % count)
