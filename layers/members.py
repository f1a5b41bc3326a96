"""Implicit ensembles: one network whose layers hold several small sets of weights.

A member is the network with the sets of one number. Which member an example is of, all
layers of a pass agree on; `RandomLayer.row_members` says it.
"""

import contextlib
import contextvars
import functools

import keras
from keras import ops

from layers import checks, compilation, keras_internals, streams

# Whether layers that know the outputs of all members return these; see `together`.
_TOGETHER = contextvars.ContextVar("together", default=False)


class MemberLayer(streams.RandomLayer):
    """Base class of layers with several members.

    A weight of shape `(num_members, ...)` is that of each member. A layer with one
    member is not random.

    Args:
        num_members: The number of members.
        seed: Seed of what a subclass draws.
        **kwargs: Arguments of the next class, such as `keras.layers.Conv2D`.
    """

    by_row = True
    # Whether one call computes the outputs of all members for each example.
    computes_all = False

    def __init__(self, num_members: int, seed: int | None = None, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.num_members = checks.check_count(num_members, "num_members")

    @property
    def stochastic(self) -> bool:
        return self.num_members > 1

    def members(self, inputs):
        """Returns which member each example of a batch is of, an int32 tensor."""
        return self.row_members(self.num_members, ops.shape(inputs)[0])

    def only_member(self):
        """Returns the member that all examples of a pass are of, or None.

        Returns:
            A scalar int32 tensor or an integer, where it is known that there is one.
        """
        if self.num_members == 1:
            return 0
        if (number := streams.number()) is None:
            return None
        number = ops.cast(ops.convert_to_tensor(number), "int32")
        if tuple(number.shape) not in ((), (1,)):
            return None
        return ops.reshape(number, ()) % self.num_members

    def of_rows(self, weight, inputs):
        """Returns the part of a weight that belongs to the member of each example.

        Args:
            weight: Tensor of shape `(num_members, channels)`.
            inputs: Tensor of shape `(batch, ..., any)`.

        Returns:
            Tensor of shape `(batch, ..., channels)` with sides of 1 in the middle; of
            one row, where all examples are of one member.
        """
        weight = ops.convert_to_tensor(weight)
        only = self.only_member()
        if only is None:
            rows = ops.take(weight, self.members(inputs), axis=0)
        else:
            rows = ops.take(weight, only, axis=0)[None]
        middle = [1] * (len(inputs.shape) - 2)
        return ops.reshape(rows, (-1, *middle, weight.shape[-1]))

    # Keras' convolutions and dense layers would save kernel and bias alone.
    def save_own_variables(self, store):
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store):
        keras.layers.Layer.load_own_variables(self, store)

    def get_config(self):
        config = super().get_config()
        config.pop("data_format", None)
        return {**config, "num_members": self.num_members}


def affine(inputs, scale, shift=None):
    """Returns `inputs * scale + shift`, in one pass where that pays.

    Args:
        inputs: Tensor of shape `(batch, ..., channels)`.
        scale: Tensor that broadcasts with it.
        shift: The same, or None for zero.

    Returns:
        Tensor of the shape and type of the inputs, computed in float32.
    """
    if shift is None and scale.dtype == inputs.dtype:
        return inputs * scale
    others = [scale] if shift is None else [scale, shift]
    if compilation.pays(inputs.shape[1:]):
        return _compiled_affine()(inputs, *others)
    dtype = keras.backend.result_type(inputs.dtype, "float32")
    return ops.cast(_affine(ops.cast(inputs, dtype), *others), inputs.dtype)


def _affine(x, scale, shift=None):
    outputs = x * ops.cast(scale, x.dtype)
    return outputs if shift is None else outputs + ops.cast(shift, x.dtype)


@functools.cache
def _compiled_affine():
    return compilation.compiled_map(_affine)


@contextlib.contextmanager
def together():
    """Makes layers that compute the outputs of all members return all of them.

    They have the shape `(batch, num_members, ...)` then, in place of those of the
    member of each example.
    """
    token = _TOGETHER.set(True)
    try:
        yield
    finally:
        _TOGETHER.reset(token)


def are_together() -> bool:
    """Returns whether the code around wants the outputs of all members."""
    return _TOGETHER.get()


def layers_of(model: keras.Model) -> list[MemberLayer]:
    """Returns the layers with several members of a model, those of one left out."""
    flat = keras_internals.flat_layers(model)
    return [x for x in flat if isinstance(x, MemberLayer) and x.num_members > 1]


def count(model: keras.Model) -> int:
    """Returns how many members a model has; 1 for one that is no implicit ensemble.

    Args:
        model: Keras model; layers of nested models are included.

    Raises:
        ValueError: If its layers have different numbers of members.
    """
    found = {layer.name: layer.num_members for layer in layers_of(model)}
    if len(set(found.values())) > 1:
        (first, one), *others = found.items()
        name, other = next(pair for pair in others if pair[1] != one)
        raise ValueError(
            f"All layers of the model '{model.name}' must have the same number of "
            f"members. Received: num_members={one} of '{first}' and {other} of '{name}'"
        )
    return next(iter(found.values()), 1)
