"""Distillation of a teacher: of its mean prediction, or of how far they are apart."""

import math

import keras

from layers import checks
from training import objective
from training.compress import distill

TEMPERATURE, WEIGHT = 4.0, 0.9
ANNEALED_FROM, SMOOTHING = 10.0, 1e-4


def distillation(
    model: keras.Model,
    recipe,
    temperature: float = TEMPERATURE,
    weight: float = WEIGHT,
) -> objective.Objective:
    """Returns the cross-entropy, and the divergence from the predictions of a teacher.

        (1 - weight) * cross-entropy + weight * T^2 * KL(p_T || q_T)

    where `q_T` is the prediction at the temperature `T`, and `p_T` that of the
    recipe's `teacher`: of one network, or the mean over the passes of a network that
    draws or over the networks of an ensemble, of which the student needs one pass.
    Teacher and student see the same images, as the recipe augments them.

    Args:
        model: From images to logits.
        recipe: A `training.recipes.base.Recipe`, for its `teacher`, `teacher_weights`
            and `label_smoothing`.
        temperature: The temperature T, positive.
        weight: Weight of the divergence, in [0, 1].

    Raises:
        ValueError: If the recipe has no teacher, or one of other classes or images, or
            a setting is out of its range.

    Reference:
        [Distilling the Knowledge in a Neural Network](
        https://arxiv.org/abs/1503.02531) (Hinton et al., 2015), section 2.
    """
    _check_temperature(temperature, 0, "distillation")
    if not (checks.is_number(weight) and 0 <= weight <= 1):
        raise ValueError(
            "`weight` is that of the divergence from the teacher, in [0, 1]; the "
            f"cross-entropy has the rest. Received: weight={weight}"
        )
    teacher = _teacher(model, recipe, "distillation")
    loss = objective.cross_entropy(recipe.label_smoothing, model.output_shape[-1])

    def training_loss(model, images, labels, logits):
        samples = teacher.logits(images, model.seed)
        found = distill.divergence(samples, logits, temperature)
        return (1 - weight) * loss.call(labels, logits) + weight * found

    return objective.Objective(
        loss, training_loss, variables=(teacher.step,), tasks=objective.OF_CLASSES
    )


def distribution_distillation(
    model: keras.Model,
    recipe,
    temperature: float = ANNEALED_FROM,
    smoothing: float = SMOOTHING,
) -> objective.Objective:
    """Returns how unlikely the predictions of a teacher are to the student.

    The exponentials of its logits are the concentrations of a Dirichlet distribution,
    whose density the predictions of all passes or members of the teacher have. So the
    softmax of the logits is a prediction as of any network, and their size says how far
    the teacher's predictions are apart: `model@priornet` tells that, the epistemic
    uncertainty, from one pass. Labels do not count.

    Predictions of both are those at a temperature that falls from `temperature` to 1
    within the first half of the training, since those of a sure ensemble lie in a
    corner, where there is little to learn from.

    Args:
        model: From images to logits, for each image.
        recipe: A `training.recipes.base.Recipe`, for its `teacher`, `teacher_weights`
            and `epochs`.
        temperature: The first temperature, 1 or more.
        smoothing: The part of each probability of the teacher that is spread over all
            classes, in (0, 1).

    Raises:
        ValueError: As `distillation`, and if the teacher has one prediction alone.

    Reference:
        [Ensemble Distribution Distillation](https://arxiv.org/abs/1905.00076)
        (Malinin et al., 2020), section 3.
    """
    name = "distribution_distillation"
    _check_temperature(temperature, 1, name)
    if not (checks.is_number(smoothing) and 0 < smoothing < 1):
        raise ValueError(
            "`smoothing` is a part of a probability, between 0 and 1. Received: "
            f"smoothing={smoothing}"
        )
    teacher = _teacher(model, recipe, name)
    if teacher.num_samples < 2:
        raise ValueError(
            f"The objective '{name}' learns how far predictions are apart, and this "
            "teacher has one: take an ensemble, or passes of a network that draws. "
            f"Received: teacher={recipe.teacher}"
        )
    now = keras.Variable(
        float(temperature), dtype="float32", trainable=False, name="temperature"
    )
    loss = objective.cross_entropy(recipe.label_smoothing, model.output_shape[-1])

    def training_loss(model, images, labels, logits):
        samples = teacher.logits(images, model.seed)
        return distill.dirichlet_loss(samples, logits, now.value, smoothing)

    def begin_epoch(model, epoch):
        left = max(1 - 2 * epoch / recipe.epochs, 0.0)
        now.assign(1 + (temperature - 1) * left)

    return objective.Objective(
        loss, training_loss, begin_epoch=begin_epoch, variables=(teacher.step, now)
    )


def _teacher(model, recipe, name):
    if not recipe.teacher:
        raise ValueError(
            f"The objective '{name}' learns from another network, which the setting "
            "`teacher` names, such as teacher=resnet20_mcdo.cifar10. Received: "
            "teacher="
        )
    posterior = distill.load_teacher(recipe.teacher, recipe.teacher_weights)
    return distill.Teacher(posterior, model, recipe.teacher)


def _check_temperature(temperature, least, name):
    is_one = checks.is_number(temperature) and temperature >= least
    if not (is_one and 0 < temperature < math.inf):
        words = "positive" if not least else f"{least} or more"
        raise ValueError(
            f"`temperature` of the objective '{name}' must be {words} and finite. "
            f"Received: temperature={temperature}"
        )
