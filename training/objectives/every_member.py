"""The cross-entropy of every member of an implicit ensemble for every image."""

import keras

from layers import members
from training import objective


def every_member(model: keras.Model, recipe) -> objective.Objective:
    """Returns the mean over the members of the cross-entropy of each image.

    Under other objectives an image of a batch has one member, so that a member learns
    from its share of the images. Here all of them learn from all, and the network has
    as many rows as there are images times members: `batch_size` divided by the number
    of members takes the memory and about the time that it took before. Members that are
    side by side in the channels, as with the method `packed`, need one pass for all.

    Shown are NLL and accuracy of the mean prediction of the members in training, and of
    one member for each image in validation.

    Args:
        model: From images to logits, with members, as those with the method `film`.
        recipe: A `training.recipes.base.Recipe`, for its `label_smoothing`.

    Raises:
        ValueError: If the model has no members, or its layers different numbers.

    Reference:
        [FiLM-Ensemble: Probabilistic Deep Learning via Feature-wise Linear Modulation](
        https://arxiv.org/abs/2206.00050) (Turkoglu et al., 2022), section 3.
    """
    count = members.count(model)
    if count < 2:
        raise ValueError(
            "The objective 'every_member' is for networks with several members, such "
            f"as 'resnet20_film'. Received: the model '{model.name}' with none"
        )
    loss = objective.cross_entropy(recipe.label_smoothing, model.output_shape[-1])

    def training_loss(model, images, labels, logits):
        return sum(loss.call(labels, logits[:, m]) for m in range(count)) / count

    return objective.Objective(loss, training_loss, num_members=count)
