r"""CIFAR-10 in 30 epochs, for small networks on a few cores.

    zoo-train --recipe=cifar10_30 --model=resnet20_smooth_mcdo --mixed_precision \
        --data_dir=path/to/folder --workdir=runs/resnet20_smooth_mcdo

One schedule for all methods, set before any of them was trained: it is not tuned.
"""  # noqa: D208

import dataclasses

from training.recipes import cifar10

RECIPE = dataclasses.replace(
    cifar10.RECIPE,
    epochs=30,
    warmup_epochs=1,
    schedule="cosine",
    milestones=(),
    nesterov=True,
)
