r"""Fashion-MNIST enlarged to 64 x 64, for networks whose stem subsamples, in 5 epochs.

    zoo-train --recipe=fashion_mnist_64 --model=resnet50_smooth_mcdo \
        --mixed_precision --workdir=runs/resnet50_smooth_mcdo

On two cores without an accelerator an epoch of ResNet-50 takes about twelve minutes.
Two epochs (`--epochs=2`) ended at 85.0 % of the test images, in one pass; five were not
run, and no weights of this recipe are published.
"""  # noqa: D208

import dataclasses

from training.recipes import fashion_mnist

RECIPE = dataclasses.replace(
    fashion_mnist.RECIPE,
    dataset="fashion_mnist_size/64",
    epochs=5,
    augmentations=("flip", "crop4"),
)
