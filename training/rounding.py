"""Weights of half the size, if they classify as well."""

from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from training import evaluate
from training.images import ImageData
from training.metrics import CLASSIFICATION
from zoo import weights

DTYPE = "float16"
# How much of the test images may change from right to wrong, all in all: 5 of 10,000.
TOLERANCE = 5e-4
_NLL_TOLERANCE = 2e-3  # In nats.


def round_weights(
    model: keras.Model,
    dataset: ImageData,
    tolerance: float = TOLERANCE,
    seed: int = 0,
    batch_size: int = 100,
) -> dict[str, object]:
    """Rounds the weights of a model to float16, or leaves them if that costs accuracy.

    The model classifies the images before and after, in one pass with the same random
    numbers.

    Args:
        model: Its weights stay of the type that they have.
        dataset: Test images.
        tolerance: The largest change of the accuracy, up or down.
        seed: Of the passes.
        batch_size: Images per step.

    Returns:
        What changed: `dtype`, `dataset`, `images`, and the number of images classified
        rightly and the NLL with weights in float32 and in float16.

    Raises:
        ValueError: If the accuracy or the NLL changes by more, or a weight is not in
            the range of float16. The model is then as it was.
    """
    options = dataset, (1,), {k: CLASSIFICATION[k] for k in ("accuracy", "nll")}
    before = evaluate.evaluate(model, *options, seed, batch_size)
    named = weights.variables(model)
    kept = {name: ops.convert_to_numpy(v) for name, v in named.items()}
    _round(model)
    after = evaluate.evaluate(model, *options, seed, batch_size)
    found = _compare(dataset, before, after)
    changed = abs(found["correct"] - found["correct_in_float32"])
    further = abs(found["nll"] - found["nll_in_float32"])
    # NaN is no agreement.
    if not (changed <= tolerance * found["images"] and further <= _NLL_TOLERANCE):
        for name, variable in named.items():
            variable.assign(kept[name])
        raise ValueError(
            f"The weights of '{model.name}' cannot be rounded to {DTYPE}: of "
            f"{found['images']} images {found['correct']} are right in place of "
            f"{found['correct_in_float32']}, and the NLL is {found['nll']:.4f} in "
            f"place of {found['nll_in_float32']:.4f}; publish them as float32. "
            f"Received: tolerance={tolerance}"
        )
    return found


def _round(model):
    named = weights.variables(model)
    limit = np.finfo(DTYPE).max
    for name, variable in named.items():
        largest = np.abs(ops.convert_to_numpy(variable)).max(initial=0)
        if not largest <= limit:
            raise ValueError(
                f"The weight '{name}' of '{model.name}' has values up to {largest:g}, "
                f"and {DTYPE} ends at {limit:g}; publish them as float32."
            )
    for variable in named.values():
        variable.assign(ops.convert_to_numpy(variable).astype(DTYPE))


def _compare(dataset, before, after) -> Mapping[str, object]:
    old, old_nll = (row["value"] for row in before)
    new, new_nll = (row["value"] for row in after)
    count = len(dataset.labels)
    return {
        "dtype": DTYPE,
        "dataset": dataset.name,
        "images": count,
        "correct_in_float32": round(old * count),
        "correct": round(new * count),
        "nll_in_float32": round(old_nll, 6),
        "nll": round(new_nll, 6),
    }
