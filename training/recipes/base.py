"""What a recipe is: the settings of a training, and nothing of the machine."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings of a training by stochastic gradient descent.

    Attributes:
        dataset: Name of the data set; see `training.data.load`.
        batch_size: Global batch size; a last smaller batch of an epoch is left out.
        epochs: Number of epochs, those of the warm-up included.
        learning_rate: The highest, after the warm-up.
        warmup_epochs: Epochs in which the learning rate grows linearly from zero.
        schedule: `"cosine"` to zero, or `"step"`.
        milestones: For `"step"`, the epochs after the warm-up at which the learning
            rate is multiplied by `decay`; with none it is constant.
        decay: See `milestones`.
        momentum: Of the gradient descent.
        nesterov: Whether it is Nesterov's.
        weight_decay: In the convention of PyTorch: the coefficient of the weights that
            is added to the gradient before the momentum.
        ema_momentum: Where it is not zero, the weights at the end are moving averages
            over the updates: each update moves them by `1 - ema_momentum` of the way to
            the current weights. Batch normalizations are recalibrated for them.
        label_smoothing: Probability spread over all classes.
        augmentations: Keys of `training.augment.AUGMENTATIONS`.
        normalization: Mean and variance of the pixels per channel, in units of
            `[0, 255]`, or None for those of the training set's first 10,000 images.
        image_size: Height and width for data sets that are resized. None for those of
            the weights that a training starts from; else the one size that all images
            of a folder have, if it is no larger than 512; else those of a family that
            is made for one size; else 224 x 224.
        holdout: How many training images are held out for validation, at most one in
            ten; with 0 it trains on all, and nothing is watched. Data sets that are
            published with a validation set have that one.
    """

    dataset: str
    batch_size: int = 128
    epochs: int = 200
    learning_rate: float = 0.1
    warmup_epochs: int = 1
    schedule: str = "cosine"
    milestones: tuple[int, ...] = ()
    decay: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    ema_momentum: float = 0.0
    label_smoothing: float = 0.0
    augmentations: tuple[str, ...] = ("flip", "crop4")
    normalization: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    image_size: tuple[int, int] | None = None
    holdout: int = 5_000

    def __post_init__(self):
        if self.schedule not in ("cosine", "step"):
            raise ValueError(
                "`schedule` must be 'cosine' or 'step'. "
                f"Received: schedule={self.schedule}"
            )
        sides = self.image_size
        if sides is not None and not (
            isinstance(sides, tuple | list)
            and len(sides) == 2
            and all(isinstance(side, int) and side > 0 for side in sides)
        ):
            raise ValueError(
                "`image_size` must be a height and a width like [224, 224]. "
                f"Received: image_size={sides}"
            )
        if not 0 <= self.ema_momentum < 1:
            raise ValueError(
                "`ema_momentum` must be in [0, 1). "
                f"Received: ema_momentum={self.ema_momentum}"
            )
        if self.holdout < 0:
            raise ValueError(
                "`holdout` is a number of images, 0 for no validation set. Received: "
                f"holdout={self.holdout}"
            )
        if self.epochs <= self.warmup_epochs:
            raise ValueError(
                "`epochs` counts those of the warm-up and must be larger. Received: "
                f"epochs={self.epochs}, warmup_epochs={self.warmup_epochs}"
            )
