"""Losses of regressors: the density of targets, and quantiles."""

import keras
from keras import ops

from layers import checks
from training import number_losses, objective

# The levels of the quantiles by default: .05, .1, ... .95.
LEVELS = tuple(round(0.05 * number, 2) for number in range(1, 20))
TASKS = ("regression",)


def gaussian(model: keras.Model, recipe, beta: float = 0.0) -> objective.Objective:
    """Returns the negative log density of targets, in nats per example.

    With Gaussian weights it is the negative evidence lower bound, as `cross_entropy` is
    of a classifier.

    With `beta`, the one of an example is multiplied by the variance that the model
    predicts, of standardized targets, to the power of it, as a number without a
    gradient: with 0 that changes nothing, and with 1 the gradient of the mean is that
    of the squared error. Examples that the model explains by noise are then learned
    too; the published choice is 0.5.

    Args:
        model: A regressor, as `zoo.build(..., target=...)` makes it.
        recipe: A `training.recipes.base.Recipe`.
        beta: In [0, 1].

    Raises:
        ValueError: If the model is no regressor, or `beta` is outside.

    Reference:
        [Estimating the Mean and Variance of the Target Probability Distribution](
        https://doi.org/10.1109/ICNN.1994.374138) (Nix and Weigend, 1994); [On the
        Pitfalls of Heteroscedastic Uncertainty Estimation](
        https://arxiv.org/abs/2203.09168) (Seitzer et al., 2022), Eq. 5, for `beta`.
    """
    scale = number_losses.output_of(model, "gaussian").scale
    if not (checks.is_number(beta) and 0 <= beta <= 1):
        raise ValueError(
            "`beta` is the power of the variance that weighs an example, in [0, 1]. "
            f"Received: beta={beta}"
        )
    loss = number_losses.GaussianNLL()
    if not beta:
        return objective.Objective(loss, integer_labels=True, tasks=TASKS)

    def training_loss(model, images, labels, logits):
        weights = (ops.cast(logits[:, 1], "float32") / scale) ** (2 * beta)
        return ops.stop_gradient(weights) * number_losses.nll(labels, logits)

    return objective.Objective(loss, training_loss, integer_labels=True, tasks=TASKS)


def quantile(model: keras.Model, recipe, levels=LEVELS) -> objective.Objective:
    """Returns the mean pinball loss of quantiles of the predicted Gaussian.

    In units of the deviation of the training targets. Targets far away weigh less than
    in `gaussian`, in proportion to their distance. The model is still one of a mean and
    a deviation; see `training.number_losses.QuantileLoss`.

    Args:
        model: A regressor, as `zoo.build(..., target=...)` makes it.
        recipe: A `training.recipes.base.Recipe`.
        levels: Probabilities, in (0, 1).

    Raises:
        ValueError: If the model is no regressor, or a level no probability.
    """
    scale = number_losses.output_of(model, "quantile").scale
    loss = number_losses.QuantileLoss(levels, scale)
    return objective.Objective(loss, integer_labels=True, tasks=TASKS)
