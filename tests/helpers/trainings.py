"""What trainings of the tests have in common."""

import dataclasses

import keras

import layers
from tests.helpers.data_sets import stripes as stripes
from training.recipes.base import Recipe

RECIPE = Recipe(
    dataset="stripes",
    batch_size=16,
    epochs=3,
    learning_rate=0.05,
    augmentations=("flip", "crop2"),
    snapshots=2,
)
AVERAGED = dataclasses.replace(RECIPE, ema_momentum=0.8)


def small_model(rate=0.3, smooth=False):
    """A network with dropout and normalization, from the same weights each time."""
    keras.utils.set_random_seed(0)
    images = x = keras.Input((12, 12, 1), name="images")
    x = keras.layers.Rescaling(1 / 64, -2, name="normalize")(x)
    for i in (1, 2):
        x = keras.layers.Conv2D(8, 3, use_bias=False, name=f"conv{i}")(x)
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"norm{i}")(x)
        x = layers.MCDropout(rate, name=f"dropout{i}")(keras.ops.relu(x))
    x = layers.SpatialSmoothing(name="smooth")(x) if smooth else x
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, keras.layers.Dense(2, name="head")(x), name="small")


def dense_model(rate=0.3):
    """The same without convolutions, which compile for seconds."""
    keras.utils.set_random_seed(0)
    images = keras.Input((12, 12, 1), name="images")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 64, -2, name="scale")(images))
    x = keras.layers.BatchNormalization(momentum=0.9, name="norm")(x)
    x = layers.MCDropout(rate, name="dropout")(x)
    return keras.Model(images, keras.layers.Dense(2, name="head")(x), name="dense")


def without_time(rows):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
