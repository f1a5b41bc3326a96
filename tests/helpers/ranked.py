"""Rows of a leaderboard, made up."""

import numpy as np

from training import corruptions

METRICS = ("nll", "accuracy", "ece")
GRID = tuple(
    f"d_c/{corruption}/{severity}"
    for corruption in corruptions.CORRUPTIONS
    for severity in corruptions.SEVERITIES
)
# As many as a whole evaluation has.
SETS = ("d", *GRID)
SETS += tuple(f"d_rotation/{angle}" for angle in range(15, 195, 15))
SETS += tuple(f"d_translation/{pixels}" for pixels in range(2, 32, 2))
WHOLE = {
    "commit": "1a2b3c",
    "seed": 0,
    "data": "0123456789ab",
    "num_examples": 1000,
    "chosen_on": "validation: 500 images",
}


def row(model="m.d", dataset="d", metric="nll", value=0.25, num_samples=1, **changes):
    known = {"model": model, "dataset": dataset, "num_samples": num_samples}
    return {**known, "metric": metric, "value": value, **WHOLE, **changes}


def rows(models, sets=("d",), metrics=METRICS, sizes=(1,), seeds=(0,), rng=0):
    """Rows of all of these, whose values are random.

    Returns:
        The rows, and their values as an array of the shape of the arguments.
    """
    shape = tuple(map(len, (models, sets, metrics, sizes, seeds)))
    values = np.random.default_rng(rng).uniform(size=shape).round(4)
    found = [
        row(
            models[place[0]],
            sets[place[1]],
            metrics[place[2]],
            float(values[place]),
            sizes[place[3]],
            seed=seeds[place[4]],
            data=f"data of {sets[place[1]]}",
        )
        for place in np.ndindex(shape)
    ]
    return found, values
