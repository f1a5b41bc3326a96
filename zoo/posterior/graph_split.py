"""A model's graph, cut between what each pass repeats and what it draws anew."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

import layers
from layers import gradients, graphs, keras_internals


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """One operation of a graph; places are those of tensors, see `Tracer`."""

    # From the values of `inputs` to a list of those of `outputs`; a call of a layer or
    # of another single operation takes one in its place too.
    run: Callable
    inputs: tuple
    outputs: tuple
    draws: bool
    by_row: bool = False  # Whether it does so for each row apart.
    known: bool = False  # Whether it is a layer of ours.
    name: str = ""  # Of the layer.
    operation: keras.Operation | None = None  # That runs, if it is a single one.


class Split:
    """The operations of a model before the first draw, and those from there on.

    `suffix(prefix(images))` is `model(images, training=False)`. The prefix is what
    depends on no layer that may draw, in nested functional models too. A model that
    is not functional, or has masks, is all suffix. A layer that is called with
    `training=True` draws here too, where Keras would switch it off; batch normalization
    uses its moving statistics even so.

    Attributes:
        draws: Whether anything may draw.
        draws_by_key: Whether a `layers.RandomLayer` does.
        unknown: The names of what may draw and is no `layers.RandomLayer`.
        is_known: Whether all that may draw is a `layers.RandomLayer`.
        by_row: Whether several passes may run as one batch: every layer that draws
            does so for each row apart, and the axis of the rows is where it should be.
        has_small_maps: Whether its convolutions are wide and of few points, which is
            where XLA's are the faster ones: 60 % of the time of oneDNN's for 512
            channels of 4x4 points, on AVX-512.
        has_members: Whether layers behind the first draw have several members, and
            compute that of each row.
        row_bytes: How much memory the suffix takes for each row, about; None if the
            sizes of its feature maps are not known.
        kept_bytes: How much it takes for each row, about, where gradients are asked:
            that of all feature maps together; None as above.
    """

    def __init__(self, model: keras.Model):
        self._tracer = Tracer(model)
        steps, random = self._tracer.steps, set()
        drawing = [step for step in steps if step.draws]
        self.draws = bool(drawing)
        self.draws_by_key = any(step.known for step in drawing)
        self.unknown = [step.name for step in drawing if not step.known]
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
        self.is_known = not self.unknown
        places = [*self._frontier, *(p for step in late for p in step.outputs)]
        self.by_row = all(step.by_row for step in late if step.draws) and all(
            self._tracer.tensors[place].shape[:1] == (None,) for place in places
        )
        inside = [graphs.layers_of(step.operation) for step in late if step.draws]
        self.has_members = any(
            isinstance(layer, layers.MemberLayer) and not layer.computes_all
            for layer in itertools.chain(*inside)
        )
        self.row_bytes = self._live_bytes()
        self.kept_bytes = self._all_bytes()
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

    def _all_bytes(self):
        """Returns the sum of what the suffix computes, for each row."""
        places = [*self._frontier, *(p for step in self._suffix for p in step.outputs)]
        tensors = [self._tracer.tensors[place] for place in places]
        if any(None in tensor.shape[1:] for tensor in tensors):
            return None
        return sum(map(_bytes, tensors))

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


class LastLayer:
    """The dense layer that a model ends with, and the operations before it.

    `head(features(images))` is `model(images, training=False)`. Models inside of the
    model are taken apart, and what changes nothing may follow on the layer.

    Args:
        model: From images to logits.
        behind: Classes of layers that may follow on it too, and are left out.

    Attributes:
        head: The dense layer.
        draws: Whether what is before it draws by a `layers.RandomLayer`.
        unknown: The names of layers that are not of this package and may draw.

    Raises:
        ValueError: If the model ends with something else.
    """

    def __init__(self, model: keras.Model, behind: tuple[type, ...] = ()):
        tracer = Tracer(model)
        place, self._input = tracer.output, tracer.input
        by_output = {out: step for step in tracer.steps for out in step.outputs}
        step = by_output.get(place)
        while step is not None and (
            _is_identity(step.operation) or isinstance(step.operation, behind)
        ):
            place = step.inputs[step.outputs.index(place)]
            step = by_output.get(place)
        self.head = step.operation if step is not None else None
        linear = getattr(self.head, "activation", None) in _LINEAR
        if not (type(self.head) is keras.layers.Dense and linear):
            raise ValueError(
                f"The model must end with a `keras.layers.Dense` without activation, "
                f"whose weights get a posterior. Received: model={model.name}, which "
                f"ends with {step.name if step else 'no operation of its graph'}"
            )
        (self._place,) = step.inputs
        self._steps = tracer.steps[: tracer.steps.index(step)]
        drawing = [s for s in tracer.steps if s.draws]
        self.draws = any(s.known for s in drawing)
        self.unknown = [s.name for s in drawing if not s.known]

    @property
    def num_features(self) -> int:
        """How many inputs the layer has, of each image or of each pixel."""
        return self.head.kernel.shape[0]

    def features(self, images):
        """Returns the inputs of the layer, of shape `(batch, ..., num_features)`."""
        values = {self._input: images}
        _run(self._steps, values)
        return values[self._place]


class LinearLayers:
    """The dense layers and convolutions of a model, each as a linear map of its inputs.

    These are `keras.layers.Dense` and `keras.layers.Conv2D` of one group and with the
    channels last, in models inside of the model too. At each position of its output,
    such a layer multiplies a row of inputs, of a convolution those of a patch, by a
    matrix, its kernel with the axes of the inputs as one.

    Args:
        model: From images to logits.
        names: The names of some of the layers, or all of them.

    Attributes:
        layers: The layers, in the order of the graph.

    Raises:
        ValueError: If there are no such layers, or not those, or if one is called
            twice.
    """

    def __init__(self, model: keras.Model, names: Sequence[str] | None = None):
        self._tracer = Tracer(model)
        found = [s for s in self._tracer.steps if _is_linear(s.operation)]
        known = [step.name for step in found]
        names = known if names is None else list(names)
        if missing := [name for name in names if name not in known]:
            raise ValueError(
                f"'{model.name}' has no `keras.layers.Dense` or `keras.layers.Conv2D` "
                f"of one group of this name. Received: {missing[0]}; known: "
                f"{', '.join(known) or 'none'}"
            )
        self._chosen = [step for step in found if step.name in names]
        if not self._chosen:
            raise ValueError(
                f"'{model.name}' has no `keras.layers.Dense` or `keras.layers.Conv2D` "
                "of one group in its graph whose weights could have a posterior."
            )
        self.layers = [step.operation for step in self._chosen]
        for step in self._chosen:
            if sum(layer is step.operation for layer in self.layers) > 1:
                raise ValueError(
                    f"The layer '{step.name}' of '{model.name}' is called twice, and "
                    "the curvature by layers is that of layers that are called once."
                )

    @property
    def num_positions(self) -> list[int | None]:
        """For each layer, the positions of its output; None if not known."""
        shapes = [self._tracer.tensors[s.outputs[0]].shape for s in self._chosen]
        sides = [shape[1:-1] for shape in shapes]
        return [None if None in side else math.prod(side) for side in sides]

    def pull_back(self, images, cotangents: Callable):
        """Returns logits, and of each layer its input and gradients by its output.

        That is its output before the activation. The gradient of a weighted sum of
        logits by the kernel is the sum, over the positions, of the outer products of
        the `rows` of the input and these gradients.

        Args:
            images: Tensor of shape `(batch, *image_shape)`.
            cotangents: From logits to the weights of such sums, a tensor of shape
                `(sums, batch, num_classes)`.

        Returns:
            float32 logits, of shape `(batch, num_classes)`; and for each layer a pair
            of its input, and a float32 tensor of shape `(batch, positions, sums,
            num_outputs)`.
        """

        def run(mark):
            values, inputs = {self._tracer.input: images}, []
            for step in self._tracer.steps:
                given = [values[place] for place in step.inputs]
                if step in self._chosen:
                    (x,) = given
                    inputs.append(x)
                    results = [_apply(step.operation, x, mark)]
                else:
                    results = step.run(given)
                values.update(zip(step.outputs, results, strict=True))
            return ops.cast(values[self._tracer.output], "float32"), inputs

        logits, inputs, found = gradients.pull_back(run, cotangents)
        pairs = []
        for x, gradient in zip(inputs, found, strict=True):
            (sums, batch), units = ops.shape(gradient)[:2], gradient.shape[-1]
            by_position = ops.reshape(gradient, (sums, batch, -1, units))
            by_position = ops.transpose(by_position, (1, 2, 0, 3))
            pairs.append((x, ops.cast(by_position, "float32")))
        return logits, pairs


def rows(layer: keras.Layer, x, basis=None):
    """Returns the inputs of a linear layer at each of its positions.

    Args:
        layer: One of the layers of `LinearLayers`.
        x: Its input.
        basis: Matrix of shape `(num_inputs, num_inputs)` to multiply them by.

    Returns:
        float32 tensor of shape `(batch, positions, num_inputs)`.
    """
    x, size = ops.cast(x, "float32"), math.prod(layer.kernel.shape[:-1])
    if isinstance(layer, keras.layers.Conv2D):
        # It gives each patch, of all its points and channels, as channels.
        kernel = ops.eye(size) if basis is None else basis
        shape = (*layer.kernel.shape[:-1], size)
        x = layer.convolution_op(x, ops.reshape(kernel, shape))
    elif basis is not None:
        x = ops.matmul(x, basis)
    return ops.reshape(x, (ops.shape(x)[0], -1, size))


def _is_linear(operation) -> bool:
    if type(operation) is keras.layers.Dense:
        return True
    is_convolution = type(operation) is keras.layers.Conv2D
    plain = is_convolution and operation.data_format == "channels_last"
    return plain and operation.groups == 1


def _apply(layer, x, mark):
    """Calls a layer; its output before the activation goes through `mark`."""
    x = ops.cast(x, layer.compute_dtype)
    kernel = ops.cast(layer.kernel, layer.compute_dtype)
    if isinstance(layer, keras.layers.Conv2D):
        x = layer.convolution_op(x, kernel)
    else:
        x = ops.matmul(x, kernel)
    x = x + ops.cast(layer.bias, layer.compute_dtype) if layer.use_bias else x
    x = mark(x)
    return x if layer.activation is None else layer.activation(x)


_LINEAR = (None, keras.activations.linear)
_IDENTITIES = (keras.layers.Identity, keras.layers.Dropout)


def _is_identity(operation) -> bool:
    """Returns whether an operation changes nothing in inference.

    None is what leaves a model inside.
    """
    if isinstance(operation, keras.layers.Activation):
        return operation.activation in _LINEAR
    return operation is None or isinstance(operation, _IDENTITIES)


class Tracer:
    """Writes a model's graph, with those of nested models in it, as a list of steps.

    The place of a tensor is its identity and the path of nested calls to it: a model
    that is called twice has its tensors in two places.

    Args:
        model: Keras model of one input and one output.

    Attributes:
        steps: The steps in their order.
        tensors: The symbolic tensor of each place.
        input, output: The places of the images and of the logits.
        is_taken_apart: Whether the steps are those of the graph; if not, the whole
            model is one.
    """

    def __init__(self, model: keras.Model):
        self.steps, self.tensors = [], {}
        graph = graphs.functional(model)
        single = graph is not None and len(graph.inputs) == len(graph.outputs) == 1
        self.input, self.output = "images", "logits"
        masks = any(map(_makes_masks, keras_internals.flat_layers(model)))
        self.is_taken_apart = single and not masks
        if self.is_taken_apart:
            self.tensors["images"] = graph.inputs[0]
            (self.output,) = self._enter(graph, "images", (), False)
        else:
            _check_calls(model)
            shapes = {"images": model.input_shape, "logits": model.output_shape}
            self.tensors = {k: keras.KerasTensor(v) for k, v in shapes.items()}
            run, draws = _call(model, {"training": False}), may_draw(model)
            self._add(run, ["images"], ["logits"], draws=draws, name=model.name)

    def _add(self, run, inputs, outputs, **settings):
        self.steps.append(Step(run, tuple(inputs), tuple(outputs), **settings))

    def _enter(self, graph, place, path, on):
        """Adds the steps of a functional model; returns the places of its outputs."""

        def standardize(values):
            return keras_internals.standardized(graph, *values)

        (start,) = self._places(graph.inputs, path)
        self._add(standardize, [place], [start], draws=False)
        for node in keras_internals.nodes(graph):
            self._visit(node, path, on)
        return self._places(graph.outputs, path)

    def _visit(self, node, path, on):
        """Adds a call, in training mode if `on` or if it says so."""
        inputs = self._places(node.input_tensors, path)
        outputs = self._places(node.outputs, path)
        inner, operation = graphs.functional(node.operation), node.operation
        on = on or graphs.is_in_training_mode(node)
        if inner is not None and len(inputs) == len(inner.outputs) == 1:
            ends = self._enter(inner, inputs[0], (*path, id(node)), on)
            self._add(list, ends, outputs, draws=False)
            return
        _check_calls(operation)
        on = on and _draws_in_training(operation)
        known = isinstance(operation, layers.RandomLayer)
        self._add(
            _run_node(node, on),
            inputs,
            outputs,
            draws=on or may_draw(operation),
            by_row=known and operation.by_row,
            known=known,
            name=operation.name,
            operation=operation,
        )

    def _places(self, tensors, path):
        places = [(path, id(tensor)) for tensor in tensors]
        self.tensors.update(zip(places, tensors, strict=True))
        return places


def may_draw(operation) -> bool:
    """Returns whether it may draw in inference, or holds a layer that may.

    What is not of Keras or of `layers` might do anything.
    """
    return any(
        runs_foreign_code(layer)
        or (isinstance(layer, layers.RandomLayer) and layer.stochastic)
        for layer in graphs.layers_of(operation) or [operation]
    )


def runs_foreign_code(layer) -> bool:
    """Returns whether a layer is not of Keras or `layers`, or runs code of others."""
    return graphs.is_foreign(layer) or isinstance(layer, _foreign())


def _foreign():
    """Returns the layers of Keras that run code of others."""
    kinds = keras.layers
    return kinds.Lambda, kinds.TFSMLayer, kinds.JaxLayer, kinds.TorchModuleWrapper


def _check_calls(operation):
    """Raises a ValueError if layers draw that Keras switches off in predictions."""
    if names := graphs.switched_on(operation):
        raise ValueError(
            f"The layer '{names[0]}' is called with `training=True`, and the model "
            f"'{operation.name}' around it cannot be taken apart to keep it so: it is "
            "not functional, has masks, or has several inputs or outputs. Use "
            "`layers.MCDropout`, which draws by itself, or another random layer of "
            "`layers`."
        )


def _draws_in_training(operation) -> bool:
    """Returns whether the training mode of a call is to be kept.

    Raises:
        ValueError: If it would change batch statistics as well.
    """
    if isinstance(operation, keras.layers.BatchNormalization):
        return False
    draws, inside = graphs.draws_in_training(operation), graphs.layers_of(operation)
    if draws and any(isinstance(x, keras.layers.BatchNormalization) for x in inside):
        raise ValueError(
            f"The layer '{operation.name}' is called with `training=True` and holds a "
            "batch normalization, whose statistics every prediction would change. "
            "Use `layers.MCDropout`, which draws by itself, in its place."
        )
    return draws


def _makes_masks(layer):
    return isinstance(layer, keras.layers.Masking) or getattr(layer, "mask_zero", False)


def _call(operation, settings):
    def run(values):
        return keras.tree.flatten(operation(*values, **settings))

    return run


def _run_node(node, training):
    settings = {}
    if keras_internals.takes_training(node.operation):
        settings["training"] = training
    names = [id(tensor) for tensor in node.input_tensors]

    def run(values, operation=node.operation):
        args, kwargs = node.arguments.fill_in(dict(zip(names, values, strict=True)))
        return keras.tree.flatten(operation(*args, **{**kwargs, **settings}))

    return run


def _run(steps, values):
    for step in steps:
        results = step.run([values[place] for place in step.inputs])
        values.update(zip(step.outputs, results, strict=True))


def _bytes(tensor):
    width = np.dtype("uint16" if "16" in tensor.dtype else tensor.dtype).itemsize
    return math.prod(tensor.shape[1:]) * width
