"""AugMix: the cross-entropy, and the consistency of predictions for three views."""

import keras
from keras import ops

from training import objective
from zoo import predictive

WEIGHT = 12.0  # Of the divergence, for all data sets of the paper.


def augmix(model: keras.Model, recipe) -> objective.Objective:
    """Returns the cross-entropy of images with the divergence of three views of them.

    The first view is the image as the recipe augments it, the others are two mixtures
    of augmentation chains. The cross-entropy is that of the first view alone. The three
    pass the network as one batch, so batch statistics are those of all.

    Args:
        model: From images to logits.
        recipe: A `training.recipes.base.Recipe`, for its `label_smoothing`.

    Reference:
        [AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty](
        https://arxiv.org/abs/1912.02781) (Hendrycks et al., 2020), Eq. 2.
    """
    loss = objective.cross_entropy(recipe.label_smoothing, model.output_shape[-1])

    def training_loss(model, images, labels, logits):
        return loss.call(labels, logits[:, 0]) + WEIGHT * divergence(logits)

    views = (), ("augmix",), ("augmix",)
    return objective.Objective(loss, training_loss, views)


def divergence(logits):
    """Returns the Jensen-Shannon divergence of the predictions for several views.

    It is the mean KL divergence of the views from their mean prediction, in nats, in
    `[0, log(views)]`: the mutual information of the label and the view. The published
    code also clips the mean prediction at 1e-7, which makes no difference to five
    digits.

    Args:
        logits: Tensor of shape `(batch, views, num_classes)`.

    Returns:
        Tensor of shape `(batch,)`.
    """
    return predictive.mutual_information(ops.swapaxes(logits, 0, 1))
