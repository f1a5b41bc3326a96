"""What a recipe is: the settings of a training, and nothing of the machine."""

import dataclasses
import itertools
import math
from collections.abc import Callable

from training import augment, objectives
from training.augment import AUGMENTATIONS
from training.bayesian.kl_weight import SCHEDULES
from training.bayesian.priors import parse
from training.compress import prune
from training.optimizer import OPTIMIZERS
from training.task import CLASS_WEIGHTS
from training.trained_layers import KINDS


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings of a training.

    Attributes:
        dataset: Name of the data set; see `training.data.load`.
        batch_size: Global batch size; a last smaller batch of an epoch is left out.
        epochs: Number of epochs, those of the warm-up included.
        learning_rate: The highest, after the warm-up.
        warmup_epochs: Epochs in which the learning rate grows linearly from zero.
        schedule: `"cosine"` to zero, or `"step"`.
        milestones: For `"step"`, the epochs after the warm-up at which the learning
            rate is multiplied by `decay`; with none it is constant.
        decay: Factor of the learning rate at each of the `milestones`, in (0, 1].
        optimizer: A key of `training.optimizer.OPTIMIZERS`: `"sgd"`, gradient descent
            with momentum, or `"adamw"`, Adam with decoupled weight decay.
        momentum: The momentum of `"sgd"`.
        nesterov: Whether that is Nesterov's.
        betas: The two decay rates of the moments of `"adamw"`.
        weight_decay: In the convention of PyTorch: for `"sgd"` the coefficient of the
            weights that is added to the gradient before the momentum, for `"adamw"` the
            share of the weights that an update of learning rate 1 takes away.
        clip_norm: The largest norm of the gradient of all weights together; a longer
            one is made shorter. 0 is without.
        stochastic_depth: The largest rate with which an image passes a residual branch
            not at all, that of the last branch: rates grow from 0 along the network.
            Predictions have all branches. See `layers.StochasticDepth`.
        objective: What is minimized, a key of `training.objectives.OBJECTIVES`, with
            settings behind it if these are not its own, such as `"duq:penalty=0.05"`.
        kl_weight: Factor of the KL divergences of Gaussian weights, 0 or positive.
        kl_schedule: How it changes along the training, a key of
            `training.bayesian.kl_weight.SCHEDULES`: `"constant"`, `"linear"`,
            `"cyclic"` or `"blundell"`; see `training.bayesian.kl_weight.KLWeight`.
        kl_epochs: The epochs of the warm-up of `"linear"` or of a cycle of `"cyclic"`;
            0 for a quarter of the training.
        moped: Where it is not zero, the means of Gaussian weights, and those of their
            prior, are the weights that the training starts from, and this is their
            standard deviation over the mean; see `layers.moped`.
        trained_layers: Which layers are trained, a key of
            `training.trained_layers.KINDS`: `"all"`, or `"gaussian"`, those with
            Gaussian weights; the others are frozen as they are.
        prior: The prior of the weights, as `training.bayesian.priors.parse` takes it,
            for the objective `"map"` and for `zoo-sample`.
        ema_momentum: Where it is not zero, the weights at the end are moving averages
            over the updates: each update moves them by `1 - ema_momentum` of the way to
            the current weights. Batch statistics are updated for them.
        snapshots: After how many of the last epochs the weights are kept, in the folder
            `snapshots`, for the posteriors `swa` and `swag`; of fewer epochs after all.
            The learning rate should not fall to zero there, as it does not with
            `"step"`.
        label_smoothing: Probability spread over all classes.
        class_weights: The weights of classes in the loss, a key of
            `training.task.CLASS_WEIGHTS`: `"equal"`, or `"median_frequency"`, by which
            rare ones count as much as the others. The loss is a weighted mean.
        augmentations: Keys of `training.augment.AUGMENTATIONS`, in order, with settings
            behind them if these are not their own, such as `"mixup:alpha=0.2"`.
        normalization: Mean and variance of the pixels per channel, in units of
            `[0, 255]`, or None for those of the training set's first 10,000 images.
        image_size: Height and width for data sets that are resized. None for those of
            the weights that a training starts from; else the one size that all images
            of a folder have, if it is no larger than 512; else those of a family that
            is made for one size; else 224 x 224.
        holdout: How many training images are held out for validation, at most one in
            ten; with 0 it trains on all, and nothing is watched. Data sets that are
            published with a validation set have that one.
        labels: How many training images keep their labels, of each class its share; 0
            for all. A training without the other labels is semi-supervised if its
            objective takes images without, such as `"vat"`; if not, it has the images
            with labels alone. See `training.semi_supervised`.
        labels_seed: Seed of the draw of these images, apart from that of the training,
            so that several trainings know the same labels.
        unlabeled_batch_size: With `labels`, how many images without stand beside the
            `batch_size` images of a step. An epoch is then one pass over all training
            images in batches of this size, whatever the objective.
        teacher: The network that the objectives `"distillation"` and
            `"distribution_distillation"` learn from, or several, as
            `training.compress.distill.load_teacher` takes them.
        teacher_weights: Where the weights of these lie, in place of published ones.
        pruning: What becomes zero or goes, as `training.compress.prune.read` takes it,
            such as `"magnitude:sparsity=0.8"`; filters go before the training.
        weight_bits: Where it is 8 or 4, the network computes as integers do, and its
            weights have so many bits; see `zoo.quantization.quantized`.
        frozen_epochs: In how many of the last epochs batch statistics, and ranges of
            integers, stay as they are.

    Raises:
        ValueError: If settings are out of their ranges; it names all of them.
    """

    dataset: str
    batch_size: int = 128
    epochs: int = 200
    learning_rate: float = 0.1
    warmup_epochs: int = 1
    schedule: str = "cosine"
    milestones: tuple[int, ...] = ()
    decay: float = 0.1
    optimizer: str = "sgd"
    momentum: float = 0.9
    nesterov: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 5e-4
    clip_norm: float = 0.0
    stochastic_depth: float = 0.0
    objective: str = "cross_entropy"
    kl_weight: float = 1.0
    kl_schedule: str = "constant"
    kl_epochs: float = 0.0
    moped: float = 0.0
    trained_layers: str = "all"
    prior: str = "gaussian:scale=0.1"
    ema_momentum: float = 0.0
    snapshots: int = 0
    label_smoothing: float = 0.0
    class_weights: str = "equal"
    augmentations: tuple[str, ...] = ("flip", "crop4")
    normalization: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    image_size: tuple[int, int] | None = None
    holdout: int = 5_000
    labels: int = 0
    labels_seed: int = 0
    unlabeled_batch_size: int = 128
    teacher: str = ""
    teacher_weights: str = ""
    pruning: str = ""
    weight_bits: int = 0
    frozen_epochs: int = 0

    def __post_init__(self):
        wrong = [
            f"`{name}` must be {meaning}. Received: {name}={getattr(self, name)}"
            for name, (meaning, is_in) in _RANGES.items()
            if not _fits(is_in, getattr(self, name))
        ]
        if not wrong and self.epochs <= self.warmup_epochs:
            wrong = [
                "`epochs` counts those of the warm-up and must be larger. Received: "
                f"epochs={self.epochs}, warmup_epochs={self.warmup_epochs}"
            ]
        if not wrong and self.frozen_epochs >= self.epochs:
            wrong = [
                "`frozen_epochs` are the last ones of a training and leave others. "
                f"Received: epochs={self.epochs}, frozen_epochs={self.frozen_epochs}"
            ]
        if wrong:
            raise ValueError(" ".join(wrong))
        # What is wrong with a name or its settings is said where it is read.
        parse(self.prior)
        prune.read(self.pruning)
        objectives.read(self.objective)
        augment.read_all(self.augmentations)

    @property
    def overlaps(self) -> tuple[str, ...]:
        """The corruptions of the benchmark whose like the training has seen."""
        found = augment.overlaps(self.augmentations)
        return tuple(dict.fromkeys((*found, *objectives.overlaps(self.objective))))


def _fits(is_in, value) -> bool:
    try:
        return is_in(value)
    except (TypeError, ValueError):  # It is of another kind.
        return False


def _increase(values) -> bool:
    whole = all(isinstance(value, int) for value in values)
    return whole and all(a < b for a, b in itertools.pairwise((0, *values)))


def _normalizes(value) -> bool:
    if value is None:
        return True
    mean, variance = value
    finite = all(map(math.isfinite, (*mean, *variance)))
    return len(mean) == len(variance) and finite and min(variance) > 0


def _are_sides(value) -> bool:
    whole = value is None or all(isinstance(side, int) for side in value)
    return whole and (value is None or (len(value) == 2 and min(value) >= 1))


def _are_texts(values) -> bool:
    return not isinstance(values, str) and all(isinstance(x, str) for x in values)


def _are_rates(values) -> bool:
    first, second = values
    return 0 <= first < 1 and 0 <= second < 1


# What each setting must be, in words and as a function; NaN is in no range.
_RANGES: dict[str, tuple[str, Callable[..., bool]]] = {
    "batch_size": ("positive", lambda n: n >= 1),
    "epochs": ("positive", lambda n: n >= 1),
    "learning_rate": ("positive and finite", lambda x: 0 < x < math.inf),
    "warmup_epochs": ("zero or positive", lambda n: n >= 0),
    "schedule": ("'cosine' or 'step'", lambda text: text in ("cosine", "step")),
    "milestones": ("whole, positive epochs that increase", _increase),
    "decay": ("in (0, 1]", lambda x: 0 < x <= 1),
    "optimizer": (f"one of {', '.join(OPTIMIZERS)}", lambda name: name in OPTIMIZERS),
    "momentum": ("in [0, 1)", lambda x: 0 <= x < 1),
    "betas": ("two numbers in [0, 1)", _are_rates),
    "objective": (
        f"one of {', '.join(objectives.OBJECTIVES)}, maybe with settings of it, such "
        "as 'duq:penalty=0.05'",
        lambda text: isinstance(text, str),
    ),
    "kl_weight": ("zero or positive, and finite", lambda x: 0 <= x < math.inf),
    "kl_schedule": (f"one of {', '.join(SCHEDULES)}", lambda name: name in SCHEDULES),
    "kl_epochs": ("zero or positive, and finite", lambda x: 0 <= x < math.inf),
    "moped": ("zero or positive, and finite", lambda x: 0 <= x < math.inf),
    "trained_layers": (f"one of {', '.join(KINDS)}", lambda name: name in KINDS),
    "weight_decay": ("zero or positive, and finite", lambda x: 0 <= x < math.inf),
    "clip_norm": ("zero or positive, and finite", lambda x: 0 <= x < math.inf),
    "stochastic_depth": ("in [0, 1)", lambda x: 0 <= x < 1),
    "ema_momentum": ("in [0, 1)", lambda x: 0 <= x < 1),
    "snapshots": ("a number of epochs, 0 for none", lambda n: n >= 0),
    "label_smoothing": ("in [0, 1)", lambda x: 0 <= x < 1),
    "class_weights": (
        f"one of {', '.join(CLASS_WEIGHTS)}",
        lambda name: name in CLASS_WEIGHTS,
    ),
    "augmentations": (
        f"some of {', '.join(AUGMENTATIONS)}, maybe with settings of them, such as "
        "'mixup:alpha=0.2'",
        _are_texts,
    ),
    "normalization": ("a mean and a positive variance per channel", _normalizes),
    "image_size": ("a height and a width like [224, 224]", _are_sides),
    "holdout": ("a number of images, 0 for no validation set", lambda n: n >= 0),
    "labels": ("a number of images, 0 for all of them", lambda n: n >= 0),
    "labels_seed": ("zero or positive", lambda n: n >= 0),
    "unlabeled_batch_size": ("positive", lambda n: n >= 1),
    "weight_bits": ("8 or 4, 0 for real numbers", lambda n: n in (0, 4, 8)),
    "frozen_epochs": ("a number of epochs, 0 for none", lambda n: n >= 0),
}
