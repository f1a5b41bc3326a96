r"""CIFAR-100 in 300 epochs after five of warm-up, as in https://arxiv.org/abs/2202.06709.

    zoo-train --recipe=cifar100_alternet --model=alter_resnet50 --mixed_precision \
        --data_dir=path/to/folder --workdir=runs/alter_resnet50

The settings of the published program, for networks with attention and without: AdamW,
RandAugment of magnitude 9 and deviation 1 (each operation with a probability of one
half, as in timm), MixUp with Beta(1, 1) or CutMix with Beta(0.8, 0.8), smooth labels,
stochastic depth, and gradients of norm 5 at most. There one of the two mixtures is
drawn for a batch, and here for an image. For CIFAR-10 `--dataset=cifar10`.

No weights of this recipe are published with the package yet.
"""  # noqa: D208

import dataclasses

from training.recipes import cifar100

RECIPE = dataclasses.replace(
    cifar100.RECIPE,
    batch_size=96,
    epochs=305,
    warmup_epochs=5,
    learning_rate=1.25e-4,
    schedule="cosine",
    milestones=(),
    optimizer="adamw",
    weight_decay=0.05,
    clip_norm=5.0,
    stochastic_depth=0.1,
    label_smoothing=0.1,
    augmentations=(
        "flip",
        "crop4",
        "randaugment:num_ops=2:factor=0.9:std=0.1:rate=0.5",
        "mixup_cutmix:mixup_alpha=1.0:cutmix_alpha=0.8",
    ),
)
