"""Networks of others made Bayesian: MC dropout and Gaussian weights in their graphs."""

import collections
import dataclasses
import fnmatch
import functools
from collections.abc import Callable, Iterator, Sequence

import keras

from layers import dropout, graphs, keras_internals, variational
from layers.convolution import FusedConv2D
from layers.grouped_convolution import GroupedConv2D
from zoo.classifier import Classifier, classes_of, named
from zoo.spelling import hint


def bayesianize(
    model: keras.Model,
    method: str,
    layers: Sequence[str] | None = None,
    **settings,
) -> Classifier:
    """Returns a copy of a network whose predictions are draws.

    Its weights are those of the network, and further ones begin as in the layers of
    this package: train it, or put Gaussian weights around trained ones by
    `layers.moped`. `zoo.posterior.MonteCarlo` predicts with it. In prediction batch
    normalization has its moving statistics, whatever draws. Regularizers of kernels
    that become Gaussian are left out: the prior takes their place.

    Args:
        model: A functional or sequential model, of `keras.applications`, KerasHub or
            one's own; layers in functional models inside of it count as its own.
        method: `"mcdo"`, dropout that stays on in prediction: the model's own dropout
            does, or new one is put behind the `layers`. `"flipout"`, `"reparam"` or
            `"lrt"`, Gaussian kernels of dense layers, convolutions and depthwise
            convolutions, drawn as the methods of the zoo of that name do. Or
            `"llsvi"`, Gaussian weights in the last of these layers alone.
        layers: Names of layers, or patterns such as `"block_*_add"`. By default all
            that the method can change.
        **settings: Arguments of the random layers: of `layers.MCDropout`, such as
            `rate`, by default that of the model's own dropout; or of
            `layers.DenseFlipout` and its like, such as `prior` and `initial_scale`.

    Returns:
        A model with the same inputs and outputs, called `{model.name}_{method}`. It has
        the names of the `classes` of the model.

    Raises:
        ValueError: If the model is subclassed, there is no such method, layer or
            setting, none of its layers fits the method, a layer that would draw is
            called more than once, or a prior is not finite.

    Example:

    >>> images = keras.Input((8, 8, 3))
    >>> x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(images)
    >>> x = keras.layers.GlobalAveragePooling2D()(x)
    >>> plain = keras.Model(images, keras.layers.Dense(2, name="head")(x), name="plain")
    >>> bayesian = bayesianize(plain, "mcdo", layers=["conv"], rate=0.2)
    >>> [layer.name for layer in bayesian.layers[1:3]]
    ['conv', 'conv_dropout']
    """
    if method not in METHODS:
        raise ValueError(
            f"Unknown method '{method}'.{hint(str(method), METHODS)} Known: "
            f"{', '.join(METHODS)}."
        )
    graph = graphs.functional(model)
    if graph is None:
        raise ValueError(
            "Layers are replaced in the graph of a functional or sequential model that "
            "is built. Write the network as a function of `keras.Input`, or use the "
            f"random layers of `layers` in its class. Received: model={model}"
        )
    calls = list(_calls(graph))
    change = METHODS[method]
    chosen = change.chosen(calls) if layers is None else _named(calls, layers, model)
    if not chosen:
        raise ValueError(f"{change.missing} Received: model={model.name}")
    _check_called_once(chosen, calls)
    copy = _Copy(change, chosen, settings)
    made = named(copy.of(graph, f"{model.name}_{method}"), classes_of(model))
    copy.give_weights()
    return made


def _calls(graph) -> Iterator[keras.layers.Layer]:
    """Yields the layer of each call, in functional models inside too."""
    for node in keras_internals.nodes(graph):
        inner = graphs.functional(node.operation)
        if inner is not None:
            yield from _calls(inner)
        elif isinstance(node.operation, keras.layers.Layer):
            yield node.operation


def _named(calls, patterns, model):
    names = {layer.name for layer in calls}
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise ValueError(
                f"'{model.name}' calls no layer '{pattern}'.{hint(pattern, names)} "
                f"Received: layers={list(patterns)}"
            )
    return [
        layer
        for layer in dict.fromkeys(calls)
        if any(fnmatch.fnmatchcase(layer.name, pattern) for pattern in patterns)
    ]


def _check_called_once(chosen, calls):
    counts = collections.Counter(map(id, calls))
    for layer in chosen:
        if (count := counts[id(layer)]) > 1:
            raise ValueError(
                f"The layer '{layer.name}' is called {count} times, and each call "
                "would draw anew, as if they shared no weights: give `layers` without "
                "it."
            )


class _Copy:
    """Copies graphs, and changes some of their layers."""

    def __init__(self, change, chosen, settings):
        self._change, self._settings = change, settings
        self._chosen = {id(layer) for layer in chosen}
        self._copies, self._behind = {}, {}

    def of(self, graph, name):
        """Returns a copy of a functional model."""
        # A plain one, for a subclass may have a constructor of its own.
        plain = keras.Model(graph.input, graph.output, name=name)
        return keras.models.clone_model(
            plain, clone_function=self._copied, call_function=self._call_again
        )

    def give_weights(self):
        """Gives the copies of layers the weights of these."""
        for layer, copy in self._copies.values():
            if isinstance(copy, variational.GaussianKernel):
                copy.kernel.assign(layer.kernel)
                if layer.use_bias:
                    copy.bias.assign(layer.bias)
            elif type(copy) is type(layer):
                _give_weights(layer, copy)

    def _copied(self, layer):
        # A layer that is called in several models is one in their copies too.
        if id(layer) not in self._copies:
            self._copies[id(layer)] = layer, self._replaced(layer)
        return self._copies[id(layer)][1]

    def _replaced(self, layer):
        if (inner := graphs.functional(layer)) is not None:
            return self.of(inner, layer.name)
        if id(layer) not in self._chosen:
            return _same(layer)
        copy, behind = self._change.function(layer, self._settings)
        self._behind[id(copy)] = behind
        return copy

    def _call_again(self, layer, *args, **kwargs):
        if isinstance(layer, dropout.MCDropout):
            kwargs.pop("training", None)  # It draws anyway.
        outputs = layer(*args, **kwargs)
        behind = self._behind.get(id(layer))
        return outputs if behind is None else behind(outputs)


