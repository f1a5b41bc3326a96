"""Attacks of an evaluation: data sets that are made of others for one model."""

import contextlib
import dataclasses
import re
from collections.abc import Sequence

import numpy as np
from keras import ops

from layers import checks
from training.attacks import balls
from training.attacks.expectation import DRAWS
from training.attacks.pgd import RANGE, Program, check_sizes
from training.data import fingerprint
from training.distribution import device_memory
from zoo.folding import fold
from zoo.posterior import Posterior

NAMES = ("fgsm", "pgd")
_EDITION = 1  # Counts the changes of the images.
_STEPS = 20
_BEYOND = 2.5  # All steps together go this much further than the radius.
_SEED = 0xA77AC  # Beside that of the passes: an attack does not know their draws.
_FRACTION = re.compile(r"(\d+(?:\.\d+)?)(?:/(\d+(?:\.\d+)?))?")


@dataclasses.dataclass(frozen=True)
class Attack:
    """An attack of one radius.

    Attributes:
        name: `"fgsm"` or `"pgd"`.
        norm: `"linf"` or `"l2"`.
        epsilon: The radius in gray levels of `[0, 255]`.
        step_size: Size of a step in gray levels.
        steps: The number of steps.
        restarts: How often it begins anew.
        draws: Over how many draws of a model that draws its loss is a mean.
    """

    name: str
    norm: str
    epsilon: float
    step_size: float
    steps: int
    restarts: int = 1
    draws: int = DRAWS

    @property
    def dataset(self) -> str:
        """What follows the name of a data set: `"_pgd/linf/8"`."""
        return f"_{self.name}/{self.norm}/{_number(self.epsilon)}"

    @property
    def settings(self) -> dict[str, object]:
        """The settings as rows of results have them."""
        return {
            "attack": self.name,
            "attack_norm": self.norm,
            "epsilon": self.epsilon,
            "steps": self.steps,
            "step_size": self.step_size,
            "restarts": self.restarts,
            "draws": self.draws,
        }

    @property
    def num_gradients(self) -> int:
        """How many gradients of one draw it takes for an image."""
        return self.steps * self.restarts * self.draws

    def program(self, posterior: Posterior) -> Program:
        """Returns the attack of any radius on a posterior, not compiled yet.

        Its weights are those of now: normalizations become a part of convolutions.
        """
        with contextlib.suppress(ValueError):  # Of networks that are no graphs.
            posterior = posterior.with_models(fold)
        return Program(
            posterior,
            self.steps,
            norm=self.norm,
            restarts=self.restarts,
            random_start=self.name == "pgd",
            draws=self.draws,
        )


def named(
    name: str,
    epsilon: Sequence[str],
    norm: str = "linf",
    steps: int | None = None,
    step_size: str | None = None,
    restarts: int = 1,
    draws: int | None = None,
) -> list[Attack]:
    """Returns the attacks that flags describe, one for each radius, the least first.

    Args:
        name: `"fgsm"` or `"pgd"`.
        epsilon: Radii as parts of the range of pixels, such as `"8/255"` or `"0.03"`.
        norm: `"linf"` or `"l2"`.
        steps: The number of steps of `"pgd"`; 20 by default.
        step_size: Size of a step in the same unit; by default the steps together go 2.5
            times as far as the radius.
        restarts: How often it begins anew.
        draws: Over how many draws of a model that draws its loss is a mean; 10 by
            default.

    Raises:
        ValueError: If a radius is no such part, or the settings do not fit together.

    Example:

    >>> [attack] = named("pgd", ["8/255"])
    >>> attack.epsilon, attack.step_size, attack.steps, attack.dataset
    (8.0, 1.0, 20, '_pgd/linf/8')

    Reference:
        [Towards Deep Learning Models Resistant to Adversarial Attacks](
        https://arxiv.org/abs/1706.06083) (Madry et al., 2018), whose code has that
        size of a step.
    """
    checks.check_choice(name, "attack", NAMES)
    ball = balls.named(norm)
    if name == "fgsm" and (steps or 1, restarts) != (1, 1):
        raise ValueError(
            "FGSM is one step from the image; steps and restarts are for pgd. "
            f"Received: attack=fgsm, steps={steps}, restarts={restarts}"
        )
    count = checks.check_count(1 if name == "fgsm" else steps or _STEPS, "steps")
    checks.check_count(restarts, "restarts")
    checks.check_count(draws or DRAWS, "draws")
    if not epsilon:
        raise ValueError(
            "An attack needs a radius, such as --epsilon=8/255. Received: epsilon=[]"
        )
    found = []
    for radius in sorted({_levels(text, "epsilon", norm) for text in epsilon}):
        size = radius if name == "fgsm" else _BEYOND * radius / count
        if step_size is not None:
            size = _levels(step_size, "step_size", norm)
        check_sizes(ball, radius, size, count, (None,))
        found.append(Attack(name, norm, radius, size, count, restarts, draws or DRAWS))
    return found


