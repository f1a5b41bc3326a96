"""Packed-Ensembles: narrow networks side by side, as the groups of one wide network."""

import keras
from keras import ops

from layers import checks, members


@keras.saving.register_keras_serializable(package="layers")
class PackedDense(members.MemberLayer):
    """A dense layer for each member, of the share of the features that is its own.

    Features come member by member, as grouped convolutions give them: of `channels`
    features, member `m` has those from `m * channels / num_members` on. The layer
    computes the outputs of all members and returns those of the member of each example;
    what comes before it is the same for all of them.

    Args:
        units: The number of outputs of a member.
        num_members: The number of members. With one it is a `keras.layers.Dense`, whose
            kernel has one axis less.
        use_bias: Whether to add a bias.
        kernel_initializer: Initializer of each member's kernel.
        bias_initializer: Initializer of the bias.
        seed: See `layers.RandomLayer`; the layer draws nothing.

    Input shape: `(batch, channels)`; `num_members` divides the channels.

    Output shape: `(batch, units)`.

    Example:

    >>> layer = PackedDense(10, num_members=4)
    >>> tuple(layer(keras.ops.ones((8, 64))).shape), tuple(layer.kernel.shape)
    ((8, 10), (4, 16, 10))

    Reference:
        [Packed-Ensembles for Efficient Uncertainty Estimation](
        https://arxiv.org/abs/2210.09184) (Laurent et al., 2023), section 3.
    """

    computes_all = True

    def __init__(
        self,
        units: int,
        num_members: int = 4,
        use_bias: bool = True,
        kernel_initializer: str | keras.Initializer = "glorot_uniform",
        bias_initializer: str | keras.Initializer = "zeros",
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(num_members=num_members, seed=seed, **kwargs)
        self.units = checks.check_count(units, "units")
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, input_shape):
        channels = input_shape[-1]
        check_divides(self.num_members, channels)
        own = channels // self.num_members

        def initial(shape, dtype=None):
            kernels = [
                _another(self.kernel_initializer, member)(shape[1:], dtype)
                for member in range(shape[0])
            ]
            return ops.stack(kernels)

        self.kernel = self.add_weight(
            (self.num_members, own, self.units), initial, name="kernel"
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                (self.num_members, self.units), self.bias_initializer, name="bias"
            )
        self.input_spec = keras.layers.InputSpec(ndim=2, axes={-1: channels})

    def call(self, inputs):
        shape = (-1, self.num_members, self.kernel.shape[1])
        outputs = ops.einsum("bmc,mck->bmk", ops.reshape(inputs, shape), self.kernel)
        outputs = outputs if self.bias is None else outputs + self.bias
        if members.are_together():
            return outputs
        if (only := self.only_member()) is not None:
            return ops.take(outputs, only, axis=1)
        chosen = ops.one_hot(
            self.members(inputs), self.num_members, dtype=outputs.dtype
        )
        return ops.sum(outputs * chosen[:, :, None], axis=1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        config = {"units": self.units, "use_bias": self.use_bias}
        for name in ("kernel_initializer", "bias_initializer"):
            config[name] = keras.initializers.serialize(getattr(self, name))
        return {**super().get_config(), **config}


def _another(initializer, number):
    """Returns an initializer of other draws, for a seed makes all of them equal."""
    config = initializer.get_config()
    if config.get("seed") is not None:
        config["seed"] += number
    return type(initializer).from_config(config)


def check_divides(num_members: int, channels: int):
    """Raises a ValueError if channels cannot be shared by that many members."""
    if channels % num_members:
        raise ValueError(
            "`num_members` must divide the number of channels. Received: "
            f"num_members={num_members}, channels={channels}"
        )


def num_groups(num_members: int, channels: int, gamma: int, least: int) -> int:
    """Returns in how many groups a convolution of packed members has its channels.

    Args:
        num_members: The number of members.
        channels: Of the input, of all members.
        gamma: How many groups each member has at most.
        least: How many channels a group has at least, if a member has several.

    Raises:
        ValueError: If the members cannot share the channels.
    """
    check_divides(num_members, channels)
    own = channels // num_members
    fits = [n for n in range(2, gamma + 1) if own % n == 0 and own // n >= least]
    return num_members * max(fits, default=1)
