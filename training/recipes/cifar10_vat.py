r"""CIFAR-10 with 4,000 labels in 30 epochs, by virtual adversarial training.

    zoo-train --recipe=cifar10_vat --model=resnet20 --mixed_precision \
        --data_dir=path/to/folder --workdir=runs/resnet20_vat

Of the published code are the number of labels, 32 images with and 128 without labels in
a step, Adam with the rate 0.001, the weights of both terms and one iteration. It has
another network and 500 epochs of 400 steps, which end with 40 of a falling rate; this
has a cosine from the beginning, and flips and crops. Its perturbations of whitened
pixels have no counterpart here: `epsilon` is that of its trainings on SVHN, with pixels
in an interval of length 1, and was not tuned.

Reference:
    Virtual Adversarial Training (Miyato et al., 2018):
    https://arxiv.org/abs/1704.03976.
"""  # noqa: D208

import dataclasses

from training.recipes import cifar10_30

RECIPE = dataclasses.replace(
    cifar10_30.RECIPE,
    objective="vat:entropy=1",
    labels=4_000,
    batch_size=32,
    unlabeled_batch_size=128,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=0.0,
)
