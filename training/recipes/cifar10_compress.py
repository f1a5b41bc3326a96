r"""Smaller networks for CIFAR-10 in 10 epochs, from weights that were trained.

    zoo-compress --recipe=cifar10_compress --model=resnet20_smooth --bits=8 \
        --weights=resnet20_smooth.cifar10 --data_dir=path/to/folder --workdir=runs/int8

The rate is a tenth of that of `cifar10_30`, set before anything was trained with it.
What learns from a teacher from scratch needs `--set=learning_rate=0.1 --epochs=30`.
Gradients are clipped, as a network of half the filters diverged in its frozen epochs.
"""  # noqa: D208

import dataclasses

from training.recipes import cifar10_30

RECIPE = dataclasses.replace(
    cifar10_30.RECIPE,
    epochs=10,
    learning_rate=0.01,
    frozen_epochs=3,
    clip_norm=5.0,
)
