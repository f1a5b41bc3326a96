"""Masksembles: members that see some of the channels each."""

import keras
import numpy as np
from keras import ops

from layers import checks, members

LEAST_CHANNELS, LARGEST_SCALE = 10, 6.0
_TRIES = 1000


@keras.saving.register_keras_serializable(package="layers")
class Masksembles(members.MemberLayer):
    """Sets channels to zero: for each member others, and always the same.

    The masks are drawn once, when the layer is built, and saved with the weights. Each
    keeps equally many channels, and every channel is kept by some. Between dropout,
    with random masks, and an ensemble, with disjoint ones, the `scale` sets how much
    two masks overlap: about one part in `scale`. What is kept is not rescaled.

    Args:
        num_members: The number of members, each with a mask.
        scale: In [1, 6]. With 1, all masks keep all channels.
        seed: Makes the masks reproducible; see `layers.RandomLayer`.

    Input shape: `(batch, ..., channels)`, with 10 channels at least.

    Output shape: Same as the input.

    Example:

    >>> layer = Masksembles(4, scale=2.0, seed=0)
    >>> tuple(layer(keras.ops.ones((8, 4, 4, 16))).shape)
    (8, 4, 4, 16)
    >>> keras.ops.convert_to_numpy(layer.masks).sum(axis=1).tolist()
    [8.0, 8.0, 8.0, 8.0]

    Reference:
        [Masksembles for Uncertainty Estimation](https://arxiv.org/abs/2012.08334)
        (Durasov et al., 2021), section 3.3.
    """

    optional_weights = ("masks",)

    def __init__(
        self,
        num_members: int = 4,
        scale: float = 2.0,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(num_members=num_members, seed=seed, **kwargs)
        if not (checks.is_number(scale) and 1 <= scale <= LARGEST_SCALE):
            raise ValueError(
                f"`scale` must be in [1, {LARGEST_SCALE:g}]. Received: scale={scale}"
            )
        self.scale = float(scale)

    def build(self, input_shape):
        channels = input_shape[-1]
        _check_channels(channels)

        def initial(shape, dtype=None):
            start = int(ops.convert_to_numpy(self.random_state)[0])
            drawn = draw_masks(self.num_members, channels, self.scale, start)
            return ops.convert_to_tensor(drawn, dtype)

        self.masks = self.add_weight(
            (self.num_members, channels), initial, trainable=False, name="masks"
        )

    def call(self, inputs):
        return inputs * ops.cast(self.of_rows(self.masks, inputs), inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


def _check_channels(channels):
    if channels < LEAST_CHANNELS:
        raise ValueError(
            f"Masks are for {LEAST_CHANNELS} channels at least. Received: "
            f"channels={channels}"
        )


def draw_masks(num_members: int, channels: int, scale: float, seed: int = 0):
    """Returns masks of equally many ones, such that every channel is in some.

    With `width(s) = s * (1 - (1 - 1 / s)**num_members)`, each mask has `channels /
    width(scale)` ones, rounded down, at random among `s` times as many places; places
    in no mask are left out. What is left is `ones * width(s)` places in the mean, and
    `s`, which starts from the scale, is searched for such that they are the channels.

    Args:
        num_members: The number of masks.
        channels: Their length, 10 at least.
        scale: In [1, 6].
        seed: Integer that makes them reproducible.

    Returns:
        Array of shape `(num_members, channels)` of zeros and ones.

    Raises:
        ValueError: If there are too few channels, or no such masks were found.
    """
    _check_channels(channels)
    rng = np.random.default_rng(seed)
    ones = int(channels / _width(num_members, scale))
    low, high = max(0.8 * scale, 1.0), max(1.2 * scale, 1.0 + 1 / ones)
    if num_members == 1 or scale == 1:
        return np.ones((num_members, channels), "float32")
    for _ in range(_TRIES):
        middle = (low + high) / 2
        masks = _of_places(num_members, ones, middle, rng)
        found = masks.shape[1]
        if found == channels:
            return masks
        low, high = (middle, high) if found < channels else (low, middle)
        if high - low < 1e-9:  # Chance led away from it: begin anew, a little wider.
            low, high = max(0.7 * scale, 1.0), 1.4 * scale
    raise ValueError(
        f"There are no {num_members} masks for {channels} channels; take another "
        f"scale. Received: scale={scale}"
    )


def _width(num_members, scale):
    return scale * (1 - (1 - 1 / scale) ** num_members)


def _of_places(num_members, ones, scale, rng):
    """Returns masks without the places that are in none of them."""
    wanted = int(ones * _width(num_members, scale))
    for _ in range(_TRIES):
        places = rng.random((num_members, max(int(ones * scale), ones))).argsort(axis=1)
        masks = (places < ones).astype("float32")
        masks = masks[:, masks.any(axis=0)]
        if masks.shape[1] == wanted:
            break
    return masks
