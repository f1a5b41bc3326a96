"""Adversarial training: the loss of images that an attack has moved."""

import math

import keras

from layers import checks
from training import attacks, objective
from training.attacks import balls, overfitting
from training.attacks.pgd import check_sizes

_RANGE = 255.0
_LARGEST = 64.0  # Gray levels; more of an attack are none that images survive.


def fgsm(
    model: keras.Model,
    recipe,
    epsilon: float = 8 / 255,
    step_size: float | None = None,
    random_start: bool = True,
) -> objective.Objective:
    """Returns the cross-entropy of images after one step along signs of the gradient.

    The step begins at a random point of the box of `epsilon` around the image and ends
    in that box, and in `[0, 255]`. Only the images after it are trained with, and batch
    statistics are theirs; the step itself is one of inference. It doubles the passes of
    a training.

    Such a training may overfit to its own attack. That is measured after each epoch,
    and warned of; see `training.attacks.overfitting.RobustAccuracy`.

    Args:
        model: From images to logits.
        recipe: A `training.recipes.base.Recipe`, for its `label_smoothing`.
        epsilon: Size of the attack: below 1 as a part of the range of pixels, from 1 on
            in gray levels, so `8/255` and `8` are the same.
        step_size: Size of the step, in the same units; by default 1.25 times `epsilon`
            from a random start, and `epsilon` from the image.
        random_start: Whether it begins at a random point, in place of the image.

    Raises:
        ValueError: If a size is negative, or more than a quarter of the range, or too
            small for an attack.

    Reference:
        [Fast is better than free: Revisiting adversarial training](
        https://arxiv.org/abs/2001.03994) (Wong et al., 2020), Algorithm 3.
    """
    size = gray_levels(epsilon, "epsilon")
    if step_size is None:
        step = (1.25 if random_start else 1.0) * size
    else:
        step = gray_levels(step_size, "step_size")
    return _attacked(model, recipe, size, step, 1, bool(random_start))


def pgd(
    model: keras.Model,
    recipe,
    epsilon: float = 8 / 255,
    step_size: float | None = None,
    steps: int = 7,
) -> objective.Objective:
    """Returns the cross-entropy of images after steps of projected gradient descent.

    Each step moves all pixels by `step_size` along the signs of the gradient, from a
    random start, and what leaves the box of `epsilon` around the image or `[0, 255]` is
    put back onto its border. Otherwise this is `fgsm`; the passes are `steps + 1` times
    those of a training without an attack.

    Args:
        model: From images to logits.
        recipe: A `training.recipes.base.Recipe`, for its `label_smoothing`.
        epsilon: Size of the attack: below 1 as a part of the range of pixels, from 1 on
            in gray levels, so `8/255` and `8` are the same.
        step_size: Size of a step, in the same units; by default a quarter of `epsilon`.
        steps: How many there are.

    Raises:
        ValueError: If a size is negative, or more than a quarter of the range, or too
            small for an attack, or the number of steps is not positive.

    Reference:
        [Towards Deep Learning Models Resistant to Adversarial Attacks](
        https://arxiv.org/abs/1706.06083) (Madry et al., 2018), section 5.
    """
    checks.check_count(steps, "steps")
    size = gray_levels(epsilon, "epsilon")
    step = size / 4 if step_size is None else gray_levels(step_size, "step_size")
    return _attacked(model, recipe, size, step, steps, True)


def gray_levels(size: float, name: str) -> float:
    """Returns a size of an attack in gray levels of `[0, 255]`.

    Args:
        size: Below 1 a part of the range of pixels, from 1 on gray levels.
        name: Of the setting, for the error.

    Raises:
        ValueError: If it is negative, or more than a quarter of the range.

    Example:

    >>> gray_levels(8 / 255, "epsilon"), gray_levels(8, "epsilon")
    (8.0, 8.0)
    """
    if checks.is_number(size) and 0 <= size < math.inf:
        levels = float(size * _RANGE if size < 1 else size)
        if levels <= _LARGEST:
            return levels
    raise ValueError(
        f"`{name}` is a part of the range of pixels, such as 8/255, or from 1 on a "
        "number of gray levels, such as 8, and at most a quarter of the range. "
        f"Received: {name}={size}"
    )


def _attacked(model, recipe, epsilon, step_size, steps, random_start):
    check_sizes(balls.named("linf"), epsilon, step_size, steps, model.input_shape[1:])
    loss = objective.cross_entropy(recipe.label_smoothing, model.output_shape[-1])
    watch = overfitting.RobustAccuracy(epsilon, recipe.batch_size)

    def moved(model, images, labels, key):
        return attacks.pgd(
            model,
            images,
            labels,
            epsilon,
            step_size=step_size,
            steps=steps,
            random_start=random_start,
            draws=1,  # One is drawn anew in each step.
            seed=key,
        )

    return objective.Objective(
        loss,
        begin_epoch=watch.begin_epoch,
        variables=watch.variables,
        adapt=watch.adapt,
        end_epoch=watch.end_epoch,
        moved=moved,
        integer_labels=True,
    )
