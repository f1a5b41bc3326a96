r"""Fashion-MNIST enlarged to 64 x 64, for networks whose stem subsamples, in 12 epochs.

    zoo-train --recipe=fashion_mnist_64 --model=resnet50_smooth_mcdo \
        --mixed_precision --workdir=runs/resnet50_smooth_mcdo

The packaged weights were trained so on one H100, with `KERAS_BACKEND=jax`, and the
results are in docs/weights.md. On two cores without an accelerator an epoch of
ResNet-50 took twelve minutes, and eleven at 96 x 96 on a processor twice as fast.

The learning rate is too high for ResNet-50 without smoothing: its loss doubled in the
third epoch. `--set=learning_rate=0.05` is safer.
"""  # noqa: D208

import dataclasses

from training.recipes import fashion_mnist

RECIPE = dataclasses.replace(
    fashion_mnist.RECIPE,
    dataset="fashion_mnist_size/64",
    augmentations=("flip", "crop4"),
)
