"""Several metrics of the same predictions, which are read once for most of them."""

from collections.abc import Callable, Mapping

import numpy as np

from training.metrics.definitions import DEFINITIONS
from training.metrics.sums import evaluate_all
from training.metrics.table import CLASSIFICATION, SEGMENTATION

# Those that are functions of sums; `top_5` is `top_k` with its default.
_DEFINITIONS = {
    function: DEFINITIONS[{"top_5": "top_k"}.get(name, name)]
    for name, function in (SEGMENTATION | CLASSIFICATION).items()
    if name in {*DEFINITIONS, "top_5"}
}


def compute(functions: Mapping[str, Callable], probs, labels) -> dict[str, float]:
    """Returns what functions of `(probs, labels)` return, by name.

    Those of `CLASSIFICATION` that are functions of sums over the examples are computed
    together, chunk by chunk, with the same bits as one by one; others are called.

    Args:
        functions: Functions of `(probs, labels)` by name.
        probs: Array of shape `(examples, num_classes)` or `(examples, height, width,
            num_classes)`; it may be a memory map.
        labels: Integer array of shape `(examples, ...)`.

    Returns:
        The values in the order of the functions.

    Raises:
        ValueError: If the predictions are none, as the functions say it.

    Example:

    >>> from training import metrics
    >>> functions = {"accuracy": metrics.accuracy, "brier": metrics.brier}
    >>> compute(functions, [[0.5, 0.5], [1.0, 0.0]], [1, 0])
    {'accuracy': 0.5, 'brier': 0.25}
    """
    probs = np.asanyarray(probs)
    # The default of the NLL clips at the smallest number of float32.
    single = np.result_type(probs.dtype, "float32") == "float32"
    definitions = {
        name: _DEFINITIONS[function]
        for name, function in functions.items()
        if single and function in _DEFINITIONS
    }
    found = evaluate_all(definitions, probs, labels) if definitions else {}
    return {
        name: found[name] if name in found else function(probs, labels)
        for name, function in functions.items()
    }
