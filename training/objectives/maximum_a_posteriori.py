"""The most probable weights: the cross-entropy, and the log density of a prior."""

import keras

from training import objective
from training.bayesian.priors import ModelPrior


def maximum_a_posteriori(model: keras.Model, recipe) -> objective.Objective:
    """Returns the negative log density of the weights, over the number of examples.

    It is the cross-entropy less the log density of the recipe's `prior`, up to a
    constant, divided by the number of training examples, in place of a weight decay.
    The prior is that of all trained weights, also of biases and normalizations. Its
    weights are the mode of what `zoo-sample` samples with the same prior.

    Args:
        model: From images to logits.
        recipe: A `training.recipes.base.Recipe`, for its `prior` and `label_smoothing`.

    Raises:
        ValueError: If the recipe has a weight decay too, or the prior is not for such a
            network.
    """
    if recipe.weight_decay:
        raise ValueError(
            "The objective 'map' has a prior in place of a weight decay; set "
            f"weight_decay=0. Received: weight_decay={recipe.weight_decay}"
        )
    loss = objective.cross_entropy(recipe.label_smoothing, model.output_shape[-1])
    prior = ModelPrior(recipe.prior, model)

    def training_loss(model, images, labels, logits):
        density = prior.log_prob(model.trainable_variables)
        return loss.call(labels, logits) - density / model.num_examples

    def adapt(data, validation):
        prior.adapt(data.images)

    tasks = objective.OF_CLASSES
    return objective.Objective(loss, training_loss, adapt=adapt, tasks=tasks)
