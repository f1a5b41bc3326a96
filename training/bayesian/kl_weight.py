"""The weight of the KL divergences of Gaussian weights along a training."""

import math
from collections.abc import Callable

import keras
from keras import ops

from layers.variational import divergent_layers


def _constant(step, steps_per_epoch, length):
    return ops.ones_like(ops.cast(step, "float32"))


def _linear(step, steps_per_epoch, length):
    return ops.minimum(ops.cast(step + 1, "float32") / length, 1.0)


def _cyclic(step, steps_per_epoch, length):
    place = ops.cast(step % length + 1, "float32") / length
    return ops.minimum(2 * place, 1.0)


def _blundell(step, steps_per_epoch, length):
    # Of batch i of M, 2^(M - i) / (2^M - 1) in place of 1 / M.
    number = ops.cast(step % steps_per_epoch + 1, "float32")
    first = steps_per_epoch / -math.expm1(-steps_per_epoch * math.log(2))
    return first * ops.exp(-math.log(2) * number)


# By their name in a recipe: functions of the number of the step, from 0, the steps of
# an epoch, and the steps that the warm-up or a cycle takes.
SCHEDULES: dict[str, Callable] = {
    "constant": _constant,
    "linear": _linear,
    "cyclic": _cyclic,
    "blundell": _blundell,
}


class KLWeight:
    """The factor of the KL divergences in each step of a training.

    `kl_weight` of the recipe times what its `kl_schedule` says of the step:

        constant  1
        linear    grows from 0 to 1 within `kl_epochs`, as in ladder networks
        cyclic    cycles of `kl_epochs`, each growing in its first half
        blundell  2^(M - i) M / (2^M - 1) for batch i of the M of an epoch: nearly all
                  of the divergence is in the first few

    Without `kl_epochs` the warm-up or a cycle takes a quarter of the training.

    Args:
        recipe: A `training.recipes.base.Recipe`.
        steps_per_epoch: The steps of an epoch.
        model: The model that is trained.

    Attributes:
        variables: The number of steps that are done, which is in the checkpoint; none
            where the factor is constant.

    Raises:
        ValueError: If the recipe has a weight, and the model no Gaussian weights.

    Reference:
        `linear`: [Ladder Variational Autoencoders](https://arxiv.org/abs/1602.02282)
        (Sønderby et al., 2016). `cyclic`: [Cyclical Annealing Schedule](
        https://arxiv.org/abs/1903.10145) (Fu et al., 2019), with half of each cycle.
        `blundell`: [Weight Uncertainty in Neural Networks](
        https://arxiv.org/abs/1505.05424) (Blundell et al., 2015), Eq. 9.
    """

    def __init__(self, recipe, steps_per_epoch: int, model: keras.Model):
        self.base, self.variables = recipe.kl_weight, ()
        is_constant = recipe.kl_schedule == "constant"
        if not (is_constant and self.base == 1 or divergent_layers(model)):
            raise ValueError(
                "`kl_weight` and `kl_schedule` are for networks with Gaussian weights, "
                f"such as those with the method 'flipout'. Received: model={model.name}"
                f", kl_weight={self.base}, kl_schedule={recipe.kl_schedule}"
            )
        if is_constant:
            return
        epochs = recipe.kl_epochs or max(recipe.epochs / 4, 1)
        length = max(round(epochs * steps_per_epoch), 1)
        self._schedule = SCHEDULES[recipe.kl_schedule]
        self._settings = steps_per_epoch, length
        self._step = keras.Variable(0, dtype="int32", trainable=False, name="kl_step")
        self.variables = (self._step,)

    def now(self):
        """Returns the factor of the next step, or a number if it is constant."""
        if not self.variables:
            return self.base
        return self.base * self._schedule(self._step.value, *self._settings)

    def advance(self):
        """Counts a step."""
        for step in self.variables:
            step.assign(step + 1)
