r"""A Bayesian first layer on the fixed others of a trained network, in 5 epochs.

    zoo-train --recipe=stf_finetune --model=resnet20_stf --weights=resnet20.cifar10 \
        --data_dir=path/to/folder --workdir=runs/stf

The second part of spatial-temporal fusion (Lei et al., 2021,
https://arxiv.org/abs/2112.06281): the first layer of a trained network becomes Gaussian
and is trained by variational inference, and all others stay as they are. The settings
are re-derived, since the paper's abstract has none, and not tuned: the rate is that of
`cifar10_finetune`, and nothing is augmented but by flips and crops.
"""  # noqa: D208

import dataclasses

from training.recipes import cifar10_finetune

RECIPE = dataclasses.replace(cifar10_finetune.RECIPE, trained_layers="gaussian")
