"""Which channels of a network go together, and the same network with fewer of them.

A channel of a feature map is made by a filter, and taken by layers behind. Where maps
are added, as in residual networks, the same channel of all of them has to stay or to
go; a shortcut that pads zeros ties some of its channels alone. So channels are followed
through the graph one by one.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import ops

import layers
from layers import keras_internals, quantization
from zoo import rewriting
from zoo.classifier import classes_of, named

# What maps each channel by itself, and one of zeros to zeros.
_BY_CHANNEL = (
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
    keras.layers.Identity,
    keras.layers.ZeroPadding2D,
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalAveragePooling2D,
    layers.AdaptiveAveragePooling2D,
    layers.BlurPool2D,
    layers.Dropout,
    layers.FLCPooling2D,
    layers.MCDropout,
    quantization.FakeQuantization,
    quantization.QuantizedMCDropout,
)
_SMOOTHING = layers.SpatialSmoothing, quantization.QuantizedSmoothing
_FUNCTIONS = "AveragePool", "MaxPool", "Relu"


@dataclasses.dataclass(frozen=True)
class Group:
    """Channels that the same layers make, each of which goes in all of them at once.

    Attributes:
        name: The first of the layers in the order of their names, with a number behind
            it where that is the name of a group before.
        layers: The names of these layers, and `pad_0`, `pad_1` and so on for functions
            that pad zeros, in the order of the graph.
        channels: For each channel of the group the places that it has, pairs of such a
            name and a number.
    """

    name: str
    layers: tuple[str, ...]
    channels: tuple[tuple[tuple[str, int], ...], ...]


class Channels:
    """The channels of a network, and which of them go together.

    Layers that do not keep channels apart, or of which it is not known, keep all that
    they take and give. So do those that are called twice, convolutions of several
    groups and the logits.

    Args:
        model: A functional Keras model of one input and one output.

    Attributes:
        groups: The groups of channels that may go.

    Raises:
        ValueError: If the model cannot be taken apart, or all channels have to stay.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self.graph = rewriting.graph_of(model, "narrowed")
        self.made = {}  # By the name of what makes channels, their numbers.
        self.taken = {}  # By a layer, the numbers of the channels that it takes.
        self.layers = {}  # By the name of what makes channels, the layer or None.
        self.pads = {}  # By a step that pads, its name and the zeros before and after.
        self._parents, self._fixed = [], set()
        self._of = {}
        self._blocking = []
        self._trace()
        self.groups = self._groups()
        if not self.groups:
            blocking = ", ".join(dict.fromkeys(self._blocking)) or "no convolution"
            raise ValueError(
                f"The groups of channels of the model '{model.name}' cannot be found: "
                "each channel passes a layer that is not known to keep channels apart, "
                f"or is a logit. Received: {blocking}"
            )

    def _trace(self):
        graph, calls = self.graph, [s.operation for s in self.graph.steps]
        self._of[graph.input] = self._new(graph.tensors[graph.input].shape[-1])
        self._fix(self._of[graph.input])
        for step in graph.steps:
            if step.operation is None:
                values = [self._of[place] for place in step.inputs]
            else:
                is_shared = calls.count(step.operation) > 1
                once = not (is_shared and getattr(step.operation, "weights", ()))
                values = self._visit(step, once)
            self._of.update(zip(step.outputs, values, strict=True))
        self._fix(self._of[graph.output])

    def _visit(self, step, once) -> list:
        """Returns the numbers of the channels that a step gives."""
        operation, given = step.operation, [self._of[place] for place in step.inputs]
        shapes = [self.graph.tensors[place].shape for place in step.outputs]
        if len(given) == len(shapes) == 1 and once:
            found = self._of_one(operation, given[0], shapes[0], step)
        elif rewriting.is_sum(operation) and len({len(ids) for ids in given}) == 1:
            for other in given[1:]:
                for a, b in zip(given[0], other, strict=True):
                    self._tie(a, b)
            found = given[0]
        elif self._joins(operation, shapes[0]):
            found = np.concatenate(given)
        else:
            found = None
        if found is not None:
            return [found]
        self._blocking.append(step.name)
        for ids in given:
            self._fix(ids)
        outputs = [self._new(shape[-1] or 0) for shape in shapes]
        for ids in outputs:
            self._fix(ids)
        return outputs

    def _of_one(self, operation, given, shape, step):
        """Returns the channels of a step of one input and output; None if unknown."""
        kind = type(operation)
        is_dense = kind in rewriting.DENSE and len(shape) == 2
        if is_dense or (kind in rewriting.CONVOLUTIONS and _is_plain(operation)):
            self.taken[operation] = given
            made = self._make(operation.name, operation, shape[-1])
            if not _keeps_zero(operation.activation):
                self._fix(made)
            return made
        if kind in rewriting.NORMALIZATIONS and operation.axis in (-1, len(shape) - 1):
            self.taken[operation] = given
            return given
        if kind is keras.layers.Flatten and shape[-1] and len(given):
            return np.tile(given, shape[-1] // len(given))
        if self._is_by_channel(operation):
            return given
        if keras_internals.operation_kind(operation) == "Pad":
            return self._padded(operation, given, step)
        return None

    def _make(self, name, layer, count):
        self.layers[name] = layer
        self.made[name] = self._new(count)
        return self.made[name]

    def _padded(self, operation, given, step):
        widths = [tuple(pair) for pair in operation.pad_width]
        before, after = widths[-1] if len(widths) > 1 else (0, 0)
        if not (before or after):
            return given
        if operation.mode != "constant":
            return None
        name = f"pad_{len(self.pads)}"
        zeros = self._make(name, None, before + after)
        self.pads[step] = name, before, after
        return np.concatenate([zeros[:before], given, zeros[before:]])

    @staticmethod
    def _joins(operation, shape):
        is_layer = type(operation) is keras.layers.Concatenate
        is_one = keras_internals.operation_kind(operation) == "Concatenate"
        return (is_layer or is_one) and operation.axis in (-1, len(shape) - 1)

    @staticmethod
    def _is_by_channel(operation):
        if type(operation) is keras.layers.Activation:
            return _keeps_zero(operation.activation)
        if type(operation) in _SMOOTHING:
            return operation.probs != "softmax" and operation.norm is None
        last = getattr(operation, "data_format", None) in (None, "channels_last")
        kind = keras_internals.operation_kind(operation)
        return last and (type(operation) in _BY_CHANNEL or kind in _FUNCTIONS)

    def _new(self, count) -> np.ndarray:
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return np.arange(first, first + count)

    def _root(self, number):
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number

    def _tie(self, a, b):
        a, b = self._root(a), self._root(b)
        if a != b:
            self._parents[b] = a
            if b in self._fixed:
                self._fixed.add(a)

    def _fix(self, numbers):
        self._fixed.update(self._root(number) for number in numbers)

    def roots(self, numbers) -> np.ndarray:
        """Returns of each channel the one that stands for all that are tied to it."""
        return np.array([self._root(number) for number in numbers], int)

    def _groups(self) -> list[Group]:
        places = {}  # By a root, where it is.
        for name, numbers in self.made.items():
            for number, root in enumerate(self.roots(numbers)):
                if root not in self._fixed:
                    places.setdefault(root, []).append((name, number))
        groups = {}
        for found in places.values():
            names = tuple(dict.fromkeys(name for name, _ in found))
            # Zeros that are padded and added to nothing are no filters.
            if any(self.layers[name] is not None for name in names):
                groups.setdefault(names, []).append(tuple(found))
        result, counts = [], {}
        for names, found in groups.items():
            # The order of the graph may be another one some day.
            first = min(name for name in names if self.layers[name] is not None)
            counts[first] = number = counts.get(first, 0) + 1
            name = first if number == 1 else f"{first}:{number}"
            result.append(Group(name, names, tuple(found)))
        return result

    def kept(self, removed: Sequence[tuple[Group, Sequence[int]]]) -> dict:
        """Returns which channels are left, by what makes them.

        Args:
            removed: Groups, and of each the numbers of the channels that go.

        Returns:
            For each layer, and each `pad_0`, a boolean array of its channels.

        Raises:
            ValueError: If a layer would have no channel left.
        """
        kept = {name: np.ones(len(ids), bool) for name, ids in self.made.items()}
        for group, numbers in removed:
            for number in numbers:
                for name, channel in group.channels[number]:
                    kept[name][channel] = False
        for name, mask in kept.items():
            if self.layers[name] is not None and not mask.any():
                raise ValueError(
                    f"No filter of the layer '{name}' would be left, and nothing could "
                    "pass it: ask for a lower sparsity. Received: a layer of "
                    f"{len(mask)} filters"
                )
        return kept

    def _is_kept(self, kept) -> dict:
        """Returns whether the channel of a root is left."""
        found = {}
        for name, mask in kept.items():
            for root, stays in zip(self.roots(self.made[name]), mask, strict=True):
                if found.setdefault(root, bool(stays)) != bool(stays):
                    raise ValueError(
                        "Channels that are added to each other stay or go together. "
                        f"Received: some of them at '{name}' alone"
                    )
        return found

    def narrowed(self, kept: Mapping[str, np.ndarray]) -> keras.Model:
        """Returns a network without the channels that are not left.

        Its logits are those of the network in which these channels are zero, but for
        the draws of random layers, which are those of smaller feature maps.

        Args:
            kept: What `kept` returns.
        """
        stays, copies = self._is_kept(kept), rewriting.Copies()

        def indices(numbers):
            roots = self.roots(numbers)
            return np.flatnonzero([stays.get(root, True) for root in roots])

        def operation(step):
            old = step.operation
            if step in self.pads:
                return _of_fewer(old, kept[self.pads[step][0]], *self.pads[step][1:])
            if old not in self.taken or type(old) in rewriting.NORMALIZATIONS:
                return copies.of(old)
            key = "filters" if hasattr(old, "filters") else "units"
            return copies.of(old, **{key: int(kept[old.name].sum())})

        def visit(step, given):
            if step.operation is None:
                return given
            return step.run(given, operation(step))

        model = self.model
        found = rewriting.rewritten(self.graph, model.name, visit)
        found = named(found, classes_of(model))

        def values(old):
            """Returns what is left of the weights of a layer."""
            if old not in self.taken:
                return {}
            inputs, result = indices(self.taken[old]), {}
            for name, weight in rewriting.weights_of(old).items():
                value = ops.convert_to_numpy(weight)
                if type(old) in rewriting.NORMALIZATIONS:
                    result[name] = value[inputs]
                    continue
                value = value[..., kept[old.name]]
                result[name] = value[..., inputs, :] if value.ndim > 1 else value
            return result

        copies.take_weights(values)
        return found

    def left(self, removed: Sequence[tuple[Group, Sequence[int]]]) -> dict[str, int]:
        """Returns how many channels are left of each group, by its name.

        Args:
            removed: As `kept` takes it.
        """
        return {
            group.name: len(group.channels) - len(set(numbers))
            for group, numbers in removed
            if len(numbers)
        }

    def like(self, left: Mapping[str, int]) -> dict:
        """Returns what to keep so that there are as many channels; which, is open.

        Args:
            left: What `left` has returned for a network of the same layers.

        Raises:
            ValueError: If there are no such groups, or not so many channels.
        """
        known = {group.name: group for group in self.groups}
        for name, count in left.items():
            size = len(known[name].channels) if name in known else 0
            if not 1 <= count <= size:
                raise ValueError(
                    f"The model '{self.model.name}' could not have been left with "
                    f"these filters: it has {size} in the group '{name}'. Received: "
                    f"filters={dict(left)}"
                )
        return self.kept(
            [
                (known[name], range(len(known[name].channels) - count))
                for name, count in left.items()
            ]
        )


def _keeps_zero(activation) -> bool:
    """Returns whether a function of numbers is zero at zero; a softmax is not."""
    zeros = activation(ops.zeros((1, 2))) if activation is not None else 0.0
    return not np.any(ops.convert_to_numpy(zeros))


def _is_plain(layer) -> bool:
    return layer.data_format == "channels_last" and layer.groups == 1


def _of_fewer(old, mask, before, after):
    """Returns a padding by as many zeros as are left."""
    widths = [tuple(pair) for pair in old.pad_width[:-1]]
    left = int(np.sum(mask[:before])), int(np.sum(mask[before : before + after]))
    return lambda x, **_: ops.pad(x, [*widths, left])


def multiply_adds(model: keras.Model) -> int:
    """Returns how many products a pass of one image adds up in kernels.

    Those of convolutions and dense layers, by far the most; what is zero counts too.

    Args:
        model: A functional Keras model, for images of one size.

    Raises:
        ValueError: If the model cannot be taken apart, or images may have any size.

    Example:

    >>> images = keras.Input((8, 8, 3))
    >>> x = keras.layers.Conv2D(4, 3, padding="same")(images)
    >>> x = keras.layers.GlobalAveragePooling2D()(x)
    >>> multiply_adds(keras.Model(images, keras.layers.Dense(2)(x)))
    6920
    """
    graph, total = rewriting.graph_of(model, "counted"), 0
    for step in graph.steps:
        operation = step.operation
        kernel = getattr(operation, "kernel", None)
        if kernel is None:
            continue
        shape = graph.tensors[step.outputs[0]].shape[1:-1]
        if None in shape:
            raise ValueError(
                "The operations of a network are counted for images of one size; "
                f"build it for that. Received: input_shape={model.input_shape}"
            )
        total += math.prod(shape) * math.prod(kernel.shape)
    return total
