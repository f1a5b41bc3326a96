r"""Fashion-MNIST enlarged to 32 x 32, for networks whose stem subsamples, in 12 epochs.

    zoo-train --recipe=fashion_mnist_32 --model=resnet50_smooth_mcdo \
        --mixed_precision --workdir=runs/resnet50_smooth_mcdo

On two cores without an accelerator an epoch of ResNet-50 takes some minutes.
"""  # noqa: D208

import dataclasses

from training.recipes import fashion_mnist

RECIPE = dataclasses.replace(
    fashion_mnist.RECIPE,
    dataset="fashion_mnist_size/32",
)
