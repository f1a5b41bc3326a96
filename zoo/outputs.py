"""What a model must return: one logit for each of two or more classes.

A classifier does so for each image, of shape `(batch, num_classes)`, and a model for
segmentation for each pixel, of shape `(batch, height, width, num_classes)`. Whatever
takes logits or probabilities reduces their last axis and keeps those before it.

A regressor has two numbers instead, of shape `(batch, 2)`: the mean and the standard
deviation of a Gaussian; it knows that it is one, see `task_of`.

A softmax of probabilities is a nearly uniform distribution that looks like a modest
one, so whatever takes a model or logits asks here.
"""

import keras
import numpy as np
from keras import ops

from layers import graphs, keras_internals, tracing
from zoo import arrays

# Operations whose outputs are probabilities, and those that do not change what they
# are given.
_PROBABILITIES = {
    *("softmax", "softmax_v2", "sparsemax", "sigmoid", "hard_sigmoid"),  # Functions.
    *("Softmax", "Sparsemax", "Sigmoid", "HardSigmoid"),  # Operations.
}
_LINEAR = (None, keras.activations.linear)
_SILENT = {"Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze"}
_SILENT |= {"FakeQuantization"}  # It rounds.


def check_model(model: keras.Model) -> None:
    """Checks that a model returns logits for each image, or for each of its pixels.

    Raises:
        ValueError: If it is no built Keras model, has another kind of output or one of
            unknown height or width, fewer than two classes, or ends with a softmax or a
            sigmoid.
    """
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(
            "`model` must be a built Keras model from images to logits. "
            f"Received: model={model!r}"
        )
    if not hasattr(model, "output_shape") or not hasattr(model, "input_shape"):
        raise ValueError(
            "`model` must be functional or sequential, and a subclass of keras.Model "
            "shows no shapes: call it on `keras.Input(...)`, and make a `keras.Model` "
            f"of both. Received: model={model.name} of {type(model).__name__}"
        )
    if not isinstance(model.input_shape, tuple):
        raise ValueError(
            "`model` must take one batch of images. Received: "
            f"model={model.name} with input_shape={model.input_shape}"
        )
    shape = model.output_shape
    if not isinstance(shape, tuple) or len(shape) not in (2, 4) or None in shape[1:-1]:
        raise ValueError(
            "`model` must return logits of shape (batch, num_classes), or (batch, "
            "height, width, num_classes) with a known height and width. "
            f"Received: model={model.name} with output_shape={shape}"
        )
    check_num_classes(shape[-1], f"model={model.name} with output_shape={shape}")
    operation, kind = _ending(model)
    if kind in _PROBABILITIES:
        raise ValueError(
            f"`model` must return logits, and '{model.name}' returns probabilities: it "
            f"ends with the {kind} of '{operation.name}'. End it before that, or add a "
            "layer that takes their logarithm; commands do so with --outputs=probs. "
            f"Received: model={model.name}"
        )


def task_of(model: keras.Model) -> str:
    """Returns what a model is for, one of `TASKS` or `REGRESSION`.

    As it says, or its output shows.

    Args:
        model: From images to what `check_model` takes.
    """
    knows = model.knows() if hasattr(model, "knows") else {}
    return knows.get("task") or TASKS[len(model.output_shape)]


# By the rank of the output, with the axis of the batch, unless the model knows better.
TASKS = {2: "classification", 4: "segmentation"}
REGRESSION = "regression"


def check_gaussians(values, name: str = "`samples`") -> None:
    """Checks samples of Gaussians; numbers are looked at where they are known.

    Args:
        values: Array or tensor of shape `(samples, batch, 2)`: means and standard
            deviations.
        name: What they are called in an error.

    Raises:
        ValueError: If the shape is another, there are no samples, a number is NaN or
            infinite, or a deviation is not positive.
    """
    shape = check_numbers(values, name)
    if len(shape) != 3 or shape[0] == 0 or shape[-1] != 2:
        raise ValueError(
            f"{name} must be means and standard deviations, of shape (samples, batch, "
            f"2). Received: shape={shape}"
        )
    if not tracing.is_known(values):
        return
    rows = ops.convert_to_numpy(values).astype("float64").reshape(-1, 2)
    if bad := np.count_nonzero(~np.isfinite(rows).all(axis=1)):
        raise ValueError(
            f"{name} must not be NaN or infinite. Received: {bad} of {len(rows)} such "
            "rows"
        )
    if len(rows) and rows[:, 1].min() <= 0:
        raise ValueError(
            f"{name} must have positive standard deviations behind the means. "
            f"Received: values from {rows[:, 1].min():.4g}; are these of a classifier?"
        )


def check_num_classes(num_classes: int | None, received: str = "") -> None:
    """Checks a number of classes; one logit alone has the probability 1.

    Raises:
        ValueError: If it is not an integer of two or more.
    """
    whole = isinstance(num_classes, (int, np.integer))
    if not whole or isinstance(num_classes, bool) or num_classes < 2:
        raise ValueError(
            "There must be two classes at least, with a logit for each: the softmax of "
            "one is 1 whatever it is. Received: "
            f"{received or f'num_classes={num_classes}'}"
        )


