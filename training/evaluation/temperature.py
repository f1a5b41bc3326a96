"""Temperature scaling of stored predictions, without passing an image again."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from training.evaluation import predictions
from training.evaluation.predictions import Predictions
from training.evaluation.sampling import SCORES
from zoo.posterior.temperature import best_temperature

_CHUNK = 4096
_TINY = np.finfo("float32").tiny  # In place of probabilities that are zero.


def temperatures(stored: Predictions, sizes: Sequence[int]) -> dict[int, float]:
    """Returns the best temperature of each ensemble size.

    Args:
        stored: Predictions of neither training nor test images.
        sizes: The ensemble sizes.

    Raises:
        NoBestTemperatureError: If there is none; see `zoo.posterior.temperature`.
    """
    return {
        size: best_temperature(_log(stored.probs[stored.index(size)]), stored.labels)
        for size in sizes
    }


def scale(
    stored: Predictions, by: Mapping[int, float], name: str, folder: str | os.PathLike
) -> Predictions:
    """Writes the predictions of `zoo.posterior.Temperature` of what is stored.

    Its logits are known from the probabilities and the energy, up to rounding; where a
    probability was zero in float32, its logarithm is taken to be -87.3.

    Args:
        stored: Predictions of a model.
        by: The temperature of each ensemble size.
        name: Name of the model with these temperatures.
        folder: Folder of that name and the data set.

    Returns:
        The predictions, whose samples agree: they are one.
    """
    meta = {
        **stored.meta,
        "model": name,
        "done": 0,
        "seconds": 0.0,
        "sizes": list(by),
        "temperatures": list(by.values()),
    }
    meta["fingerprint"] = {
        "of": stored.meta["fingerprint"],
        "temperatures": list(by.values()),
    }
    places = [stored.index(size) for size in by]
    divisors = np.array(list(by.values()), "float64")[:, None, None]

    def batches(start):
        for first in range(start, meta["count"], _CHUNK):
            rows = slice(first, first + _CHUNK)
            energy = stored.energy[places, rows].astype("float64")
            logits = _log(stored.probs[places, rows]) - energy[..., None]
            logits /= divisors
            largest = logits.max(axis=-1)
            exps = np.exp(logits - largest[..., None])
            sums = exps.sum(axis=-1)
            scores = np.zeros_like(sums), -largest - np.log(sums), largest
            yield (
                first,
                {
                    "probs": exps / sums[..., None],
                    **dict(zip(SCORES, scores, strict=True)),
                },
            )

    return predictions.write(meta, stored.labels, batches, folder)


def _log(probs):
    return np.log(np.maximum(probs, _TINY, dtype="float64"))
