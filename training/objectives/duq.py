"""DUQ: kernels of the distances to class centroids, and a penalty of gradients."""

import math

import keras
from keras import ops

import layers
from layers import checks, keras_internals
from training import objective
from training.input_gradients import input_gradients, pixel_deviations

PENALTY = 0.5  # Of the example in the official README, for CIFAR-10.
_LARGEST = -1e-6  # Logarithm of a kernel from which on one less it has no gradient.


@keras.saving.register_keras_serializable(package="training")
class KernelCrossEntropy(keras.losses.Loss):
    """The mean over the classes of the binary cross-entropy of kernels, in nats.

    The logits are logarithms of kernels in `(0, 1]`, one for each class, and labels are
    integers.
    """

    def call(self, y_true, y_pred):
        logs = _in_full(y_pred)
        # Keras gives the labels of an evaluation as floating numbers.
        labels = ops.one_hot(
            ops.cast(y_true, "int32"), logs.shape[-1], dtype=logs.dtype
        )
        others = _log_complement(ops.minimum(logs, _LARGEST))
        return -ops.mean(labels * logs + (1 - labels) * others, axis=-1)


def _in_full(x):
    return ops.cast(x, keras.backend.result_type(x.dtype, "float32"))


def _log_complement(logs):
    """Returns `log(1 - exp(logs))` without cancellation."""
    return ops.where(logs > -0.69, ops.log(-ops.expm1(logs)), ops.log1p(-ops.exp(logs)))


def duq(model: keras.Model, recipe, penalty: float = PENALTY) -> objective.Objective:
    """Returns the cross-entropy of kernels, with a penalty of gradients by the images.

    The loss of an example is the mean over the classes of the binary cross-entropy of
    its kernel and whether the class is the label's, and `penalty * (norm - 1)^2`, where
    `norm` is that of the gradient of the sum of its kernels by its normalized pixels:
    features must not forget changes of an image, nor exaggerate them. The penalty takes
    a second pass in training mode, whose batch statistics count for nothing, and its
    gradients those of second order. On TensorFlow these are exact for
    `layers.BatchNormalization`; those of Keras' own normalization are wrong by a few
    percent (`findings/tensorflow_second_derivative_of_normalization.sh`).

    Each step then moves the centroids towards the embeddings of its images in inference
    mode. These are from before the update of the weights, where the published code has
    those from after it.

    Args:
        model: A network that ends with `layers.ClassCentroids`, as those with the
            method `duq` do, and begins with a `Normalization` or `Rescaling`.
        recipe: A `training.recipes.base.Recipe`; without label smoothing.
        penalty: Weight of the penalty; with 0 there is no second pass.

    Raises:
        ValueError: If the model has no such head or beginning, the recipe has label
            smoothing, or the penalty is negative.

    Reference:
        [Uncertainty Estimation Using a Single Deep Deterministic Neural Network](
        https://arxiv.org/abs/2003.02037) (van Amersfoort et al., 2020), Eqs. 3 and 7.
    """
    head = _head(model)
    if recipe.label_smoothing:
        raise ValueError(
            "The objective 'duq' compares each kernel with its own label and has no "
            f"label smoothing. Received: label_smoothing={recipe.label_smoothing}"
        )
    if not (checks.is_number(penalty) and 0 <= penalty < math.inf):
        raise ValueError(
            "`penalty` weighs what the objective 'duq' adds to the cross-entropy and "
            f"must not be negative. Received: penalty={penalty}"
        )
    deviations = pixel_deviations(model) if penalty else None
    body = keras.Model(model.input, head.input)
    loss = KernelCrossEntropy()

    def training_loss(model, images, labels, logits):
        losses = loss.call(labels, logits)
        if penalty:
            norms = gradient_norms(model, images, deviations)
            losses = losses + penalty * ops.square(norms - 1)
        count = objective.num_images()
        head.update(body(images[:count], training=False), labels[:count])
        return losses

    return objective.Objective(loss, training_loss, integer_labels=True)


def gradient_norms(model: keras.Model, images, deviations):
    """Returns the norm of the gradient of the sum of the kernels of each image.

    Args:
        model: From images to logarithms of kernels; it is in training mode.
        images: Tensor of shape `(batch, height, width, channels)`.
        deviations: What pixels are divided by in the model; see `pixel_deviations`.

    Returns:
        Tensor of shape `(batch,)`; the unit is one over that of normalized pixels.
    """

    def kernels(images):
        return ops.exp(_in_full(model(images, training=True)))

    gradients = input_gradients(model, kernels, images)
    gradients = ops.multiply(gradients, deviations)
    squares = ops.sum(ops.square(gradients), axis=tuple(range(1, len(images.shape))))
    return ops.sqrt(squares + 1e-12)  # The root of zero has no gradient.


def _head(model):
    found = [
        layer
        for layer in keras_internals.flat_layers(model)
        if isinstance(layer, layers.ClassCentroids)
    ]
    if len(found) != 1:
        raise ValueError(
            "The objective 'duq' is for networks that end with a "
            "`layers.ClassCentroids`, such as 'resnet20_duq'. Received: the model "
            f"'{model.name}' with {len(found)} of them"
        )
    return found[0]