def _same(layer):
    """Returns a layer like another one; functions are not copied."""
    if isinstance(layer, keras.layers.Lambda):
        return layer
    return type(layer).from_config(layer.get_config())


def _give_weights(layer, copy):
    if layer is copy or not isinstance(layer, keras.layers.Layer):
        return
    if graphs.functional(layer) is not None:  # What is inside has copies of its own.
        return
    pairs = zip(
        keras_internals.flat_layers(layer),
        keras_internals.flat_layers(copy),
        strict=True,
    )
    for old, new in pairs:
        state = {}
        old.save_own_variables(state)
        new.load_own_variables(state)


# Keras' own, and whether they drop whole channels.
_DROPOUTS = {
    keras.layers.Dropout: False,
    keras.layers.SpatialDropout2D: True,
    dropout.Dropout: False,
}


def _dropped(layer, settings):
    """Returns dropout that stays on, in place of other dropout or behind a layer."""
    if type(layer) not in _DROPOUTS:
        made = dropout.MCDropout(name=f"{layer.name}_dropout", **settings)
        return _same(layer), made
    if getattr(layer, "noise_shape", None) is not None:
        raise ValueError(
            f"The layer '{layer.name}' has a `noise_shape`, and `layers.MCDropout` "
            "drops entries or channels: give `layers` without it. Received: "
            f"noise_shape={layer.noise_shape}"
        )
    channelwise = getattr(layer, "channelwise", _DROPOUTS[type(layer)])
    own = {"rate": layer.rate, "channelwise": channelwise}
    own |= {"name": layer.name, "dtype": layer.dtype_policy}
    return dropout.MCDropout(**{**own, **settings}), None


# Names of our layers without the estimator, and the arguments that they share with
# Keras'.
_LINEAR = "use_bias", "activation", "kernel_initializer", "bias_initializer"
_CONVOLUTION = *_LINEAR, "kernel_size", "strides", "padding", "dilation_rate"
_GAUSSIAN = {
    keras.layers.Dense: ("Dense", (*_LINEAR, "units")),
    keras.layers.Conv2D: ("Conv2D", (*_CONVOLUTION, "filters", "groups")),
    GroupedConv2D: ("Conv2D", (*_CONVOLUTION, "filters", "groups")),
    FusedConv2D: ("Conv2D", (*_CONVOLUTION, "filters", "groups")),
    keras.layers.DepthwiseConv2D: (
        "DepthwiseConv2D",
        tuple(name for name in _CONVOLUTION if name != "kernel_initializer")
        + ("depth_multiplier",),
    ),
}


def _gaussian(layer, settings, estimator):
    """Returns a layer with Gaussian weights in place of one of Keras."""
    if type(layer) not in _GAUSSIAN:
        raise ValueError(
            f"The layer '{layer.name}' is no `keras.layers.Dense`, `Conv2D` or "
            "`DepthwiseConv2D`, which can have Gaussian weights. Received: "
            f"{type(layer).__name__}"
        )
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise ValueError(
            f"The layer '{layer.name}' has its channels first, and Gaussian weights "
            f"are for channels last. Received: data_format={layer.data_format}"
        )
    base, names = _GAUSSIAN[type(layer)]
    own = {name: getattr(layer, name) for name in names}
    own |= {"name": layer.name, "dtype": layer.dtype_policy}
    own["trainable"] = layer.trainable
    return getattr(variational, base + estimator)(**{**own, **settings}), None


@dataclasses.dataclass(frozen=True)
class _Change:
    """What a method does to layers.

    Attributes:
        function: From a layer and settings to one in its place, and one behind it or
            None.
        kinds: The layers that it changes by default.
        missing: What is wrong if there are none.
        last: Whether it changes the last of them alone.
    """

    function: Callable
    kinds: dict
    missing: str
    last: bool = False

    def chosen(self, calls) -> list[keras.layers.Layer]:
        """Returns the layers to change by default, of all in the order of calls."""
        found = [layer for layer in dict.fromkeys(calls) if type(layer) in self.kinds]
        return found[-1:] if self.last else found


def _gaussian_change(estimator, last=False):
    return _Change(
        functools.partial(_gaussian, estimator=estimator),
        _GAUSSIAN,
        "There is no `keras.layers.Dense`, `Conv2D` or `DepthwiseConv2D` that could "
        "have Gaussian weights.",
        last,
    )


# By the name of a method.
METHODS = {
    "mcdo": _Change(
        _dropped,
        _DROPOUTS,
        "There is no dropout that could stay on; give by `layers` the names of those "
        "behind which it is to be.",
    ),
    "flipout": _gaussian_change("Flipout"),
    "reparam": _gaussian_change("Reparameterization"),
    "lrt": _gaussian_change("LocalReparameterization"),
    "llsvi": _gaussian_change("Reparameterization", last=True),
}
