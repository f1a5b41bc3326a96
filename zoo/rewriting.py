"""Networks written anew: the same graph, with other layers in places.

Folding, quantization and the removal of channels are rewritings; what is computed where
is left to the graph.
"""

from collections.abc import Callable

import keras
from keras import ops

import layers
from layers import keras_internals, quantization
from zoo.posterior.graph_split import Tracer, runs_foreign_code

# Layers of one kind, of Keras and of this package.
CONVOLUTIONS = (
    keras.layers.Conv2D,
    layers.GroupedConv2D,
    layers.FusedConv2D,
    quantization.QuantizedConv2D,
)
DENSE = keras.layers.Dense, quantization.QuantizedDense
NORMALIZATIONS = keras.layers.BatchNormalization, layers.BatchNormalization


def graph_of(model: keras.Model, purpose: str) -> Tracer:
    """Returns the graph of a model.

    Args:
        model: Keras model.
        purpose: What cannot be done without, as the error says it.

    Raises:
        ValueError: If it cannot be taken apart.
    """
    graph = Tracer(model)
    if not graph.is_taken_apart:
        raise ValueError(
            f"The model '{model.name}' cannot be {purpose}: it is not functional, has "
            f"masks, or has several inputs or outputs. Received: model={model.name}"
        )
    return graph


def rewritten(graph: Tracer, name: str, visit: Callable) -> keras.Model:
    """Runs the steps of a graph on new symbolic tensors.

    Weights of new layers have shapes and no values yet; see `Copies`.

    Args:
        graph: The graph.
        name: Name of the new model.
        visit: From a step and the list of its symbolic inputs to that of its outputs. A
            step without an operation is a border of a model inside.

    Returns:
        A functional model from the same images.
    """
    start = graph.tensors[graph.input]
    images = keras.Input(start.shape[1:], dtype=start.dtype, name="images")
    values = {graph.input: images}
    with keras_internals.without_values():
        for step in graph.steps:
            results = visit(step, [values[place] for place in step.inputs])
            values.update(zip(step.outputs, results, strict=True))
        return keras.Model(images, values[graph.output], name=name)


def uses(graph: Tracer) -> dict:
    """Returns the steps that take a tensor, by its place; None stands for the end.

    Steps at the border of a model inside, where nothing happens, are passed over: who
    takes what they give counts.
    """
    direct = {}
    for step in graph.steps:
        for place in step.inputs:
            direct.setdefault(place, []).append(step)
    direct.setdefault(graph.output, []).append(None)

    def found(place):
        for step in direct.get(place, ()):
            if step is not None and step.operation is None:
                for inside, outside in zip(step.inputs, step.outputs, strict=True):
                    if inside == place:
                        yield from found(outside)
            else:
                yield step

    places = {p for step in graph.steps for p in (*step.inputs, *step.outputs)}
    return {place: list(found(place)) for place in places}


def is_sum(operation) -> bool:
    """Returns whether a layer or a function adds up feature maps."""
    is_layer = type(operation) is keras.layers.Add
    return is_layer or keras_internals.operation_kind(operation) == "Add"


def weights_of(layer: keras.Layer) -> dict[str, keras.Variable]:
    """Returns the weights of a layer by their path inside of it."""
    return {w.path.partition(f"{layer.name}/")[2] or w.name: w for w in layer.weights}


def can_change(operation) -> bool:
    """Returns whether it is a layer of Keras or this package, and so all inside."""
    return isinstance(operation, keras.layers.Layer) and not any(
        map(runs_foreign_code, keras_internals.flat_layers(operation))
    )


class Copies:
    """Layers like those of a model, so that the model stays what it is.

    Layers that are not of Keras or this package are no copies: they are in both.

    Attributes:
        made: The copies, by the layers that they are of.
    """

    def __init__(self):
        self.made = {}

    def of(self, old, kind: type | None = None, **changes):
        """Returns the copy of a layer; a function stays as it is.

        Args:
            old: The layer.
            kind: Its class in place of that of the layer.
            **changes: Settings in place of those of the layer.
        """
        if not can_change(old):
            return old
        if old not in self.made:
            config = {**old.get_config(), **changes}
            self.made[old] = (kind or type(old)).from_config(config)
        return self.made[old]

    def take_weights(self, values: Callable = lambda old: {}):
        """Gives the copies the weights of the layers, by their names.

        What a layer has not gets the value to start from. Nothing has a value inside of
        `layers.keras_internals.without_values`, neither the layers nor the copies.

        Args:
            values: From a layer to some of its weights that are others in the copy.
        """
        if keras_internals.is_stateless():
            return
        for old, new in self.made.items():
            known = weights_of(old)
            changed = values(old)
            for name, weight in weights_of(new).items():
                if name not in known:
                    continue
                value = ops.convert_to_numpy(changed.get(name, known[name]))
                tensor = ops.cast(ops.convert_to_tensor(value), weight.dtype)
                keras_internals.set_value(weight, tensor)
            keras_internals.set_initial_values(new.variables)
            if hasattr(new, "finalize_state"):  # Computes from weights what calls use.
                new.finalize_state()
