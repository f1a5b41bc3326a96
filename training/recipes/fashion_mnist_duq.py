r"""DUQ on Fashion-MNIST in 30 epochs, by the settings of its authors.

    zoo-train --recipe=fashion_mnist_duq --model=resnet20_duq \
        --workdir=runs/resnet20_duq

There is no augmentation. Their network is another, of three convolutions, and their
code does not say which weight of the penalty, of those from 0 to 1, gave their figures.

Reference:
    Uncertainty Estimation Using a Single Deep Deterministic Neural Network
    (van Amersfoort et al., 2020): https://arxiv.org/abs/2003.02037.
"""  # noqa: D208

from training.recipes.base import Recipe

RECIPE = Recipe(
    dataset="fashion_mnist",
    batch_size=128,
    epochs=30,
    learning_rate=0.05,
    warmup_epochs=0,
    schedule="step",
    milestones=(10, 20),
    decay=0.2,
    nesterov=False,
    weight_decay=1e-4,
    objective="duq:penalty=0.05",
    augmentations=(),
    # Standard deviation 0.3530 of [0, 1].
    normalization=((72.94,), (90.02**2,)),
)
