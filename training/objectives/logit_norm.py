"""LogitNorm: the cross-entropy of logits of constant norm."""

import keras
from keras import ops

from training import objective

TEMPERATURE = 0.01  # Of the command in the official README, for CIFAR-10.


def logit_norm(
    model: keras.Model, recipe, temperature: float = TEMPERATURE
) -> objective.Objective:
    """Returns the cross-entropy of logits that are divided by their Euclidean norm.

    A network minimizes the cross-entropy of what it classifies rightly by longer and
    longer logits, and is then as sure of images that it has never seen the like of.
    Here their direction alone counts, so that the norm is left to tell these apart.
    Predictions, and the loss of the validation set, are those of the logits as they
    are; their scale means nothing, so give the model a temperature
    (`zoo.posterior.Temperature`) before its probabilities are believed.

    Args:
        model: From images to logits.
        recipe: A `training.recipes.base.Recipe`, for its `label_smoothing`.
        temperature: Positive; the norm of the logits is one over it. The smaller it is,
            the smaller the least loss that there can be, which for `K` classes is
            `log(1 + (K - 1) * exp(-sqrt(K / (K - 1)) / temperature))`.

    Reference:
        [Mitigating Neural Network Overconfidence with Logit Normalization](
        https://arxiv.org/abs/2205.09310) (Wei et al., 2022), Eq. 5.
    """
    loss = objective.cross_entropy(recipe.label_smoothing, model.output_shape[-1])

    def training_loss(model, images, labels, logits):
        return loss.call(labels, normalized(logits) / temperature)

    return objective.Objective(loss, training_loss, tasks=objective.OF_CLASSES)


def normalized(logits):
    """Returns logits over their Euclidean norm, to which 1e-7 is added.

    Args:
        logits: Tensor of shape `(..., num_classes)`.

    Returns:
        Tensor of that shape; where all logits are zero, so are these.
    """
    squares = ops.sum(ops.square(logits), axis=-1, keepdims=True)
    # The root of zero has no gradient.
    is_zero = ops.equal(squares, 0)
    norm = ops.sqrt(ops.where(is_zero, ops.ones_like(squares), squares))
    return logits / (norm + 1e-7)
