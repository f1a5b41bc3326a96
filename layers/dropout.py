"""Dropout of entries, which may stay on, and of whole branches of a network."""

import functools

import keras
from keras import ops

from layers import compilation, random
from layers.checks import is_number
from layers.streams import RandomLayer

_HALF = "bfloat16", "float16"


def kept_scale(rate: float) -> float:
    """Returns what dropout multiplies the entries by that it keeps."""
    return 1 / (1 - random.quantize(rate))


def _dropped(inputs, drop, rate):
    kept = inputs * kept_scale(rate)
    return ops.where(drop, ops.zeros((), inputs.dtype), kept)


def _checked(rate, what):
    """Returns the probability to drop something if it is one."""
    if not is_number(rate) or not 0 <= rate < 1 or random.quantize(rate) == 1:
        raise ValueError(
            f"`rate` is the probability to drop {what}, in [0, 1). Received: "
            f"rate={rate}"
        )
    return rate


@functools.lru_cache(maxsize=64)
def _compiled(rate):
    """Returns draw and dropout as one loop of XLA, for half precision."""

    def dropout(inputs, keys):
        drop = random.bernoulli(keys, ops.shape(inputs), rate)
        return _dropped(inputs, drop, rate)

    return compilation.compiled_map(dropout)


@keras.saving.register_keras_serializable(package="layers")
class MCDropout(RandomLayer):
    """Dropout that is active in training and in inference.

    Each call keeps an entry with probability `1 - rate` and divides it by that
    probability, whatever `training` is: the passes of a network with such layers
    are samples of its predictive distribution. Batch normalization still follows
    `training` alone.

    Args:
        rate: Probability to drop an entry, in `[0, 1)`.
        channelwise: Whether to drop whole channels, one draw per example and
            channel, in place of single entries.
        seed: Makes the masks reproducible; see `layers.RandomLayer`.

    Input shape: `(batch, ..., channels)`.

    Output shape: Same as the input.

    Example:

    >>> x = keras.ops.ones((2, 4, 4, 8))
    >>> dropped = MCDropout(0.5, seed=0)(x, training=False)
    >>> sorted(set(keras.ops.convert_to_numpy(dropped).ravel().tolist()))
    [0.0, 2.0]

    Reference:
        [Dropout as a Bayesian Approximation](https://arxiv.org/abs/1506.02142)
        (Gal and Ghahramani, 2016). Channel-wise:
        [Efficient Object Localization Using Convolutional Networks](
        https://arxiv.org/abs/1411.4280) (Tompson et al., 2015).
    """

    by_row = True

    def __init__(
        self,
        rate: float = 0.3,
        channelwise: bool = False,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(seed, **kwargs)
        self.rate = _checked(rate, "an entry")
        self.channelwise = channelwise
        self.built = True

    def call(self, inputs):
        if self.rate == 0:
            return inputs
        shape = ops.shape(inputs)
        is_half = keras.backend.standardize_dtype(inputs.dtype) in _HALF
        if is_half and not self.channelwise and compilation.pays(shape[1:]):
            return _compiled(self.rate)(inputs, self.next_row_keys(shape[0]))
        return _dropped(inputs, self.drawn(inputs), self.rate)

    def drawn(self, inputs):
        """Returns which entries of the inputs are dropped, in booleans."""
        shape = ops.shape(inputs)
        if self.channelwise:
            shape = (shape[0], *[1] * (len(shape) - 2), shape[-1])
        return random.bernoulli(self.next_row_keys(shape[0]), shape, self.rate)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = {"rate": self.rate, "channelwise": self.channelwise}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="layers")
class Dropout(MCDropout):
    """Ordinary dropout: `MCDropout` in training, the identity in inference.

    Unlike `keras.layers.Dropout`, its masks differ on each replica of a
    `tf.distribute` strategy and its random state is saved with the model.

    Args:
        rate: Probability to drop an entry, in `[0, 1)`.
        channelwise: Whether to drop whole channels.
        seed: Makes the masks reproducible; see `layers.RandomLayer`.

    Input shape: `(batch, ..., channels)`.

    Output shape: Same as the input.
    """

    stochastic = False

    def call(self, inputs, training=False):
        return super().call(inputs) if training else inputs


@keras.saving.register_keras_serializable(package="layers")
class StochasticDepth(RandomLayer):
    """Leaves a residual branch out for some examples, in training.

    It stands at the end of the branch, before the sum with the shortcut. In training
    each example has the whole branch with probability `1 - rate`, divided by that
    probability, or zeros. In inference it is the identity, so that networks with and
    without it have the same predictions and exports.

    Args:
        rate: Probability to leave the branch out, in `[0, 1)`.
        seed: Makes the choices reproducible; see `layers.RandomLayer`.

    Input shape: `(batch, ...)`.

    Output shape: Same as the input.

    Example:

    >>> x = keras.ops.ones((64, 2, 2, 1))
    >>> dropped = StochasticDepth(0.5, seed=0)(x, training=True)
    >>> sums = keras.ops.sum(dropped, axis=(1, 2, 3))
    >>> sorted(set(keras.ops.convert_to_numpy(sums).tolist()))
    [0.0, 8.0]

    Reference:
        [Deep Networks with Stochastic Depth](https://arxiv.org/abs/1603.09382) (Huang
        et al., 2016), Eq. 2, which multiplies by `1 - rate` in inference in place of
        the division.
    """

    by_row = True
    stochastic = False

    def __init__(self, rate: float = 0.1, seed: int | None = None, **kwargs):
        super().__init__(seed, **kwargs)
        self.rate = _checked(rate, "a branch")
        self.built = True

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return inputs
        batch, *others = ops.shape(inputs)
        keys = self.next_row_keys(batch)
        drop = random.bernoulli(keys, (batch, *[1] * len(others)), self.rate)
        return _dropped(inputs, drop, self.rate)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate}
