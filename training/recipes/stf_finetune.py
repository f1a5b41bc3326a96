r"""A Bayesian first layer on the fixed others of a trained network, in 5 epochs.

    zoo-train --recipe=stf_finetune --model=resnet20_stf --weights=resnet20.cifar10 \
        --data_dir=path/to/folder --workdir=runs/stf

The second part of spatial-temporal fusion (Lei et al., 2021,
https://arxiv.org/abs/2112.06281): the first layer of a trained network becomes Gaussian
and is trained by variational inference, and all others stay as they are. The settings
are re-derived, since the paper's abstract has none, and not tuned. Adam moves the
standard deviations, whose gradients are too small for the rates of gradient descent.
"""  # noqa: D208

import dataclasses

from training.recipes import cifar10_finetune

RECIPE = dataclasses.replace(
    cifar10_finetune.RECIPE,
    optimizer="adamw",
    learning_rate=1e-3,
    trained_layers="gaussian",
)
