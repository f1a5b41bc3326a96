"""Which pixels a model takes, as far as its graph tells."""

import keras
import numpy as np
from keras import ops

from layers import graphs, keras_internals

# A layer that scales pixels of 8 bits divides by more than this.
_SMALLEST_DIVISOR = 32


def takes_bytes(model: keras.Model) -> bool:
    """Returns whether a model scales pixels in [0, 255] first of all.

    So does a `Rescaling` by 1/255, or a `Normalization` whose variance is that of such
    pixels, also inside of a model inside of it. Of another one nothing is known.

    Args:
        model: Keras model.
    """
    graph = graphs.functional(model)
    if graph is None or len(graph.inputs) != 1 or len(graph.inputs[0].shape) != 4:
        return False
    place = graph.inputs[0]
    for node in keras_internals.nodes(graph):
        if not any(tensor is place for tensor in node.input_tensors):
            continue
        operation = node.operation
        if graphs.functional(operation) is not None:
            return takes_bytes(operation)
        if type(operation).__name__ not in _SAME_SCALE:
            return _divides(operation)
        place = node.outputs[0]
    return False


# Operations that leave pixels in their range.
_SAME_SCALE = {
    *("Cast", "CenterCrop", "Identity", "InputLayer", "Permute", "Resizing"),
    *("RandomFlip", "RandomCrop", "ZeroPadding2D"),
}


def _divides(operation) -> bool:
    if isinstance(operation, keras.layers.Rescaling):
        scale = np.asarray(operation.scale, "float32")
        return bool(np.all((scale > 0) & (scale < 1 / _SMALLEST_DIVISOR)))
    if isinstance(operation, keras.layers.Normalization) and not operation.invert:
        variance = getattr(operation, "variance", None)
        if variance is None:
            return False
        # Those in [0, 1] have at most a quarter; gray ones from 0 to 255, thousands.
        return bool(np.all(ops.convert_to_numpy(variance) > _SMALLEST_DIVISOR))
    return False
