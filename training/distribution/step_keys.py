"""Random keys of the steps of a training, alike on one device and on several."""

import keras
from keras import ops

from layers import random, replicas

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
        first, _ = replicas.share(self.batch_size)
        return random.fold(key, first + ops.arange(num_rows, dtype="int32"))
