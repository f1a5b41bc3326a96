r"""Adversarial training on CIFAR-10 in 12 epochs, from weights of another training.

    zoo-train --recipe=cifar10_fgsm --model=resnet20 --weights=resnet20.cifar10 \
        --mixed_precision --data_dir=path/to/folder --workdir=runs/resnet20_fgsm

A single step along the gradient, of 10/255 from a random start within 8/255, as in
https://arxiv.org/abs/2001.03994, whose networks are trained from scratch. A step of it
takes 1.7 times as long as one of a training without an attack: half an hour of one core
for `resnet20`. The weights of every epoch are kept, since such a training may overfit
to its attack from one epoch to the next. With PGD a step takes 5.5 times as long:

    --set=objective=pgd:epsilon=8/255:step_size=2/255:steps=7 --epochs=4

The rate is half of that of `cifar10_30`, set before anything was trained with it.
"""  # noqa: D208

import dataclasses

from training.recipes import cifar10_30

RECIPE = dataclasses.replace(
    cifar10_30.RECIPE,
    epochs=12,
    learning_rate=0.05,
    objective="fgsm:epsilon=8/255:step_size=10/255",
    snapshots=12,
)
