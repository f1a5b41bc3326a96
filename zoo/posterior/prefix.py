"""A model's graph, cut between what each pass repeats and what it draws anew."""

import dataclasses
import math
from collections.abc import Callable

import keras
import numpy as np

import layers


@dataclasses.dataclass(frozen=True)
class _Step:
    """One operation of a graph; places are those of tensors, see `_Tracer`."""

    run: Callable  # From the values of `inputs` to a list of those of `outputs`.
    inputs: tuple
    outputs: tuple
    draws: bool
    by_row: bool = False  # Whether it does so for each row apart.
    known: bool = False  # Whether it is a layer of ours.


class Split:
    """The operations of a model before the first draw, and those from there on.

    `suffix(prefix(images))` is `model(images, training=False)`. The prefix is what
    depends on no layer that may draw, in nested functional models too. A model that
    is not functional, or has masks, is all suffix.

    Attributes:
        is_known: Whether all that may draw is a `layers.RandomLayer`.
        by_row: Whether several passes may run as one batch: every layer that draws
            does so for each row apart, and the axis of the rows is where it should be.
        has_small_maps: Whether its convolutions are wide and of few points, which is
            where XLA's are the faster ones: 60 % of the time of oneDNN's for 512
            channels of 4x4 points, on AVX-512.
        row_bytes: How much memory the suffix takes for each row, about; None if the
            sizes of its feature maps are not known.
    """

    def __init__(self, model: keras.Model):
        self._tracer = _Tracer(model)
        steps, random = self._tracer.steps, set()
        for step in steps:
            if step.draws or not random.isdisjoint(step.inputs):
                random.update(step.outputs)
        # A draw without inputs, or with those of the prefix, is of the suffix.
        late = [s for s in steps if not random.isdisjoint(s.outputs)]
        self._suffix = late
        self._prefix = [s for s in steps if random.isdisjoint(s.outputs)]
        used = [place for step in late for place in step.inputs]
        used.append(self._tracer.output)
        self._frontier = [p for p in dict.fromkeys(used) if p not in random]
        self.is_known = all(step.known for step in late if step.draws)
        places = [*self._frontier, *(p for step in late for p in step.outputs)]
        self.by_row = all(step.by_row for step in late if step.draws) and all(
            self._tracer.tensors[place].shape[:1] == (None,) for place in places
        )
        self.row_bytes = self._live_bytes()
        self.has_small_maps = self._has_small_maps()

    def prefix(self, images) -> list:
        """Returns what the suffix needs of the images, with their axis first."""
        values = {self._tracer.input: images}
        _run(self._prefix, values)
        return [values[place] for place in self._frontier]

    def suffix(self, values: list):
        """Returns the logits."""
        values = dict(zip(self._frontier, values, strict=True))
        _run(self._suffix, values)
        return values[self._tracer.output]

    def _has_small_maps(self):
        shapes = [
            self._tracer.tensors[p].shape for s in self._suffix for p in s.outputs
        ]
        maps = [shape for shape in shapes if len(shape) == 4 and None not in shape[1:]]
        side = max((max(shape[1:3]) for shape in maps), default=0)
        return 0 < side <= 8 and max(shape[3] for shape in maps) >= 256

    def _live_bytes(self):
        """Returns the largest sum of what is in memory at once, for each row."""
        last = {p: i for i, step in enumerate(self._suffix) for p in step.inputs}
        live, largest = set(self._frontier), 0
        for i, step in enumerate(self._suffix):
            live.update(step.outputs)
            tensors = [self._tracer.tensors[place] for place in live]
            if any(None in tensor.shape[1:] for tensor in tensors):
                return None
            largest = max(largest, sum(map(_bytes, tensors)))
            live -= {place for place in live if last.get(place, i + 1) <= i}
        return largest


