"""Adversarial training: the loss of images, and after a step that makes it larger."""

import keras
from keras import ops

from training import objective
from training.input_gradients import input_gradients, unchanged

EPSILON = 0.01  # Of the range of the pixels, which is 255.
_RANGE = 255.0


def adversarial(
    model: keras.Model, recipe, epsilon: float = EPSILON
) -> objective.Objective:
    """Returns the cross-entropy of images, and of those a small step aside.

    With the cross-entropy `l` of an image `x` that is the sum

        l(x) + l(x + epsilon * 255 * sign(dl/dx))

    where the step has no gradient of its own: predictions become smooth in the
    direction in which they change most. Each of the two takes a pass in training mode
    beside that of the images, whose batch statistics count for nothing.

    Args:
        model: From images to logits.
        recipe: A `training.recipes.base.Recipe`, for its `label_smoothing`.
        epsilon: Size of the step as a part of the range of pixels, `[0, 255]`.

    Raises:
        ValueError: If `epsilon` is negative.

    Reference:
        [Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles](
        https://arxiv.org/abs/1612.01474) (Lakshminarayanan et al., 2017), Algorithm 1;
        [Explaining and Harnessing Adversarial Examples](
        https://arxiv.org/abs/1412.6572) (Goodfellow et al., 2015), section 4.
    """
    if not 0 <= epsilon <= 1:
        raise ValueError(
            "`epsilon` is a part of the range of pixels, in [0, 1]. Received: "
            f"epsilon={epsilon}"
        )
    loss = objective.cross_entropy(recipe.label_smoothing, model.output_shape[-1])

    def losses(model, images, labels):
        logits = ops.cast(model(images, training=True), "float32")
        return loss.call(labels, logits)

    def training_loss(model, images, labels, logits):
        clean = loss.call(labels, logits)
        aside = moved(model, images, lambda x: losses(model, x, labels), epsilon)
        with unchanged(model):
            return clean + losses(model, aside, labels)

    return objective.Objective(loss, training_loss)


def moved(model: keras.Model, images, function, epsilon: float):
    """Returns images after a step along the signs of the gradient of a function.

    Args:
        model: The model that the function calls.
        images: Tensor of shape `(batch, height, width, channels)`, in `[0, 255]`.
        function: From such images to a tensor of shape `(batch,)`.
        epsilon: Size of the step as a part of the range of pixels.

    Returns:
        float32 tensor of that shape, without a gradient.
    """
    images = ops.cast(images, "float32")
    signs = ops.sign(input_gradients(model, function, images))
    return ops.stop_gradient(images + epsilon * _RANGE * signs)
