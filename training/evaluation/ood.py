"""Out-of-distribution detection: AUROC, AUPR and FPR95 between stored predictions."""

import math

import numpy as np

from training.evaluation.predictions import Predictions
from training.evaluation.sampling import SCORES
from training.metrics import DETECTION, inputs, ood_scores
from training.metrics.definitions import entropies


def rows(inside: Predictions, outside: Predictions, sizes=None) -> list[dict]:
    """Returns one row per ensemble size, metric and score.

    Args:
        inside: Predictions on the data set of the model.
        outside: Those of the same model on another one.
        sizes: The ensemble sizes; by default all.

    Returns:
        Rows as those of `training.evaluation.evaluate.evaluate`, of the data set `"a vs
        b"` and metrics such as `"auroc/entropy"`. Mutual information is left out where
        it is zero throughout, as it is of a single sample; so are the energy and the
        largest logit where logits are not known. Scores that the posterior gives itself
        are under their names.
    """
    found = []
    for size in sizes or inside.meta["sizes"]:
        mine, others = scores(inside, size), scores(outside, size)
        common = {
            "model": inside.meta["model"],
            "dataset": f"{inside.meta['dataset']} vs {outside.meta['dataset']}",
            "num_samples": size,
        }
        numbers = {
            "num_examples": inside.meta["count"] + outside.meta["count"],
            "seed": inside.meta["seed"],
            "seconds": round(inside.meta["seconds"] + outside.meta["seconds"], 3),
            "data": f"{inside.meta.get('data')} vs {outside.meta.get('data')}",
        }
        if (precision := inside.meta.get("precision", "float32")) != "float32":
            numbers["precision"] = precision
        if excluded := sum(s.meta.get("excluded", 0) for s in (inside, outside)):
            numbers["excluded"] = excluded
        for metric, function in DETECTION.items():
            found += [
                {
                    **common,
                    "metric": f"{metric}/{name}",
                    "value": function(mine[name], others[name]),
                    **numbers,
                }
                for name in mine
                if name in others
            ]
    return found


def scores(stored: Predictions, size: int) -> dict[str, np.ndarray]:
    """Returns the scores of stored predictions by name; higher is less to be trusted.

    Args:
        stored: Predictions of a model.
        size: An ensemble size.

    Returns:
        Arrays with a number for each example; see `training.metrics.ood_scores`. Those
        of samples and logits are left out where they are zero throughout.
    """
    index = stored.index(size)
    of_samples = {name: np.ravel(getattr(stored, name)[index]) for name in SCORES}
    return ood_scores(
        stored.probs[index],
        **{name: x for name, x in of_samples.items() if np.any(x)},
        **{name: np.ravel(values[index]) for name, values in stored.scores.items()},
    )


def score(stored: Predictions, size: int, name: str) -> np.ndarray:
    """Returns one of `scores`, in the memory of this one.

    Args:
        stored: Predictions of a model.
        size: An ensemble size.
        name: Its name.

    Returns:
        Array with a number for each example, in float64, or as it is stored; of pixels,
        which are many, in float32.
    """
    index = stored.index(size)
    if name in SCORES:
        values = np.ravel(getattr(stored, name)[index])
        return -values if name == "max_logit" else values
    if name in stored.scores:
        return np.ravel(stored.scores[name][index])
    probs = stored.probs[index]
    dtype = "float64" if probs.ndim == 2 else "float32"
    found = np.empty(math.prod(probs.shape[:-1]), dtype)
    for start, part in inputs.rows(probs):
        found[start : start + len(part)] = _OF_PROBS[name](part)
    return found


_OF_PROBS = {
    "entropy": lambda probs: entropies(np, probs),
    "max_probability": lambda probs: 1 - probs.max(axis=1),
}


def uncertainties(stored: Predictions, size: int) -> list[str]:
    """Returns the names of the scores that are uncertainties.

    Args:
        stored: Predictions of a model.
        size: An ensemble size.

    Returns:
        The `"entropy"`, which is the aleatoric uncertainty of a single sample and the
        total one of several; the `"mutual_information"`, unless it is zero throughout,
        the epistemic one; and the posterior's own scores.
    """
    has_more = np.any(stored.mutual_information[stored.index(size)])
    more = ["mutual_information"] if has_more else []
    return ["entropy", *more, *stored.scores]
