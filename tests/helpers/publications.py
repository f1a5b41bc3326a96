"""A small network, the record of its training and results, as they are published."""

import keras
import numpy as np
from keras import ops

import layers
import zoo
from zoo import presets
from zoo.presets import index, model_config, weight_file
from zoo.storage import files

NAME = "resnet20_smooth_mcdo.toys"
RECORD = {
    "model": "resnet20_smooth_mcdo",
    "dataset": "toys",
    "recipe": "quick",
    "settings": {"epochs": 3, "learning_rate": 0.1, "milestones": [1, 2]},
    "seed": 5,
    "command": "zoo-train --model=x --workdir=/home/me/runs/it "
    "--weights=/home/me/runs/body/ --dataset=toys_c/fog/3 --seed=5",
    "initial_weights": {"weights": "body", "sha256": "34" * 32, "head": "new"},
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


NORMALIZATION = ((70.0,), (8000.0,))


def publish_preset(folder, name, input_shape=(16, 16, 1), num_classes=4):
    """Makes weights of a name known, and returns the model that has them."""
    keras.utils.set_random_seed(len(name))
    model = zoo.build(name, input_shape, num_classes, NORMALIZATION)
    path = folder / "pretrained" / f"{name}.safetensors"
    weight_file.save_weights(model, path)
    values = model_config.model_metadata(model)
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    size, sha256 = path.stat().st_size, files.sha256(path)
    index.add(presets.Preset(size=size, sha256=sha256, file=path.name, **values))
    return model


def make_preset(name, **fields):
    """Returns an entry of weights that need not exist."""
    values = {
        "sha256": "0" * 64,
        "size": 7,
        "input_shape": (16, 16, 1),
        "num_classes": 2,
        "mean": (70.0,),
        "variance": (8000.0,),
        "classes": ("cat", "dog"),
    }
    return presets.Preset(name, **{**values, **fields})