class _Tracer:
    """Writes a model's graph, with those of nested models in it, as a list of steps.

    The place of a tensor is its identity and the path of nested calls to it: a model
    that is called twice has its tensors in two places.
    """

    def __init__(self, model):
        self.steps, self.tensors = [], {}
        graph = _functional(model)
        if graph is None or any(map(_makes_masks, model._flatten_layers())):
            self.input, self.output = "images", "logits"
            shapes = {"images": model.input_shape, "logits": model.output_shape}
            self.tensors = {k: keras.KerasTensor(v) for k, v in shapes.items()}
            run = _call(model, {"training": False})
            self._add(run, ["images"], ["logits"], True)
        else:
            self.input = "images"
            self.tensors["images"] = graph.inputs[0]
            (self.output,) = self._enter(graph, "images", ())

    def _add(self, run, inputs, outputs, *draws):
        self.steps.append(_Step(run, tuple(inputs), tuple(outputs), *draws))

    def _enter(self, graph, place, path):
        """Adds the steps of a functional model; returns the places of its outputs."""

        def standardize(values):
            graph._assert_input_compatibility(*values)
            return graph._standardize_inputs(*values)

        (start,) = self._places(graph.inputs, path)
        self._add(standardize, [place], [start], False)
        for depth in sorted(graph._nodes_by_depth, reverse=True):
            for node in graph._nodes_by_depth[depth]:
                if not node.is_input:
                    self._visit(node, path)
        return self._places(graph.outputs, path)

    def _visit(self, node, path):
        inputs = self._places(node.input_tensors, path)
        outputs = self._places(node.outputs, path)
        inner, operation = _functional(node.operation), node.operation
        if inner is not None and len(inputs) == 1 and may_draw(operation):
            ends = self._enter(inner, inputs[0], (*path, id(node)))
            self._add(list, ends, outputs, False)
        else:
            known = isinstance(operation, layers.RandomLayer)
            draws = may_draw(operation), known and operation.by_row, known
            self._add(_run_node(node), inputs, outputs, *draws)

    def _places(self, tensors, path):
        places = [(path, id(tensor)) for tensor in tensors]
        self.tensors.update(zip(places, tensors, strict=True))
        return places


def may_draw(operation) -> bool:
    """Returns whether it may draw in inference, or holds a layer that may.

    What is not of Keras or of `layers` might do anything.
    """
    inside = [operation]
    if isinstance(operation, keras.layers.Layer):
        inside = operation._flatten_layers()
    return any(
        type(layer).__module__.partition(".")[0] not in ("keras", "layers")
        or isinstance(layer, _foreign())
        or (isinstance(layer, layers.RandomLayer) and layer.stochastic)
        for layer in inside
    )


def _foreign():
    """Returns the layers of Keras that run code of others."""
    kinds = keras.layers
    return kinds.Lambda, kinds.TFSMLayer, kinds.JaxLayer, kinds.TorchModuleWrapper


def _functional(model):
    """Returns the graph of a functional or sequential model, of others None."""
    if type(model) is keras.Sequential:
        return model._functional
    known = type(model).__module__.startswith("keras.")
    if known and isinstance(model, keras.Model) and hasattr(model, "_nodes_by_depth"):
        single = len(model.inputs) == 1 and len(model.outputs) == 1
        return model if single else None
    return None


def _makes_masks(layer):
    return isinstance(layer, keras.layers.Masking) or getattr(layer, "mask_zero", False)


def _call(operation, settings):
    def run(values):
        return keras.tree.flatten(operation(*values, **settings))

    return run


def _run_node(node):
    settings = {}
    if getattr(node.operation, "_call_has_training_arg", False):
        settings["training"] = False
    names = [id(tensor) for tensor in node.input_tensors]

    def run(values):
        args, kwargs = node.arguments.fill_in(dict(zip(names, values, strict=True)))
        return keras.tree.flatten(node.operation(*args, **{**kwargs, **settings}))

    return run


def _run(steps, values):
    for step in steps:
        results = step.run([values[place] for place in step.inputs])
        values.update(zip(step.outputs, results, strict=True))


def _bytes(tensor):
    width = np.dtype("uint16" if "16" in tensor.dtype else tensor.dtype).itemsize
    return math.prod(tensor.shape[1:]) * width
