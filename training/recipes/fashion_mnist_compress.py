r"""Smaller networks for Fashion-MNIST in 4 epochs, from weights that were trained.

    zoo-compress --recipe=fashion_mnist_compress --model=resnet20_smooth --bits=8 \
        --weights=resnet20_smooth.fashion_mnist --workdir=runs/int8

The rate is a tenth of that of `fashion_mnist`, set before anything was trained with it.
"""  # noqa: D208

import dataclasses

from training.recipes import fashion_mnist

RECIPE = dataclasses.replace(
    fashion_mnist.RECIPE,
    epochs=4,
    learning_rate=0.01,
    frozen_epochs=1,
    clip_norm=5.0,
)
