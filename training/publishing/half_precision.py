"""Weights of half the size, if they classify as well."""

import math
from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from training.data.image_data import ImageData
from training.evaluation import evaluate
from training.metrics import CLASSIFICATION
from zoo.presets import weight_file

DTYPE = "float16"
# How much of the test images may change from right to wrong, all in all: 5 of 10,000.
TOLERANCE = 5e-4
# Rounding moves images over a decision both ways, and which of them are in a small test
# set is chance: the number of images that it may lose for that, which is what
# `training.evaluation.card_check` allows.
_CHANCE = 3
# The tasks with an accuracy that says what rounding costs.
TASKS = ("classification", "segmentation")
# In nats, and the number of images that it holds for: a mean over fewer scatters more.
# Of an NLL above one nat it is a share.
_NLL_TOLERANCE = 2e-3
_NLL_IMAGES = 1500


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
        tolerance: The largest loss of accuracy; three images may always be lost. More
            images that are right are no loss.
        seed: Seed of the passes.
        batch_size: Images per step.

    Returns:
        What changed: `dtype`, `dataset`, `images`, and the number of images classified
        rightly and the NLL with weights in float32 and in float16.

    Raises:
        ValueError: If the accuracy falls or the NLL grows by more, or a weight is not
            in the range of float16. The model is then as it was.
    """

    def measure():
        return evaluate.evaluate(
            model,
            dataset,
            num_samples=(1,),
            metrics={name: CLASSIFICATION[name] for name in ("accuracy", "nll")},
            seed=seed,
            batch_size=batch_size,
        )

    before = measure()
    named = weight_file.variables(model)
    kept = {name: ops.convert_to_numpy(v) for name, v in named.items()}
    _round(model)
    after = measure()
    found = _compare(dataset, before, after)
    lost = found["correct_in_float32"] - found["correct"]
    further = found["nll"] - found["nll_in_float32"]
    few = math.sqrt(max(1, _NLL_IMAGES / found["images"]))
    addable = _NLL_TOLERANCE * few * max(1, found["nll_in_float32"])
    allowed = max(_CHANCE, tolerance * found["images"])
    # NaN is no agreement.
    if not (lost <= allowed and further <= addable):
        for name, variable in named.items():
            variable.assign(kept[name])
        raise ValueError(
            f"The weights of '{model.name}' cannot be rounded to {DTYPE}: of "
            f"{found['images']} images {found['correct']} are right in place of "
            f"{found['correct_in_float32']}, and the NLL is {found['nll']:.4f} in "
            f"place of {found['nll_in_float32']:.4f}, where {allowed:.0f} may be lost "
            f"and {addable:.4f} added; publish them as float32. "
            f"Received: tolerance={tolerance}"
        )
    return found


def _round(model):
    named = weight_file.variables(model)
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
