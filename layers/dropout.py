"""Dropout that stays on: the random layers of MC dropout."""

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
        if not is_number(rate) or not 0 <= rate < 1 or random.quantize(rate) == 1:
            raise ValueError(
                "`rate` is the probability to drop an entry, in [0, 1). "
                f"Received: rate={rate}"
            )
        self.rate = rate
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