def _levels(text, name, norm):
    """Returns gray levels of a part of the range of pixels, as text."""
    match = _FRACTION.fullmatch(str(text).strip())
    whole, part = (float(n or 1) for n in match.groups()) if match else (np.nan, 1.0)
    value = whole / part if part else np.nan
    if norm == "linf" and value > 1:
        raise ValueError(
            f"`{name}` is a part of the range of pixels, [0, 1]; write "
            f"{_number(value)}/255 for {_number(value)} gray levels. Received: "
            f"{name}={text}"
        )
    if not 0 <= value < np.inf:
        raise ValueError(
            f"`{name}` must be a part of the range of pixels, such as 8/255 or 0.03. "
            f"Received: {name}={text}"
        )
    levels = RANGE * value
    # Text such as 0.0314 stands for a whole number of levels.
    near = float(round(levels))
    return near if near and abs(levels - near) < 0.01 else levels


def _number(value):
    return f"{value:.4f}".rstrip("0").rstrip(".")


class AttackedImages:
    """Images that are attacked when they are sliced.

    Each is a function of the model, the attack, the image, its label and its number: it
    is the same in whatever batches they are read.

    Args:
        images: Array of shape `(images, height, width, channels)`, or an object that
            gives such arrays when it is sliced.
        labels: Array of shape `(images,)`, in the order of the model's classes.
        posterior: What is attacked.
        attack: The attack.
        batch_size: Images per step.
        seed: Seed of the evaluation, whose draws the attack does not know.
        program: That of another radius on the same posterior, to compile once.
    """

    def __init__(
        self,
        images,
        labels: np.ndarray,
        posterior: Posterior,
        attack: Attack,
        batch_size: int,
        seed: int = 0,
        program: Program | None = None,
    ):
        self.shape = tuple(images.shape)
        once = posterior.repeats_itself
        self.attack = dataclasses.replace(attack, draws=1) if once else attack
        self._asked, self._seed = attack, seed
        self._images, self._labels = images, np.asarray(labels, "int32")
        self._posterior, self._size = posterior, max(min(batch_size, len(images)), 1)
        self._program = program

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index: slice):
        start, stop, _ = index.indices(len(self))
        images = np.asarray(self._images[start:stop], "float32")
        labels = self._labels[start:stop]
        parts, place = [images[:0]], 0
        while place < len(images):
            size = self._size
            rows = slice(place, place + size)
            try:
                parts.append(self._attacked(images[rows], labels[rows], start + place))
            except Exception as error:
                what = f"to attack batches of {size} images"
                self._size = device_memory.halved(error, size, what)
                continue
            place += size
        return np.concatenate(parts)

    def __getstate__(self):
        return {**self.__dict__, "_program": None}

    def fingerprint(self) -> str:
        """Returns what changes when the images do, but for the model and the seed."""
        text = f"{self._asked.settings} {_EDITION}"
        return f"{text} {fingerprint.of_images(self._images)}"

    def _attacked(self, images, labels, first):
        if self._program is None:
            self._program = self.attack.program(self._posterior)
        # A last batch of another size would have to be compiled for itself.
        missing = self._size - len(images)
        padded = np.pad(images, [(0, missing), *[(0, 0)] * (images.ndim - 1)])
        padded_labels = np.pad(labels, [(0, missing), *[(0, 0)] * (labels.ndim - 1)])
        found = self._program(
            padded,
            padded_labels,
            self.attack.epsilon,
            self.attack.step_size,
            seed=self._seed ^ _SEED,
            offset=first,
        )
        return ops.convert_to_numpy(found)[: len(images)]


def attacked(
    dataset,
    posterior: Posterior,
    attacks: Sequence[Attack],
    batch_size: int,
    seed: int = 0,
) -> list:
    """Returns the data sets that attacks on a model make of one.

    Args:
        dataset: A `training.data.ImageData`, with labels in the order of the classes of
            the model.
        posterior: What is attacked.
        attacks: One or more attacks, which differ in radius and size of steps alone.
        batch_size: Images per step.
        seed: Seed of the evaluation.
    """
    program = attacks[0].program(posterior)
    made = []
    for attack in attacks:
        sizes = attack.epsilon, attack.step_size, attack.steps
        check_sizes(balls.named(attack.norm), *sizes, dataset.images.shape[1:])
        images = AttackedImages(
            dataset.images,
            dataset.labels,
            posterior,
            attack,
            batch_size,
            seed,
            program,
        )
        name = f"{dataset.name}{attack.dataset}"
        made.append(dataclasses.replace(dataset, name=name, images=images))
    return made
