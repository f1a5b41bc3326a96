"""A small network, the record of its training and results, as they are published."""

import numpy as np
from keras import ops

import layers

NAME = "resnet20_smooth_mcdo.toys"
RECORD = {
    "model": "resnet20_smooth_mcdo",
    "dataset": "toys",
    "recipe": "quick",
    "settings": {"epochs": 3, "learning_rate": 0.1, "milestones": [1, 2]},
    "seed": 5,
    "command": "zoo-train --model=x --workdir=/home/me/runs/it "
    "--weights=/home/me/runs/body/ --dataset=toys_c/fog/3 --seed=5",
    "origin": {"weights": "body", "sha256": "34" * 32, "head": "new"},
    "commit": "0123abc",
    "classes": ["cat", "dog: a", "'[x]'", "e\u00e9"],
    "versions": {"keras": "3.15", "smoothzoo": "0.1"},
}


def make_rows(model=NAME, factor=1.0, **fields):
    row = {"model": model, "dataset": "toys", "num_examples": 9, "seed": 0, **fields}
    values = {"nll": 0.5, "accuracy": 0.75}
    return [
        {**row, "num_samples": n, "metric": metric, "value": factor * value / n}
        for n in (1, 10)
        for metric, value in values.items()
    ]


def logits(model):
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 1)).astype("uint8")
    with layers.stream(3):
        return ops.convert_to_numpy(model(images, training=False))
