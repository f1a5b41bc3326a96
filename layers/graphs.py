"""Which layers of a graph draw although they are not of this package."""

import inspect

import keras

from layers import keras_internals


def functional(model):
    """Returns the graph of a functional or sequential model, of others None."""
    # A subclass may have a `call` of its own.
    if not isinstance(model, keras.Model) or not _is_of(type(model).call, "keras"):
        return None
    return keras_internals.functional_graph(model)


def is_in_training_mode(node) -> bool:
    """Returns whether the graph calls a layer with `training=True`.

    Layers of augmentation have that by default; it does not count as said.
    """
    if not node.arguments.kwargs.get("training"):
        return False
    default = inspect.signature(node.operation.call).parameters.get("training")
    return default is None or default.default is not True


def draws_in_training(operation) -> bool:
    """Returns whether a call with `training=True` may draw and others may not.

    So do layers with generators of random numbers, those of this package that are made
    for it, and maybe those of others.
    """
    return any(
        has_generator(layer) or _is_switched(layer) or is_foreign(layer)
        for layer in layers_of(operation)
    )


def _is_switched(layer):
    return getattr(layer, "stochastic", True) is False


def has_generator(layer) -> bool:
    """Returns whether a layer has a generator of random numbers by Keras."""
    return bool(keras_internals.seed_generators(layer))


def is_foreign(operation) -> bool:
    """Returns whether an operation is neither of Keras nor of this package.

    A functional model of others is what is in it.
    """
    ours = _is_of(type(operation), "keras", "layers")
    return not ours and functional(operation) is None


def _is_of(code, *packages) -> bool:
    return code.__module__.partition(".")[0] in packages


def layers_of(operation) -> list:
    """Returns a layer and those inside of it; none for other operations."""
    is_layer = isinstance(operation, keras.layers.Layer)
    return keras_internals.flat_layers(operation) if is_layer else []


def switched_on(model, around: bool = False) -> list[str]:
    """Returns the names of layers that draw since they are called in training mode.

    That is how MC dropout is usually written: `Dropout(0.5)(x, training=True)`, or a
    model with dropout that is called so.

    Args:
        model: Keras model; calls in functional models inside of it count.
        around: Whether it is called so itself.
    """
    graph = functional(model)
    if graph is None:
        inside = [layer for layer in layers_of(model) if layer is not model]
        return [
            name for layer in inside if functional(layer) for name in switched_on(layer)
        ]
    names = []
    for node in keras_internals.nodes(graph):
        operation, on = node.operation, around or is_in_training_mode(node)
        if functional(operation) is not None:
            names += switched_on(operation, on)
        elif on and draws_in_training(operation):
            names.append(operation.name)
        else:
            names += switched_on(operation)
    return list(dict.fromkeys(names))
