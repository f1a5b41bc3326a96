"""The cross-entropy; with Gaussian weights, the negative evidence lower bound."""

import keras

from training import objective


def cross_entropy(model: keras.Model, recipe) -> objective.Objective:
    """Returns the objective of maximum likelihood, and of variational inference.

    The model adds the KL divergence of Gaussian weights, divided by the number of
    training examples: the sum is the negative evidence lower bound per example. Without
    such weights it is the negative log-likelihood.

    Args:
        model: From images to logits.
        recipe: A `training.recipes.base.Recipe`, for its `label_smoothing`.

    Reference:
        [Weight Uncertainty in Neural Networks](https://arxiv.org/abs/1505.05424)
        (Blundell et al., 2015), Eq. 1 divided by the number of examples.
    """
    classes = model.output_shape[-1]
    loss = objective.cross_entropy(recipe.label_smoothing, classes)
    return objective.Objective(loss, tasks=objective.OF_CLASSES)
