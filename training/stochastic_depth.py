"""Stochastic depth of a training: residual branches that steps leave out at random."""

from collections.abc import Callable

import keras

from layers import StochasticDepth, keras_internals, set_seed


class Branches:
    """The residual branches of a model, which steps leave out; its graph stays.

    A branch ends in a `keras.layers.Add` of two maps, of which it is the one behind
    more layers. The first branch has the rate 0 and the last one the largest, and those
    between are on a line, as published. Predictions and files are those of the model.

    Args:
        model: A functional model.
        rate: The largest rate.

    Raises:
        ValueError: If the model has no residual branch.

    Reference:
        [Deep Networks with Stochastic Depth](https://arxiv.org/abs/1603.09382) (Huang
        et al., 2016), Eq. 4.
    """

    def __init__(self, model: keras.Model, rate: float):
        sums = _sums(model)
        if not sums:
            raise ValueError(
                "`stochastic_depth` leaves out residual branches, which end in a "
                f"`keras.layers.Add`, and the model '{model.name}' has none: set it to "
                f"0. Received: stochastic_depth={rate}"
            )
        steps = max(len(sums) - 1, 1)
        self._dropping = {
            id(operation): (
                place,
                StochasticDepth(
                    rate * (i if len(sums) > 1 else 1) / steps,
                    name=f"{operation.name}_depth",
                    dtype=operation.dtype_policy,
                ),
            )
            for i, (operation, place) in enumerate(sums)
        }

    @property
    def layers(self) -> list[StochasticDepth]:
        """The layers that leave branches out, from the first branch to the last."""
        return [layer for _, layer in self._dropping.values()]

    @property
    def variables(self) -> list[keras.Variable]:
        """The random state of these layers, for steps and checkpoints."""
        return [variable for layer in self.layers for variable in layer.variables]

    def set_seed(self, seed: int):
        """Restarts all of them; see `layers.set_seed`."""
        for layer in self.layers:
            set_seed(layer, seed)

    def around(self, operation: keras.Operation, call: Callable) -> Callable:
        """Returns how a pass calls an operation of the graph.

        Args:
            operation: Of the graph.
            call: Calls it.
        """
        if id(operation) not in self._dropping:
            return call
        place, layer = self._dropping[id(operation)]

        def summed(inputs, *args, **kwargs):
            inputs = list(inputs)
            # Whether it is a pass of a training, the layer knows of the pass.
            inputs[place] = layer(inputs[place])
            return call(inputs, *args, **kwargs)

        return summed


def _sums(model):
    """Returns the sums of a graph, in order, each with the place of its branch."""
    graph = keras_internals.functional_graph(model)
    lengths, found = {}, []
    for node in keras_internals.nodes(graph) if graph is not None else ():
        before = [lengths.get(id(x), 0) for x in node.input_tensors]
        lengths |= {id(x): 1 + max(before, default=0) for x in node.outputs}
        if isinstance(node.operation, keras.layers.Add) and len(before) == 2:
            found.append((node.operation, 0 if before[0] > before[1] else 1))
    return found
