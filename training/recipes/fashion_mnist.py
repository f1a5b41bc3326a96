r"""Fashion-MNIST in 12 epochs, all 60,000 training images.

    zoo-train --recipe=fashion_mnist --model=resnet20_smooth_mcdo \
        --workdir=runs/resnet20_smooth_mcdo

The results are in docs/results.md and docs/weights.md.
"""  # noqa: D208

from training.recipes.base import Recipe

RECIPE = Recipe(
    dataset="fashion_mnist",
    batch_size=128,
    epochs=12,
    learning_rate=0.1,
    warmup_epochs=1,
    schedule="cosine",
    weight_decay=5e-4,
    augmentations=("flip", "crop2"),
    # Standard deviation 0.3530 of [0, 1].
    normalization=((72.94,), (90.02**2,)),
)
