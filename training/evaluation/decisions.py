"""Decisions on stored predictions: fitted to some, measured on others."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from keras import ops

from training import task
from training.evaluation.predictions import Predictions
from zoo import conformal
from zoo.conformal import Decision

_CHUNK = 4096


def fit(
    name: str, stored: Predictions, sizes: Sequence[int], seed: int = 0
) -> dict[int, Decision]:
    """Returns a decision for each ensemble size, adapted to its predictions.

    Args:
        name: As `zoo.conformal.named` takes it.
        stored: Predictions of images that the model does not know.
        sizes: The ensemble sizes.
        seed: Seed of what is drawn.

    Raises:
        ValueError: If there are too few images, or the decision is none for pixels.
        NoBestFitError: If nothing can be promised.
    """
    found = {}
    for size in sizes:
        found[size] = conformal.named(name)
        found[size].adapt(stored.probs[stored.index(size)], stored.labels, seed)
    return found


def values(
    decision: Decision, stored: Predictions, size: int, seed: int = 0
) -> dict[str, float]:
    """Returns the metrics of the sets of stored predictions, by name.

    Args:
        decision: An adapted decision.
        stored: Predictions of other images.
        size: The ensemble size.
        seed: Seed of what is drawn; of this data set it is not that of another one.
    """
    probs, parts = stored.probs[stored.index(size)], []
    step = max(1, _CHUNK // math.prod(probs.shape[1:-1]))
    for first in range(0, len(probs), step):
        part = ops.convert_to_tensor(np.asarray(probs[first : first + step]))
        parts.append(ops.convert_to_numpy(decision(part, seed=seed, offset=first)))
    sets, functions = np.concatenate(parts), task.of_predictions(stored.meta).sets
    return {name: of(sets, stored.labels) for name, of in functions.items()}


def rows(
    of_metrics: Sequence[Mapping],
    decided: Mapping[str, Mapping[int, Decision]],
    stored: Predictions,
) -> list[dict]:
    """Returns the rows of decisions: `coverage/aps_90` and such.

    Args:
        of_metrics: Rows of the model on these predictions.
        decided: By its name, a decision for each ensemble size.
        stored: The predictions.
    """
    first = {row["num_samples"]: row for row in of_metrics}
    seed = int(stored.meta["seed"]) + 1
    return [
        {**first[size], "metric": f"{metric}/{name}", "value": value}
        for name, by_size in decided.items()
        for size, decision in by_size.items()
        for metric, value in values(decision, stored, size, seed).items()
    ]
