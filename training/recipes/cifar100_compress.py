r"""Smaller networks for CIFAR-100 in 10 epochs, from weights that were trained.

    zoo-compress --recipe=cifar100_compress --model=resnet18_smooth --filters=0.5 \
        --weights=resnet18_smooth.cifar100 --data_dir=path/to/folder \
        --workdir=runs/narrow

Settings as those of `cifar10_compress`.
"""  # noqa: D208

import dataclasses

from training.recipes import cifar100

RECIPE = dataclasses.replace(
    cifar100.RECIPE,
    epochs=10,
    learning_rate=0.01,
    warmup_epochs=1,
    schedule="cosine",
    milestones=(),
    nesterov=True,
    frozen_epochs=3,
    clip_norm=5.0,
)
