r"""Fine-tuning on CIFAR-10 in 5 epochs, for weights that were trained without a method.

    zoo-train --recipe=cifar10_finetune --model=resnet20_smooth \
        --weights=resnet20.akamaster_cifar10 --mixed_precision \
        --data_dir=path/to/folder --workdir=runs/finetuned

The rate is a tenth of that of `cifar10_30`, set before anything was trained with it.
"""  # noqa: D208

import dataclasses

from training.recipes import cifar10_30

RECIPE = dataclasses.replace(cifar10_30.RECIPE, epochs=5, learning_rate=0.01)
