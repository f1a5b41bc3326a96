r"""CIFAR-10 with AugMix in 100 epochs, as in https://arxiv.org/abs/1912.02781.

    zoo-train --recipe=cifar10_augmix --model=resnet20 --mixed_precision \
        --data_dir=path/to/folder --workdir=runs/augmix

The settings of the published program: a cosine from 0.1 in every step, three views, and
12 times their divergence. The paper has a Wide ResNet 40-2; its ResNeXt and DenseNet
take `--epochs=200`, the latter with `--set=weight_decay=1e-4`. The rate ends at zero in
place of 1e-6. For CIFAR-100 `--dataset=cifar100`.

No weights of this recipe are published with the package yet.
"""  # noqa: D208

import dataclasses

from training.recipes import cifar10

RECIPE = dataclasses.replace(
    cifar10.RECIPE,
    epochs=100,
    warmup_epochs=0,
    schedule="cosine",
    milestones=(),
    nesterov=True,
    objective="augmix",
    normalization=((127.5,) * 3, (127.5**2,) * 3),
)
