"""Signs that gradients lead attacks astray, so that robustness only seems to be there.

Reference:
    [Obfuscated Gradients Give a False Sense of Security](
    https://arxiv.org/abs/1802.00420) (Athalye et al., 2018), section 3.1;
    [On Evaluating Adversarial Robustness](https://arxiv.org/abs/1902.06705)
    (Carlini et al., 2019), section 4.
"""

import dataclasses
import math
from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from layers import compilation
from layers.random import uint32
from training.attacks import balls
from training.attacks.expectation import expected_loss, wrong
from training.attacks.pgd import Program, check_sizes
from zoo.posterior import Posterior

_TRIES = 10  # Random points of the ball.
_SHORT = 1 / 8  # Of the radius, at which a loss along the step must have risen.
_MOST_FLAT, _MOST_FALLING, _MOST_LEFT = 0.05, 0.25, 0.1  # Shares of images.
_MARGIN = 0.02  # By which an accuracy must be below another one.
_OTHER_DRAWS = 0x0DD  # Beside the seed of the attacks.


@dataclasses.dataclass(frozen=True)
class Masking:
    """What attacks find, and what that says of the gradients.

    Attributes:
        accuracies: Accuracies by the images: `"clean"`; `"random"`, the worst of ten
            random points of the ball; `"fgsm"`; `"pgd"`; `"pgd, one draw"`, which sees
            one draw of a model that draws; `"pgd, half of the range"`, of a radius that
            makes any image gray; and `"pgd on <name>"`, images that were made for
            another model.
        flat: Share of the images whose gradient is zero.
        falling: Share of those whose loss has not risen after an eighth of the step
            that the gradient says.
        warnings: A sentence for each sign of masked gradients.
    """

    accuracies: dict[str, float]
    flat: float
    falling: float
    warnings: tuple[str, ...]


def gradient_masking(
    model: keras.Model | Posterior,
    images,
    labels,
    epsilon: float,
    norm: str = "linf",
    steps: int = 20,
    draws: int | None = None,
    surrogates: Mapping[str, keras.Model | Posterior] | None = None,
    seed: int = 0,
    batch_size: int = 50,
) -> Masking:
    """Looks for signs that attacks by gradients are weaker than others.

    A network whose gradients are true loses to many steps at least as much as to one
    step, to random points, and to images that were made for another network; its loss
    rises along the gradient; and in a large ball nothing is left of it.

    Args:
        model: From images in `[0, 255]` to logits; or a posterior.
        images: Array of shape `(examples, height, width, channels)`; 200 are enough.
        labels: Integer array of shape `(examples,)`.
        epsilon: Radius of the ball in gray levels.
        norm: `"linf"` or `"l2"`.
        steps: The number of steps of PGD.
        draws: As `training.attacks.pgd` takes it.
        surrogates: Other models by name, for the same images and classes.
        seed: Seed of the attacks.
        batch_size: Images per step.

    Returns:
        Accuracies and warnings; see `Masking`.

    Raises:
        ValueError: If arguments do not fit together, or a loss is not finite.
    """
    ball, images = balls.named(norm), np.asarray(images)
    step_size = 2.5 * epsilon / steps
    check_sizes(ball, epsilon, step_size, steps, images.shape[1:])
    size = min(batch_size, len(images))
    data = images, np.asarray(labels)
    seed = seed & 0xFFFFFFFF

    def attacked(program, radius, step, number=0):
        of_batch = [
            ops.convert_to_numpy(program(x, y, radius, step, seed + number, first))
            for first, x, y in _batches(*data, size)
        ]
        return np.concatenate(of_batch)

    judge = _Judge(model, draws, seed ^ _OTHER_DRAWS, size)
    one_step = Program(model, 1, norm=norm, draws=draws, random_start=False)
    many_steps = Program(model, steps, norm=norm, draws=draws)
    start = Program(model, 1, norm=norm, draws=1)
    clean, clean_errors = judge(*data)
    short = attacked(one_step, epsilon, _SHORT * epsilon)
    flat = np.mean(np.all(short == images, axis=(1, 2, 3)))
    rises = judge(short, data[1])[0] > clean
    errors = {"clean": clean_errors}
    tries = [attacked(start, epsilon, 0.0, number) for number in range(_TRIES)]
    errors["random"] = np.max([judge(x, data[1])[1] for x in tries], axis=0)
    errors["fgsm"] = judge(attacked(one_step, epsilon, epsilon), data[1])[1]
    errors["pgd"] = judge(attacked(many_steps, epsilon, step_size), data[1])[1]
    if judge.count > 1:
        single = Program(model, steps, norm=norm, draws=1)
        found = attacked(single, epsilon, step_size)
        errors["pgd, one draw"] = judge(found, data[1])[1]
    half = ball.largest(math.prod(images.shape[1:])) / 2
    found = attacked(many_steps, half, 2.5 * half / steps)
    errors["pgd, half of the range"] = judge(found, data[1])[1]
    for name, other in (surrogates or {}).items():
        program = Program(other, steps, norm=norm, draws=draws)
        found = attacked(program, epsilon, step_size)
        errors[f"pgd on {name}"] = judge(found, data[1])[1]
    accuracies = {name: float(1 - np.mean(e)) for name, e in errors.items()}
    falling = float(np.mean(~rises))
    texts = _warnings(accuracies, float(flat), falling)
    return Masking(accuracies, float(flat), falling, tuple(texts))


def _warnings(accuracies, flat, falling):
    """Yields a sentence for each sign."""
    if flat > _MOST_FLAT:
        yield f"The gradient of {flat:.0%} of the images is zero."
    if falling > _MOST_FALLING:
        yield (
            f"Along the gradient the loss of {falling:.0%} of the images does not rise."
        )
    pgd = accuracies["pgd"]
    for name, accuracy in accuracies.items():
        is_other = name in ("random", "fgsm") or name.startswith("pgd on ")
        if is_other and accuracy < pgd - _MARGIN:
            yield (
                f"PGD leaves an accuracy of {pgd:.1%}, and '{name}' one of "
                f"{accuracy:.1%}, which should be weaker."
            )
    left = accuracies["pgd, half of the range"]
    if left > _MOST_LEFT:
        yield (
            "PGD in a ball of half of the range, which could make all images gray, "
            f"leaves an accuracy of {left:.1%}."
        )
    single = accuracies.get("pgd, one draw", pgd)
    if single > pgd + _MARGIN:
        yield (
            f"An attack that sees one draw leaves an accuracy of {single:.1%}, one in "
            f"expectation {pgd:.1%}: the first is no evidence of robustness."
        )


class _Judge:
    """Expected losses and errors of images, by draws that the attacks do not know."""

    def __init__(self, model, draws, seed, size):
        expected = expected_loss(model, draws)
        self.count, self._seed, self._size = expected.count, seed, size

        def run(images, labels, key, offset):
            losses, probs = expected.prediction(images, labels, key, offset)
            return losses, wrong(labels, probs)

        self._compiled = compilation.program(run, owner=expected.owner)

    def __call__(self, images, labels):
        found = [
            self._compiled(
                ops.convert_to_tensor(x, "float32"),
                ops.convert_to_tensor(y, "int32"),
                uint32(self._seed),
                uint32(first),
            )
            for first, x, y in _batches(images, labels, self._size)
        ]
        parts = zip(*found, strict=True)
        return [np.concatenate([ops.convert_to_numpy(p) for p in ps]) for ps in parts]


def _batches(images, labels, size):
    for first in range(0, len(images), size):
        yield first, images[first : first + size], labels[first : first + size]
