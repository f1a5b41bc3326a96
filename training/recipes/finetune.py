r"""Fine-tuning on a folder of images, in 5 epochs.

    zoo-train --recipe=finetune --model=resnet18_smooth_mcdo --weights=path/to/folder \
        --dataset=path/to/folder --workdir=runs/finetuned

Measured in docs/finetune.md.
"""  # noqa: D208

from training.recipes.base import Recipe

RECIPE = Recipe(
    dataset="path/to/folder",  # There is no default: give `--dataset`.
    batch_size=32,
    epochs=5,
    learning_rate=0.01,
    warmup_epochs=1,
    schedule="cosine",
    weight_decay=1e-4,
    augmentations=("flip", "resized_crop"),
)
