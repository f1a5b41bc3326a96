"""From the state of a network of another library to the weights of a model."""

import dataclasses
import math
from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from zoo.convert import padded_shortcuts
from zoo.convert.name_tables import TORCH, library
from zoo.presets.weight_file import optional, variables

_COUNTER = ".num_batches_tracked"  # Of PyTorch's normalization.


@dataclasses.dataclass(frozen=True)
class _Target:
    """A weight of ours and where it comes from.

    Attributes:
        name: Ours.
        variable: Ours.
        key: Theirs.
        transposed: Whether its output channels are first there; here they are last.
        spatial: Height and width of the feature map that a dense layer sees flattened;
            there channels come before them, here behind them.
        bias: Theirs, of the convolution before a normalization: it has none here.
    """

    name: str
    variable: keras.Variable
    key: str
    transposed: bool
    spatial: tuple[int, int] = (1, 1)
    bias: str | None = None

    def shapes(self) -> list[tuple[int, ...]]:
        """Returns the shapes that the weight may have there, the usual one first."""
        shape = tuple(self.variable.shape)
        if not self.transposed:
            return [shape]
        if len(shape) == 4:
            return [(shape[3], shape[2], shape[0], shape[1])]
        inner, outer = shape
        channels = inner // math.prod(self.spatial)
        return [(outer, inner), (outer, channels, *self.spatial)]

    def convert(self, state):
        """Returns the array as it is here."""
        array = state[self.key]
        if self.transposed:
            if array.ndim == 2:
                array = array.reshape(len(array), -1, *self.spatial)
            return array.transpose(2, 3, 1, 0).reshape(self.variable.shape)
        # The normalization subtracts the mean right after the bias was added.
        return array - state[self.bias] if self.bias else array


def load_state(
    model: keras.Model, state: Mapping[str, np.ndarray], source: str = "the state dict"
):
    """Loads the state of a network of another library; all of it or nothing.

    It is one of torchvision, timm or keras_hub, as its names say. Kernels change their
    layout. A bias before a normalization goes into its mean. The spread of random
    kernels, which such a network has not, keeps its initial value.

    Args:
        model: From `zoo.build`.
        state: Arrays by their names there.
        source: Where they come from, for messages.

    Raises:
        ValueError: If a weight is missing, left over, of another shape or not finite.
    """
    state = padded_shortcuts.reorder(state)
    theirs = library(state)
    targets = _targets(model, state, theirs)
    refused = f"The weights of '{source}' do not fit the model '{model.name}'"
    _check_classifier(targets, state, model, refused)
    for target in targets:
        _check(target, state, refused)
    used = {target.key for target in targets} | {target.bias for target in targets}
    for key, array in state.items():
        if key not in used and not key.endswith(_COUNTER):
            raise ValueError(
                f"{refused}: they also hold '{key}' of shape {array.shape}, for which "
                "the model has no place."
            )
    for target in targets:
        target.variable.assign(ops.cast(target.convert(state), target.variable.dtype))


def num_classes(state: Mapping[str, np.ndarray], source: str) -> int:
    """Returns the number of logits of a network of another library.

    Raises:
        ValueError: If it has none of the classifiers that are known.
    """
    state = padded_shortcuts.reorder(state)
    theirs = library(state)
    keys = [theirs.key(module) for module in theirs.places(["head"])["head"]]
    for key in keys:
        if key in state:
            return state[key].shape[0 if theirs.transposed else -1]
    raise ValueError(
        f"'{source}' has no classifier of a network of {theirs.name} that is known "
        f"here. Expected {' or '.join(keys)}, found {_some(state)}."
    )


def _some(state) -> str:
    return ", ".join([f"'{key}'" for key in list(state)[:3]] + ["..."])


def _targets(model, state, theirs) -> list[_Target]:
    own, held = variables(model), {k.rpartition(theirs.separator)[0] for k in state}
    places = theirs.places(dict.fromkeys(name.partition("/")[0] for name in own))
    chosen = {
        layer: next((module for module in modules if module in held), modules[0])
        for layer, modules in places.items()
    }
    maps = [x.input for x in model.layers if isinstance(x, keras.layers.Flatten)]
    spatial = {"hidden_1": tuple(maps[0].shape[1:3])} if maps else {}
    targets, spare = [], optional(model)
    for name, variable in own.items():
        layer, _, inner = name.partition("/")
        if name in spare:
            continue
        if layer not in chosen or inner not in theirs.variables:
            raise ValueError(
                f"The model '{model.name}' has the weight '{name}', and no network of "
                f"{theirs.name} has one like it; convert without that method."
            )
        key, bias = theirs.key(chosen[layer], inner), None
        conv = f"{layer.removesuffix('norm')}conv"
        if inner == "moving_mean" and conv in chosen and f"{conv}/bias" not in own:
            # It has no place but in the normalization.
            bias = theirs.key(chosen[conv], "bias")
        transposed = theirs.transposed and inner == "kernel"
        side = spatial.get(layer, (1, 1))
        bias = bias if bias in state else None
        targets.append(_Target(name, variable, key, transposed, side, bias))
    return targets


def _check_classifier(targets, state, model, refused):
    """Says which method to add: the shape of the head alone would not tell."""
    hidden = [TORCH.key(name) for name in TORCH.places(["hidden_1"])["hidden_1"]]
    theirs = [key for key in hidden if key in state]
    if theirs and not any(target.key in hidden for target in targets):
        raise ValueError(
            f"{refused}: they hold '{theirs[0]}' of shape {state[theirs[0]].shape}, a "
            "hidden layer of the classifier. Add the method `mlp` to the name."
        )


def _check(target, state, refused):
    shapes = target.shapes()
    if target.key not in state:
        raise ValueError(
            f"{refused}: there is no '{target.key}', which '{target.name}' needs with "
            f"shape {shapes[0]}. Found {_some(state)}"
        )
    wanted = {target.key: shapes}
    if target.bias:
        wanted[target.bias] = shapes
    for key, shapes in wanted.items():
        array = state[key]
        if array.shape not in shapes:
            raise ValueError(
                f"{refused}: '{key}' has shape {array.shape}, and "
                f"'{target.name}' needs {' or '.join(map(str, shapes))}."
            )
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError(
                f"{refused}: '{key}' holds {array.dtype} that are not all finite "
                "floating-point numbers."
            )
