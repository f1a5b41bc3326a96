r"""CIFAR-10 in 200 epochs after one of warm-up, as in https://arxiv.org/abs/2105.12639.

    zoo-train --recipe=cifar10 --model=resnet18_smooth_mcdo --workdir=runs/cifar10

No weights of this recipe are published with the package yet.
"""  # noqa: D208

import dataclasses

from training.recipes import cifar100

RECIPE = dataclasses.replace(
    cifar100.RECIPE,
    dataset="cifar10",
    normalization=(
        (125.3, 123.0, 113.9),
        (51.6**2, 50.8**2, 51.3**2),
    ),
)
