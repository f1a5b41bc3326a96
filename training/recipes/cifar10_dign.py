r"""CIFAR-10 with DiGN in 150 epochs, as in https://arxiv.org/abs/2104.01231.

    zoo-train --recipe=cifar10_dign --model=resnet18 --mixed_precision \
        --data_dir=path/to/folder --workdir=runs/dign

The settings of the published program for Gaussian noise alone: three noises of a
deviation of up to 1.2, in units of normalized pixels, in a fifth of the numbers of an
image. The variant with AugMix is `--set=objective=dign:sigma=0.2:rate=1:augmix=12`.

The program also changes the colors by up to a quarter and rotates by up to 2 degrees.
Colors that change are like corruptions of the benchmark, so the recipe is without both.

No weights of this recipe are published with the package yet.
"""  # noqa: D208

import dataclasses

from training.recipes import cifar10

RECIPE = dataclasses.replace(
    cifar10.RECIPE,
    batch_size=512,
    epochs=150,
    warmup_epochs=0,
    milestones=(50, 100),
    decay=0.1,
    nesterov=True,
    objective="dign",
    # Those of the program, whose noise is in their units.
    normalization=(
        (125.307, 122.961, 113.8575),
        (51.5865**2, 50.847**2, 51.255**2),
    ),
)
