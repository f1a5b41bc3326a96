"""Scalers of stored predictions, without passing an image again."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from keras import ops

from training.evaluation import predictions
from training.evaluation.predictions import Predictions
from training.evaluation.sampling import SCORES
from zoo.posterior import Scaler
from zoo.posterior.scaler import thinned

_CHUNK = 4096
_TINY = np.finfo("float32").tiny  # In place of probabilities that are zero.


def fit(
    scaler: Scaler, stored: Predictions, sizes: Sequence[int]
) -> dict[int, dict[str, np.ndarray]]:
    """Returns what a scaler learns at each ensemble size.

    Args:
        scaler: Scaler of any model; it stays as it is.
        stored: Predictions of neither training nor test images.
        sizes: The ensemble sizes.

    Raises:
        NoBestFitError: If nothing fits best; see `zoo.posterior.Scaler`.
    """
    found = {}
    step = _chunk(stored)
    for size in sizes:
        places, parts = [stored.index(size)], []
        for first in range(0, stored.meta["count"], step):
            rows = slice(first, first + step)
            (logits,) = _logits(stored, places, rows)
            parts.append(thinned(logits, stored.labels[rows]))
        logits, labels = map(np.concatenate, zip(*parts, strict=True))
        found[size] = scaler.fit(logits, labels)
    return found


def _chunk(stored):
    """Returns how many examples are scaled at once, of maps fewer."""
    return max(1, _CHUNK // int(np.prod(stored.labels.shape[1:])))


def scale(
    scaler: Scaler,
    stored: Predictions,
    by: Mapping[int, Mapping[str, object]],
    name: str,
    folder: str | os.PathLike,
) -> Predictions:
    """Writes the predictions of a scaler of what is stored.

    The logits are known from the probabilities and the energy, up to rounding; where a
    probability was zero in float32, its logarithm is taken to be -87.3. Where the
    energy is not known, neither it nor the largest logit is of what comes out.

    Args:
        scaler: Scaler of the model.
        stored: Predictions of a model.
        by: What the scaler has learned, by ensemble size.
        name: Name of the scaler.
        folder: Folder for the predictions, of that name and the data set.

    Returns:
        The predictions, whose samples agree: they are one.
    """
    learned = [
        {key: np.asarray(value).tolist() for key, value in values.items()}
        for values in by.values()
    ]
    meta = {
        **stored.meta,
        "model": name,
        "done": 0,
        "seconds": 0.0,
        "sizes": list(by),
        "scores": [],
        "learned": learned,
    }
    meta["fingerprint"] = {
        "of": stored.meta["fingerprint"],
        "kind": type(scaler).__name__,
        "learned": learned,
    }
    places = [stored.index(size) for size in by]
    has_logits = np.any(stored.energy)

    def batches(start):
        step = _chunk(stored)
        for first in range(start, meta["count"], step):
            logits = _logits(stored, places, slice(first, first + step))
            pairs = zip(logits, by.values(), strict=True)
            scaled = [ops.convert_to_numpy(scaler.scale(*pair)) for pair in pairs]
            logits = np.stack(scaled).astype("float64")
            largest = logits.max(axis=-1)
            exps = np.exp(logits - largest[..., None])
            sums = exps.sum(axis=-1)
            none = np.zeros_like(sums)
            of_logits = (
                (-largest - np.log(sums), largest) if has_logits else (none, none)
            )
            scores = none, *of_logits
            yield (
                first,
                {
                    "probs": exps / sums[..., None],
                    **dict(zip(SCORES, scores, strict=True)),
                },
            )

    return predictions.write(meta, stored.labels, batches, folder)


def _logits(stored, places, rows):
    """Returns those that `zoo.posterior.scaler.pooled` gives, in float64."""
    probs = np.maximum(stored.probs[places, rows], _TINY, dtype="float64")
    return np.log(probs) - stored.energy[places, rows].astype("float64")[..., None]
