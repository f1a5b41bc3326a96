r"""Regression of a table, in 200 epochs.

    zoo-train --recipe=regression --model=mlp64x2_mcdo10 --dataset=houses.csv#price \
        --workdir=runs/houses

Adam at 1e-3 with batches of 32 and the Gaussian likelihood, weighted by the predicted
variance as in https://arxiv.org/abs/2203.09168: without the weights a network may
explain what it has not learned yet by noise, and then learns it slowly. One in ten rows
is for testing and, of the others, one in ten for validation.
"""  # noqa: D208

from training.recipes.base import Recipe

RECIPE = Recipe(
    dataset="diabetes",
    batch_size=32,
    epochs=200,
    learning_rate=1e-3,
    warmup_epochs=1,
    schedule="cosine",
    optimizer="adamw",
    weight_decay=1e-4,
    objective="gaussian:beta=0.5",
    augmentations=(),
)
