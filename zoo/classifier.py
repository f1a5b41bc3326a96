"""Names of classes: they travel with models, and labels are matched by them."""

import json
import re
import unicodedata
from collections.abc import Sequence

import keras
from keras import ops

import layers
from layers import deep_explainer, epochs, keras_internals
from zoo.kept_weights import kept_weights

_SHOWN = 5  # Maximal number of names in a message.


@keras.saving.register_keras_serializable(package="zoo")
class Classifier(keras_internals.OutputMarker):
    """A functional model that may know the names of its classes.

    What it knows is in its config, so files, copies, pickles and clones have it too. A
    subclass that knows more keeps it by `know`. On JAX no exception in `fit`,
    `evaluate` or `predict` leaves it without weights; see `zoo.kept_weights`. `fit`
    tells layers of epochs, as `layers.EpochEvents` says.
    """

    _metadata = "{}"  # In JSON, for Keras wraps lists and dicts.

    def __init__(self, inputs, outputs, name=None, **kwargs):
        super().__init__(inputs=inputs, outputs=outputs, name=name, **kwargs)
        # Where `keras.models.clone_model` has made it; see below.
        self._metadata = getattr(outputs, "_metadata", "{}")
        layers.accept_empty_batches(self)

    def knows(self) -> dict:
        """Returns what it knows beside its graph, as `json` gives it back."""
        return json.loads(self._metadata)

    def know(self, **metadata):
        """Keeps what `json` takes."""
        self._metadata = json.dumps({**self.knows(), **metadata})

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in the order of the logits; empty if not known."""
        return tuple(self.knows().get("classes", ()))

    @classes.setter
    def classes(self, names: Sequence[str]):
        names = list(map(str, names))
        if len(names) not in (0, self.output_shape[-1]) or len({*names}) < len(names):
            raise ValueError(
                f"`classes` must be {self.output_shape[-1]} different names, one for "
                f"each logit. Received: classes={_listed(names)}"
            )
        self.know(classes=names)

    def mark(self, output):
        # A clone is made of this output by the constructor, from no config.
        output._metadata = self._metadata

    def __call__(self, inputs, *args, training=None, **kwargs):
        # Without an image some kernels fail, others lose the shape of their outputs.
        is_empty = not training and _has_none(inputs)
        if is_empty:
            inputs = ops.zeros((1, *inputs.shape[1:]), inputs.dtype)
        outputs = super().__call__(inputs, *args, training=training, **kwargs)
        if deep_explainer.is_explaining():
            draws = layers.is_stochastic(self)
            deep_explainer.check(self, inputs, outputs, draws)
        return outputs[:0] if is_empty else outputs

    def fit(self, *args, **kwargs):
        args, kwargs = epochs.with_events(super().fit, args, kwargs)
        with kept_weights(self):
            return super().fit(*args, **kwargs)

    def evaluate(self, *args, **kwargs):
        with kept_weights(self):
            return super().evaluate(*args, **kwargs)

    def export(self, filepath, format="tf_saved_model", *args, **kwargs):
        _check_export(self, format, kwargs)
        return super().export(filepath, format, *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        if _has_none(x):  # Of which Keras makes no batch.
            return ops.convert_to_numpy(self(x))
        with kept_weights(self):
            return super().predict(x, *args, **kwargs)

    def get_config(self):
        # Files of models have it under this name.
        return {**super().get_config(), "facts": self.knows()}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        graph = {key: value for key, value in config.items() if key != "facts"}
        model = super().from_config(graph, custom_objects=custom_objects)
        model.know(**config.get("facts", {}))
        return model


def _has_none(images) -> bool:
    return tuple(getattr(images, "shape", ()))[:1] == (0,)


def named(model: keras.Model, classes: Sequence[str] = ()) -> Classifier:
    """Returns a model with the same layers that knows the names of its classes.

    What it is for it knows as before.

    Args:
        model: A functional model.
        classes: The names, in the order of the logits; none if they are not known.
    """
    found = Classifier(inputs=model.input, outputs=model.output, name=model.name)
    found.classes = classes
    found.know(**task_known(model))
    return found


def task_known(model: keras.Model) -> dict[str, object]:
    """Returns what a regressor knows of being one; of other models nothing."""
    known = model.knows() if isinstance(model, Classifier) else {}
    return {key: known[key] for key in ("task", "target") if key in known}


def classes_of(model) -> tuple[str, ...]:
    """Returns the names of the classes of a model or posterior; empty if not known."""
    return tuple(getattr(model, "classes", ()))


def match(
    classes: Sequence[str], others: Sequence[str], who: str, whose: str
) -> tuple[int, ...]:
    """Returns where the names of some classes are among those of others.

    Names are the same in any case of letters and with any signs between their words, as
    folders cannot have all: `"T-shirt/top"` is `"t-shirt_top"`.

    Args:
        classes: Names, for example of a data set.
        others: Names among which each of them must be, for example of a model.
        who: Has `classes`, for the error.
        whose: Has `others`.

    Raises:
        ValueError: If one is not there; it says which names only one of them has.

    Example:

    >>> match(["dog", "cat"], ["Cat", "Cow", "Dog"], "data set 'd'", "model 'm'")
    (2, 0)
    """
    known = {name: place for place, name in enumerate(others)}
    spelled = [_spelled(name) for name in others]
    if len({*spelled, *map(_spelled, classes)}) <= len(spelled) == len({*spelled}):
        known |= {name: place for place, name in enumerate(spelled)}
    places = [known.get(n, known.get(_spelled(n))) for n in classes]
    if None in places or len({*places}) < len(places):
        missing = [n for n, p in zip(classes, places, strict=True) if p is None]
        left = [n for place, n in enumerate(others) if place not in places]
        raise ValueError(
            f"The classes of {who} are not those of {whose}: only the first has "
            f"{_listed(missing)}, only the second {_listed(left)}. Labels are matched "
            "by the names of the classes."
        )
    return tuple(places)


def _spelled(name):
    words = re.sub(r"[\W_]+", " ", unicodedata.normalize("NFC", name).casefold())
    return f" {words.strip()}"  # No name begins so.


def _listed(names):
    more = len(names) - _SHOWN
    text = ", ".join(f"'{name}'" for name in names[:_SHOWN]) or "none"
    return text + (f" and {more} more" if more > 0 else "")


def _check_export(model, kind, settings):
    """Raises a ValueError where Keras would write a file that is wrong."""
    quantized = [
        layer.name
        for layer in keras_internals.flat_layers(model)
        if getattr(layer, "quantization_mode", None)
    ]
    if quantized and kind != "tf_saved_model":
        raise ValueError(
            "A model that Keras has quantized is wrong, or not smaller, in other "
            "formats: export it as it was before, by `zoo-export --format=tflite "
            f"--quantization`. Received: format={kind}, model={model.name}, of which "
            f"{quantized[0]} is quantized"
        )
    if not layers.is_stochastic(model):
        return
    opset = settings.get("opset_version") or 15
    if kind == "openvino" or (kind == "onnx" and opset < 18):
        reason = {
            "openvino": "OpenVINO takes the unsigned integers of its draws for signed "
            "ones, and gives masks of no rate",
            "onnx": "its draws take opset 18, and Keras writes 15 unless it is told "
            "`opset_version=18`",
        }[kind]
        raise ValueError(
            f"A stochastic model is not exported so: {reason}. Formats of `zoo-export` "
            f"draw as Keras does. Received: format={kind}, model={model.name}"
        )
