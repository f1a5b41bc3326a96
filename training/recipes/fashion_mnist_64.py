r"""Fashion-MNIST enlarged to 64 x 64, for networks whose stem subsamples, in 5 epochs.

    zoo-train --recipe=fashion_mnist_64 --model=resnet50_smooth_mcdo \
        --mixed_precision --workdir=runs/resnet50_smooth_mcdo

On two cores without an accelerator an epoch of ResNet-50 takes about twelve minutes, so
the packaged weights had four: `--epochs=2`, which ended at 85.0 % of the test images in
one pass, and two more from there, which ended at 87.4 %:

    zoo-train --recipe=fashion_mnist_64 --model=resnet50_smooth_mcdo --epochs=2 \
        --weights=runs/resnet50_smooth_mcdo --set=learning_rate=0.05 \
        --set=warmup_epochs=0 --mixed_precision --workdir=runs/resnet50_smooth_mcdo_more

Both training losses were still falling: these weights show that everything works, and
are no measure of the network.
"""  # noqa: D208

import dataclasses

from training.recipes import fashion_mnist

RECIPE = dataclasses.replace(
    fashion_mnist.RECIPE,
    dataset="fashion_mnist_size/64",
    epochs=5,
    augmentations=("flip", "crop4"),
)