def check_logits(logits, name: str = "`logits`", are_different: bool = False) -> None:
    """Checks sampled logits.

    Their numbers are looked at where they are known, not in compiled functions.

    Args:
        logits: Array or tensor of shape `(samples, batch, ..., num_classes)`.
        name: What they are called in an error.
        are_different: Whether all rows are of different images; equal ones then are
            those of a model that is sure, and else say no more than one, as those of
            different pixels do.

    Raises:
        ValueError: If the shape is another, there are no samples or fewer than two
            classes, a row has NaN, infinity or no possible class, or these are
            probabilities.
    """
    shape = check_numbers(logits, name)
    if (
        len(shape) not in (3, 5)
        or shape[0] == 0
        or (shape[-1] is not None and shape[-1] < 2)
    ):
        raise ValueError(
            f"{name} must have the shape (samples, batch, num_classes), or (samples, "
            "batch, height, width, num_classes), with one sample and two classes at "
            f"least. Received: shape={shape}"
        )
    if tracing.is_known(logits):
        rows = ops.convert_to_numpy(logits).astype("float64").reshape(-1, shape[-1])
        _check_values(rows, name, are_different and len(shape) == 3)


def check_numbers(values, name: str) -> tuple:
    """Checks that values are real numbers.

    Args:
        values: Array, tensor or list.
        name: What they are called in an error.

    Returns:
        Their shape.

    Raises:
        ValueError: If they are words, complex numbers or other objects.
    """
    values = values if hasattr(values, "shape") else np.asarray(values)
    if getattr(values.dtype, "kind", "f") in "cOSUmM" or "complex" in str(values.dtype):
        raise ValueError(f"{name} must be real numbers. Received: dtype={values.dtype}")
    return tuple(values.shape)


def check_labels(labels, shape: tuple[int, ...]) -> np.ndarray:
    """Checks the labels of some predictions.

    Args:
        labels: Array of integers in `[0, num_classes)`, one for each prediction.
        shape: The shape of the predictions, `(..., num_classes)`.

    Returns:
        The labels of all predictions, as an array of one axis; `UNLABELED` ones of
        `zoo.arrays` are those of pixels that count nowhere.

    Raises:
        ValueError: If their shape, their type or their range is another, or no pixel is
            labeled.
    """
    labels = np.asarray(labels)
    if labels.shape != shape[:-1]:
        raise ValueError(
            f"`labels` must have the shape {shape[:-1]}, one for each prediction. "
            f"Received: labels.shape={labels.shape}"
        )
    labels = arrays.check_labels(labels, shape[-1]).reshape(-1)
    if labels.size and labels.max() == arrays.UNLABELED:
        raise ValueError(
            "One pixel at least must be labeled. Received: "
            f"labels of {labels.size} pixels, all {arrays.UNLABELED}"
        )
    return labels


def _check_values(rows, name, are_different):
    if not len(rows):
        return
    largest = rows.max(axis=1)  # NaN if one is.
    if bad := np.count_nonzero(~np.isfinite(largest)):
        raise ValueError(
            f"{name} must not be NaN or infinite, but for -inf, the logit of a class "
            f"that is impossible. Received: {bad} of {len(rows)} such rows"
        )
    if rows.min() < 0:
        return
    if are_probabilities(rows if are_different else np.unique(rows, axis=0)):
        raise ValueError(
            f"{name} must be logits; take the logarithm of probabilities. Received: "
            f"values from {rows.min():.4g} to {largest.max():.4g}, and the sum of each "
            "row is 1"
        )


def check_probs(rows: np.ndarray, place: str = "") -> None:
    """Checks that rows are probabilities.

    Args:
        rows: Array of shape `(examples, num_classes)`, with one example at least.
        place: Where they are from, for an error.

    Raises:
        ValueError: If one is NaN, infinite or negative, or a row does not sum to one.
    """
    with np.errstate(invalid="ignore"):  # Sums of infinities.
        sums = rows.sum(axis=1)
    if rows.min() >= 0 and np.abs(sums - 1).max() <= 1e-3:
        return
    if bad := np.count_nonzero(~np.isfinite(rows).all(axis=1)):
        raise ValueError(
            f"`probs` must be finite. Received: NaN or infinity in {bad} of "
            f"{len(rows)} examples{place}"
        )
    raise ValueError(
        "`probs` must be probabilities, which are not negative and sum to one; "
        "apply a softmax to logits. Received: values from "
        f"{rows.min():.4g} to {rows.max():.4g}, sums from {sums.min():.4g} to "
        f"{sums.max():.4g}{place}"
    )


def are_probabilities(rows) -> bool:
    """Returns whether rows are probabilities rather than logits.

    Logits that are not negative may sum to one by chance, but not so many of them.

    Args:
        rows: Array of shape `(examples, num_classes)`, of different examples.
    """
    rows = np.asarray(rows, "float64")
    error = float(np.abs(rows.sum(axis=1) - 1).max(initial=1e-6))
    if rows.min(initial=0) < 0 or error > 1e-2:
        return False
    return error ** len(rows) < 1e-9


def ends_with_logits(model: keras.Model) -> bool:
    """Returns whether the graph of a model shows that it returns logits.

    Of a graph that ends with a linear map it is known; what others return, their
    numbers tell.
    """
    operation, _ = _ending(model)
    activation = getattr(operation, "activation", None)
    return hasattr(operation, "kernel") and activation in _LINEAR


def _ending(model) -> tuple:
    """Returns the last operation of a graph that computes, and what it computes."""
    graph = graphs.functional(model)
    if graph is None or len(graph.outputs) != 1:
        return None, ""
    places = {
        id(out): node for node in keras_internals.nodes(graph) for out in node.outputs
    }
    node = places.get(id(graph.outputs[0]))
    while node is not None:
        operation = node.operation
        if graphs.functional(operation) is not None:
            return _ending(operation)
        activation = getattr(operation, "activation", None)
        kind = getattr(activation, "__name__", type(operation).__name__)
        is_activation = isinstance(operation, keras.layers.Activation)
        if kind not in _SILENT and not (kind == "linear" and is_activation):
            return operation, kind
        node = places.get(id(node.input_tensors[0]))
    return None, ""
