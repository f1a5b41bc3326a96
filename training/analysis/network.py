"""A network taken apart: the feature maps between its blocks, and ways around these."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
from keras import ops

import layers
from layers import compilation, graphs
from training.analysis.base import check_functional
from zoo import spelling
from zoo.posterior.graph_split import Tracer


@dataclasses.dataclass(frozen=True)
class Point:
    """A feature map between two blocks, or any other output of a layer.

    Attributes:
        layer: Name of the layer that gives it.
        depth: Its number in the order of the network.
        shape: That of the map of one image, `(height, width, channels)`, or of a
            vector. A side that is not known is None.
        kinds: Which of `"smoothing"`, `"attention"` and `"subsampling"` there are since
            the point before.
        place: That of the tensor in the graph.
    """

    layer: str
    depth: int
    shape: tuple[int | None, ...]
    kinds: tuple[str, ...]
    place: object

    @property
    def facts(self) -> dict:
        """What rows say of it."""
        return {"layer": self.layer, "depth": self.depth, "kinds": list(self.kinds)}


@dataclasses.dataclass(frozen=True)
class Bypass:
    """A way around a block.

    Attributes:
        point: The feature map behind the block.
        kind: `"branch"`, where the residual branch gives zeros, so that what is left is
            the shortcut; or `"identity"`, where the block gives what it takes.
    """

    point: Point
    kind: str
    step: int
    places: tuple


class Network:
    """The graph of a model, with those of models inside of it.

    Between two blocks a single tensor is all that what follows depends on. Such tensors
    are the `points`; of those that normalizations, activations and dropout make of each
    other the last one is. In a residual network they are the outputs of the stem, of
    the residual blocks and of the smoothing between stages; in a chain of layers, those
    of each convolution or pooling with what belongs to it.

    Args:
        model: A functional or sequential Keras model.

    Attributes:
        points: These tensors, from the normalized images to the logits.
        draws: Whether anything draws in inference.

    Raises:
        ValueError: If the model cannot be taken apart.
    """

    def __init__(self, model: keras.Model):
        check_functional(model)
        self.model, self._tracer = model, Tracer(model)
        if not self._tracer.is_taken_apart:
            raise ValueError(
                "An analysis looks at a network of one input and one output without "
                f"masks. Received: model={model.name}"
            )
        self._steps = self._tracer.steps
        drawing = [step for step in self._steps if step.draws]
        self.draws = bool(drawing)
        self._is_known = all(step.known for step in drawing)
        self._cuts = self._find_cuts()
        self.points = self._as_points(self._cuts)

    def maps(self, names: str | Sequence[str] | None = None) -> list[Point]:
        """Returns feature maps, with height, width and channels.

        Args:
            names: None for those of `points`; `"all"` for those of all layers; or the
                names of layers.

        Raises:
            ValueError: If there is no such layer, or it gives no feature map.
        """
        if names is None:
            found = self.points
        elif names == "all":
            found = self._as_points(self._named())
        else:
            names = [names] if isinstance(names, str) else list(names)
            found = [point for point in self._as_points(self._chosen(names))]
        maps = [point for point in found if len(point.shape) == 3]
        if not maps:
            raise ValueError(
                "There is no feature map of height, width and channels to look at. "
                f"Received: model={self.model.name}, "
                f"layers={names or [point.layer for point in found]}"
            )
        if isinstance(names, list) and (odd := [p for p in found if p not in maps]):
            raise ValueError(
                f"The layer '{odd[0].layer}' of '{self.model.name}' gives no feature "
                "map of height, width and channels. Received: "
                f"layers={names}, output shape {odd[0].shape}"
            )
        return maps

    def values(
        self,
        images,
        points: Sequence[Point],
        gates=None,
        bypasses: Sequence[Bypass] = (),
    ):
        """Returns the logits and the values at points.

        Args:
            images: Tensor of shape `(batch, height, width, channels)`, in `[0, 255]`.
            points: Where to look.
            gates: Tensor of shape `(len(bypasses),)`; a way is taken where it is 0.
            bypasses: Ways around blocks.

        Returns:
            float32 logits, and a float32 tensor for each point.
        """
        ways = {bypass.step: (i, bypass) for i, bypass in enumerate(bypasses)}
        values = {self._tracer.input: images}
        for number, step in enumerate(self._steps):
            given = {place: values[place] for place in step.inputs}
            index, way = ways.get(number, (None, None))
            if way is not None and way.kind == "branch":
                for place in way.places:
                    zeros = ops.zeros_like(given[place])
                    given[place] = ops.where(gates[index] > 0, given[place], zeros)
            results = step.run([given[place] for place in step.inputs])
            values.update(zip(step.outputs, results, strict=True))
            if way is not None and way.kind == "identity":
                before, after = way.places
                kept = ops.where(gates[index] > 0, values[after], values[before])
                values[after] = kept
        found = [ops.cast(values[point.place], "float32") for point in points]
        return ops.cast(values[self._tracer.output], "float32"), found

    def compiled(self, function: Callable) -> Callable:
        """Returns a function of tensors that is compiled at its first call.

        Draws of the layers of this package follow `passes`; JAX does not compile a
        network that draws by others.
        """
        program = compilation.Compiled(function, self.model, pure=self._is_known)
        return lambda *tensors: program(tensors, ())

    def num_passes(self, num_samples: int) -> int:
        """Returns how many passes a number of samples takes: one if nothing draws."""
        return num_samples if self.draws else 1

    def bypasses(self) -> tuple[list[Bypass], list[str]]:
        """Returns the ways around blocks, and the names of blocks that have none.

        A block that joins a branch with a shortcut loses the branch: of its inputs the
        shortcut is the one with the fewest layers with weights, or else of any kind. A
        block without one is passed by where its output has the shape of its input. The
        last blocks, from pooling on, have no way around.
        """
        ways, without = [], []
        ends = [p for p in self.points if len(p.shape) == 3]
        for before, after in zip(ends, ends[1:], strict=False):
            first, last = self._number(before.place) + 1, self._number(after.place)
            way = self._around(first, last, before, after)
            if way is None:
                without.append(after.layer)
            else:
                ways.append(way)
        return ways, without

    def _around(self, first, last, before, after):
        for number in range(last, first - 1, -1):
            step = self._steps[number]
            places = list(dict.fromkeys(step.inputs))
            if _kind(step.operation, _MERGES) and len(places) > 1:
                sizes = [self._size(place, first, last) for place in places]
                if sizes.count(min(sizes)) == 1:
                    shortcut = places[sizes.index(min(sizes))]
                    branch = tuple(place for place in places if place != shortcut)
                    return Bypass(after, "branch", number, branch)
                break
        if before.shape != after.shape or None in after.shape:
            return None
        return Bypass(after, "identity", last, (before.place, after.place))

    def _size(self, place, first, last):
        """Returns how many layers, with weights and of any kind, a tensor depends on.

        Those of a range of steps count.
        """
        wanted, weighted, steps = {place}, 0, 0
        for step in reversed(self._steps[first : last + 1]):
            if not wanted.isdisjoint(step.outputs):
                wanted.update(step.inputs)
                weighted += bool(getattr(step.operation, "weights", ()))
                steps += 1
        return weighted, steps

    def _number(self, place):
        """Returns the number of the step that gives a tensor."""
        return next(i for i, s in enumerate(self._steps) if place in s.outputs)

    def _find_cuts(self):
        """Returns the name and the place of each tensor that all else depends on."""
        last = {p: i for i, step in enumerate(self._steps) for p in step.inputs}
        last[self._tracer.output] = len(self._steps)
        live, cuts = set(), []
        for number, step in enumerate(self._steps):
            live = {p for p in (*live, *step.outputs) if last.get(p, -1) > number}
            if len(live) == 1:
                cuts.append((number, *live))
        found, name = [], "images"
        for index, (number, place) in enumerate(cuts):
            step = self._steps[number]
            if not _is_nothing(step.operation):
                name = step.name
            end = cuts[index + 1][0] if index + 1 < len(cuts) else None
            between = self._steps[number + 1 : end + 1] if end else ()
            is_passed_on = between and all(_is_pointwise(s.operation) for s in between)
            if not is_passed_on and not _kind(step.operation, _PADDING):
                found.append((name, place))
        return found

    def _named(self):
        """Returns the names and places of what layers give, one tensor each."""
        return [
            (step.name, step.outputs[0])
            for step in self._steps
            if step.operation is not None and len(step.outputs) == 1
        ]

    def _chosen(self, names):
        found = dict(self._named())
        for name in names:
            if name not in found:
                known = [own for own, _ in self._cuts if own in found]
                raise ValueError(
                    f"'{self.model.name}' has no layer '{name}'."
                    f"{spelling.hint(name, found)} Between its blocks are: "
                    f"{', '.join(known)}. Received: layers={names}"
                )
        return [(name, place) for name, place in found.items() if name in names]

    def _as_points(self, pairs):
        points, counts, before = [], {}, -1
        for depth, (name, place) in enumerate(pairs):
            counts[name] = counts.get(name, 0) + 1
            unique = name if counts[name] == 1 else f"{name}#{counts[name]}"
            number = self._number(place)
            steps = self._steps[before + 1 : number + 1]
            kinds = tuple(kind for kind, of in _KINDS.items() if any(map(of, steps)))
            shape = tuple(self._tracer.tensors[place].shape[1:])
            points.append(Point(unique, depth, shape, kinds, place))
            before = max(before, number)
        return points


@contextlib.contextmanager
def passes(seed, number, offset):
    """Makes layers draw as pass `number` of `zoo.posterior.MonteCarlo` with a seed.

    Args:
        seed: Integer or scalar integer tensor.
        number: Which pass it is, such a tensor.
        offset: The number of the first image.
    """
    number = ops.cast(number, "int32")
    key = layers.random.fold(seed, number)
    with layers.stream(key, offset=ops.cast(offset, "int32"), number=number):
        yield


def _kind(operation, table: Mapping) -> bool:
    """Returns whether an operation is a layer of some classes, or has their name."""
    return isinstance(operation, table["layers"]) or (
        not isinstance(operation, keras.layers.Layer)
        and type(operation).__name__ in table["operations"]
    )


def _is_pointwise(operation) -> bool:
    """Returns whether an operation changes each point of a map by itself."""
    return operation is None or _kind(operation, _POINTWISE)


def _smooths(step):
    operation = step.operation
    if isinstance(operation, keras.layers.AveragePooling2D):
        return max(operation.strides) == 1
    kinds = layers.SpatialSmoothing, layers.BlurPool2D, layers.FLCPooling2D
    return isinstance(operation, kinds)


def _attends(step):
    return any(
        "Attention" in type(layer).__name__
        for layer in graphs.layers_of(step.operation)
    )


def _subsamples(step):
    strides = getattr(step.operation, "strides", 1)
    grows = isinstance(step.operation, keras.layers.Conv2DTranspose)
    return not grows and int(np.max(strides)) > 1


def _is_nothing(operation) -> bool:
    return operation is None or isinstance(operation, keras.layers.Identity)


_KINDS = {"smoothing": _smooths, "attention": _attends, "subsampling": _subsamples}
_MERGES = {
    "layers": (keras.layers.Add, keras.layers.Concatenate),
    "operations": {"Add", "Concatenate"},
}
_PADDING = {"layers": keras.layers.ZeroPadding2D, "operations": {"Pad"}}
_POINTWISE = {
    "layers": (
        *(keras.layers.BatchNormalization, keras.layers.LayerNormalization),
        *(keras.layers.GroupNormalization, keras.layers.Normalization),
        *(keras.layers.Rescaling, keras.layers.Identity, keras.layers.Dropout),
        *(keras.layers.SpatialDropout2D, keras.layers.GaussianNoise),
        *(keras.layers.Activation, keras.layers.ReLU, keras.layers.LeakyReLU),
        *(keras.layers.PReLU, keras.layers.ELU, keras.layers.Softmax),
        *(layers.BatchNormalization, layers.FiLMBatchNormalization),
        *(layers.MCDropout, layers.Dropout, layers.QuantileReLU),
    ),
    "operations": {
        *("Relu", "Relu6", "Gelu", "Silu", "Elu", "Selu", "LeakyRelu", "Sigmoid"),
        *("HardSilu", "HardSigmoid", "Softplus", "Tanh", "Softmax", "LogSoftmax"),
        *("Cast", "Clip"),
    },
}
