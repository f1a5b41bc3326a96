"""AdA: images from a network whose weights are moved so that the loss grows."""

import math

import keras
from absl import logging
from keras import ops

from layers import checks, gradients, random
from training import objective
from training.attacks.expectation import expected_loss
from training.augment import image_to_image

_WINDOW = 7  # Of the structural similarity.
_HALVINGS = 5
_TINY = 1e-12


def ada(
    model: keras.Model,
    recipe,
    radius: float = 0.1,
    steps: int = 2,
    similarity: float = 0.3,
) -> objective.Objective:
    """Returns the cross-entropy of images that are augmented by a changed network.

    A network `c` gives images back. A change of its weights, of each image in its own
    way, makes another image of it, and changes that make the loss larger are
    corruptions that the classifier does not withstand yet. From a random change of the
    size `radius` in each layer, steps of half that size along the gradient look for
    one; what leaves the radius is put back onto it. The image is then mixed with the
    original as little as makes their structural similarity reach `similarity`. The
    classifier trains on what comes out, and batch statistics are of that.

    It follows the abstract of the paper, whose settings are not published as code, and
    is smaller in three ways: `c` is `training.augment.image_to_image.ImageToImage`, of
    ten thousand weights, fitted to images of the training set, in place of a large
    trained network; a change has two numbers for each of its channels, not one for each
    weight; and there is one such network. So the images are shifted, tinted, sharpened,
    blurred and inverted, over 7 x 7 pixels around and not further.

    A step has `steps` further passes of the classifier, forth and back.

    Args:
        model: From images to logits.
        recipe: A `training.recipes.base.Recipe`, for its `label_smoothing`.
        radius: Root of the mean square of the scales and shifts of a layer, whose
            features have variance 1.
        steps: The number of steps along the gradient; 0 for changes at random.
        similarity: The least structural similarity of an image and the original, in
            `[-1, 1]`: at 1 they are the same.

    Raises:
        ValueError: If settings are out of their ranges.

    Reference:
        [Defending Against Image Corruptions Through Adversarial Augmentations](
        https://arxiv.org/abs/2104.01086) (Calian et al., 2022).
    """
    if not (checks.is_number(radius) and 0 <= radius < math.inf):
        raise ValueError(
            "`radius` is the size of a change relative to the features, and not "
            f"negative. Received: radius={radius}"
        )
    if not (isinstance(steps, int) and steps >= 0):
        raise ValueError(
            f"`steps` must be a number of steps, 0 for none. Received: steps={steps}"
        )
    if not (checks.is_number(similarity) and -1 <= similarity <= 1):
        raise ValueError(
            "`similarity` is the least structural similarity, in [-1, 1]. Received: "
            f"similarity={similarity}"
        )
    network = image_to_image.ImageToImage(model.input_shape[-1])
    found = []

    def adapt(data, validation):
        found[:] = [data]

    def begin_epoch(model, epoch):
        if epoch == 0:
            ratio = network.fit(found[0].images)
            logging.info(
                "The network of the augmentation gives images back with a "
                "signal-to-noise ratio of %.1f dB.",
                ratio,
            )

    def moved(model, images, labels, key):
        changes = ascended(network, model, images, labels, key, radius, steps)
        others = network(images, changes)
        return similar(ops.cast(images, "float32"), others, similarity)

    return objective.Objective(
        objective.cross_entropy(recipe.label_smoothing, model.output_shape[-1]),
        begin_epoch=begin_epoch,
        variables=network.variables,
        adapt=adapt,
        moved=moved,
        integer_labels=True,
    )


def ascended(network, model, images, labels, key, radius: float, steps: int):
    """Returns changes of a network that make the loss of its images larger.

    Args:
        network: An `ImageToImage`.
        model: From images to logits, in inference.
        images: Tensor of shape `(batch, height, width, channels)`, in `[0, 255]`.
        labels: Integer tensor of shape `(batch,)`.
        key: Scalar uint32 tensor, of the start and of what the model draws.
        radius: Root of the mean square of a change in each layer.
        steps: The number of steps.

    Returns:
        float32 tensor of shape `(batch, network.num_changes)`.
    """
    shape = ops.shape(images)[0], network.num_changes
    rows = random.fold(key, ops.arange(shape[0], dtype="int32"))
    changes = _scaled(network, random.normal(rows, shape), radius, ops.ones_like)
    expected = expected_loss(model, draws=1)
    for step in range(steps):
        (others,), pull = gradients.vjp(
            lambda values: [network(images, values[0])], [changes]
        )
        drawn = random.fold(key, step)
        _, slopes = expected.gradient(others, labels, drawn, random.uint32(0))
        (slopes,) = pull([slopes])
        ascent = _scaled(network, slopes, radius / 2, ops.ones_like)
        changes = _scaled(network, changes + ascent, radius, lambda size: size > radius)
    return changes


def _scaled(network, changes, radius, which):
    """Returns changes whose parts of each layer have a size, if they are of some."""
    parts = []
    for part in network.split(changes):
        size = ops.sqrt(ops.mean(ops.square(part), axis=-1, keepdims=True))
        factor = radius / ops.maximum(size, _TINY)
        is_one = ops.cast(which(size), "bool")
        parts.append(part * ops.where(is_one, factor, ops.ones_like(factor)))
    return ops.concatenate(parts, axis=-1)


def similar(images, others, similarity: float):
    """Returns mixtures of two images that are similar to the first one.

    Args:
        images: float32 tensor of shape `(batch, height, width, channels)`.
        others: Tensor of that shape.
        similarity: The least `structural_similarity` with the first.

    Returns:
        Of each pair the second image, if it is as similar; else a mixture with about
        the largest share of it.
    """

    def mixed(share):
        return images + share[:, None, None, None] * (others - images)

    low = ops.zeros_like(images[:, 0, 0, 0])
    high = ops.ones_like(low)
    is_similar = structural_similarity(images, others) >= similarity
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        fits = structural_similarity(images, mixed(middle)) >= similarity
        low, high = ops.where(fits, middle, low), ops.where(fits, high, middle)
    return mixed(ops.where(is_similar, ops.ones_like(low), low))


def structural_similarity(images, others):
    """Returns the mean structural similarity of two images, over windows of 7 x 7.

    Args:
        images: float32 tensor of shape `(batch, height, width, channels)`, in
            `[0, 255]`.
        others: Tensor of that shape.

    Returns:
        Tensor of shape `(batch,)`, in `[-1, 1]`.

    Reference:
        [Image Quality Assessment: From Error Visibility to Structural Similarity](
        https://doi.org/10.1109/TIP.2003.819861) (Wang et al., 2004), Eq. 13, with
        uniform windows.
    """
    size = tuple(min(_WINDOW, side) for side in images.shape[1:3])
    # Squares of large numbers, whose differences are small, would be rounded.
    images, others = images - 127.5, others - 127.5

    def mean(x):
        return ops.average_pool(x, size, strides=1, padding="valid")

    one, other = mean(images), mean(others)
    variances = mean(ops.square(images)) - ops.square(one)
    variances = variances + mean(ops.square(others)) - ops.square(other)
    covariance = mean(images * others) - one * other
    # The luminance is of pixels from 0 on.
    one, other = one + 127.5, other + 127.5
    constants = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = (2 * one * other + constants[0]) * (2 * covariance + constants[1])
    scale = ops.square(one) + ops.square(other) + constants[0]
    found = found / (scale * (variances + constants[1]))
    return ops.mean(found, axis=(1, 2, 3))
