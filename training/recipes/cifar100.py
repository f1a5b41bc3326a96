r"""CIFAR-100 in 200 epochs after one of warm-up, as in https://arxiv.org/abs/2105.12639.

    zoo-train --recipe=cifar100 --model=resnet18_smooth_mcdo --workdir=runs/cifar100

No weights of this recipe are published with the package yet.
"""  # noqa: D208

from training.recipes.base import Recipe

RECIPE = Recipe(
    dataset="cifar100",
    batch_size=128,
    epochs=201,
    learning_rate=0.1,
    schedule="step",
    milestones=(60, 120, 160),
    decay=0.2,
    nesterov=False,
    weight_decay=5e-4,
    augmentations=("flip", "crop4"),
    normalization=(
        (129.3, 124.1, 112.4),
        (68.2**2, 65.4**2, 70.4**2),
    ),
)
