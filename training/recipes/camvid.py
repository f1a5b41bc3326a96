r"""Segmentation of CamVid, in 100 epochs.

    zoo-train --recipe=camvid --model=unet16_smooth_mcdo50 --data_dir=path/to/CamVid \
        --workdir=runs/unet16_smooth_mcdo50.camvid

Adam at 1e-3, 100 epochs and classes by the median frequency are those of the networks
that temporal smoothing was shown on (https://arxiv.org/abs/1907.00825), in batches of
three. Here these are of eight, the learning rate falls to zero, and images are shifted
beside being mirrored. The validation set of CamVid is of drives that are in the
training set too.
"""  # noqa: D208

from training.recipes.base import Recipe

RECIPE = Recipe(
    dataset="camvid",
    batch_size=8,
    epochs=100,
    learning_rate=1e-3,
    warmup_epochs=1,
    schedule="cosine",
    optimizer="adamw",
    weight_decay=1e-4,
    class_weights="median_frequency",
    augmentations=("flip", "crop8"),
)
