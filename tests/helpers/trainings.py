"""What trainings of the tests have in common."""

from training.recipes.base import Recipe

RECIPE = Recipe(
    dataset="stripes",
    batch_size=16,
    epochs=3,
    learning_rate=0.05,
    augmentations=("flip", "crop2"),
)


def without_time(rows):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
