"""Virtual adversarial training: predictions that stay where images change most."""

import math

import keras
from keras import ops

from layers import checks, gradients, random, replicas
from training import objective
from training.input_gradients import repeated, state_of, unchanged

EPSILON = 2.5  # Of the published code for SVHN, whose pixels have a range of 1, too.
XI = 0.25
_RANGE = 255.0
# Makes gradients larger, of which only the directions count, for half precision.
_SCALE = 1024.0
_DIRECTIONS = 0x7A7  # Folded into the seed of a training.


def vat(
    model: keras.Model,
    recipe,
    epsilon: float = EPSILON,
    weight: float = 1.0,
    entropy: float = 0.0,
    xi: float = XI,
    iterations: int = 1,
) -> objective.Objective:
    """Returns the cross-entropy, and the smoothness of predictions around images.

    With the prediction `p(x)`, which has no gradient here, the smoothness is

        KL(p(x) || p(x + r)),  r = epsilon * v

    where `v` is a direction of length 1 in which the prediction changes most: the top
    eigenvector of the Hessian `H` of the divergence by `r`, approached by iterations

        v <- unit(gradient by r of KL(p(x) || p(x + r)) at r = xi * v)

    of power iteration, from a random direction. No label is in it. So where the recipe
    has `labels`, it is the mean over a batch of images without labels, and that of the
    labeled images elsewhere. Entropy minimization adds the entropy of their predictions
    to it.

    Both predictions are those of training mode with the same dropout masks, or other
    draws, so that they differ by the perturbation alone. In batch statistics of
    training each of the passes is a batch by itself, and the moving ones are those of
    the labeled images as they are.

    A small `xi` is right for predictions of full precision; 1e-6 in the published code.
    Those in bfloat16 have steps that such a change of pixels does not reach, so it is a
    tenth of `epsilon` here. With it a pixel of 32 x 32 x 3 changes by about 1 of 255.

    Args:
        model: From images to logits.
        recipe: A `training.recipes.base.Recipe`, for its `label_smoothing` and the
            sizes of its batches.
        epsilon: Euclidean norm of the perturbation of an image, in units of the range
            of pixels: that of pixels in [0, 1]. The one setting that the authors tune.
        weight: Weight of the divergence; with 0 there are no further passes for it.
        entropy: Weight of the entropy; 1 in the published code where it is used.
        xi: Norm of the change of an image for the iterations, in the unit of `epsilon`.
        iterations: How many iterations; each takes a pass and its gradient.

    Raises:
        ValueError: If a setting is out of its range; for `epsilon` and `xi` that ends
            at the norm of a change of all pixels by their range.

    Reference:
        [Virtual Adversarial Training: A Regularization Method for Supervised and
        Semi-Supervised Learning](https://arxiv.org/abs/1704.03976) (Miyato et al.,
        2018), Eqs. 5 to 8 and 12; [Semi-supervised Learning by Entropy Minimization](
        https://papers.nips.cc/paper/2740) (Grandvalet and Bengio, 2004), Eq. 3.
    """
    _check_norm("epsilon", epsilon, model)
    _check_norm("xi", xi, model)
    for name, value in (("weight", weight), ("entropy", entropy)):
        if not (checks.is_number(value) and 0 <= value < math.inf):
            raise ValueError(
                f"`{name}` weighs what the objective 'vat' adds to the cross-entropy "
                f"and must not be negative. Received: {name}={value}"
            )
    checks.check_count(iterations, "iterations")
    loss = objective.cross_entropy(recipe.label_smoothing, model.output_shape[-1])
    step = keras.Variable(0, dtype="int32", trainable=False, name="vat_step")

    def training_loss(model, images, labels, logits):
        losses = loss.call(labels, logits)
        key = random.fold(random.fold(model.seed, _DIRECTIONS), step.value)
        step.assign(step + 1)
        if (unlabeled := objective.unlabeled()) is None:
            before = objective.state_before() or state_of(model)
            first, _ = replicas.share(recipe.batch_size)
            return losses + terms(model, images, logits, before, key, first), None
        first, count = replicas.share(recipe.unlabeled_batch_size)
        with objective.other_images():
            before, images = state_of(model), unlabeled[:count]
            with unchanged(model):
                logits = model(images, training=True)
            added = terms(model, images, logits, before, key, first)
        return losses, replicas.mean_of_share(added, recipe.unlabeled_batch_size)

    def terms(model, images, logits, before, key, first):
        """Returns what is added for images, from their pass in training."""
        images = ops.cast(images, "float32")
        logs = ops.log_softmax(ops.cast(logits, "float32"))
        clean = ops.stop_gradient(logs)

        def divergences(pixels):
            with repeated(model, before):
                return objective.divergence(clean, model(pixels, training=True))

        added = entropy * _entropy(logs) if entropy else ops.zeros_like(logs[..., 0])
        if weight:
            start = directions(key, images, first)
            found = sharpest(divergences, images, start, _RANGE * xi, iterations)
            added += weight * divergences(images + _RANGE * epsilon * found)
        return added

    return objective.Objective(
        loss,
        training_loss,
        variables=(step,),
        takes_unlabeled=True,
        repeats=True,
        tasks=objective.OF_CLASSES,
    )


def _check_norm(name, value, model):
    shape = model.input_shape[1:]
    largest = math.inf if None in shape else math.sqrt(math.prod(shape))
    if not (checks.is_number(value) and 0 < value <= largest and value < math.inf):
        raise ValueError(
            f"`{name}` is the Euclidean norm of a change of an image, in units of the "
            "range of pixels: it is positive, and with all pixels of images of shape "
            f"{shape} changed by their range {largest:.4g}. Received: {name}={value}"
        )


def directions(key, images, first_row=0):
    """Returns a random direction for each image, uniform on the sphere.

    Args:
        key: Scalar uint32 tensor.
        images: Tensor of shape `(batch, height, width, channels)`.
        first_row: The number of the first image; the draw of an image depends on key
            and number alone, and not on how devices share a batch.

    Returns:
        float32 tensor of the shape of the images, each of norm 1.
    """
    count = ops.shape(images)[0]
    rows = ops.arange(count, dtype="int32") + first_row
    return unit(random.normal(random.fold(key, rows), (count, *images.shape[1:])))


def sharpest(divergences, images, start, step: float, iterations: int = 1):
    """Returns the direction for each image in which a divergence grows fastest.

    Args:
        divergences: From images to tensors with the divergence of each, which is zero
            for the images as they are, its least value.
        images: float32 tensor of shape `(batch, height, width, channels)`.
        start: Directions to begin with, of the same shape and of norm 1.
        step: Norm of the change by which derivatives are taken.
        iterations: How many iterations of power iteration.

    Returns:
        float32 tensor of that shape, of norm 1, without a gradient; zero for an image
        whose divergence is flat there.
    """

    def total(pixels):
        return _SCALE * ops.sum(divergences(pixels))

    for _ in range(iterations):
        start = unit(gradients.by_input(total, images + step * start))
        start = ops.stop_gradient(start)
    return start


def unit(x):
    """Returns the entries of each example over their Euclidean norm.

    Args:
        x: Tensor of shape `(batch, ...)`.

    Returns:
        Tensor of that shape: of zeros where all are zero, and not finite where one of
        them is not.
    """
    axes = tuple(range(1, len(x.shape)))
    largest = ops.max(ops.abs(x), axis=axes, keepdims=True)
    x = x / ops.where(largest > 0, largest, ops.ones_like(largest))
    # Squares of numbers of any size; the sum of them is 1 at least, or 0.
    squares = ops.sum(ops.square(x), axis=axes, keepdims=True)
    return x / ops.sqrt(ops.maximum(squares, 1.0))


def _entropy(logs):
    return -ops.sum(ops.exp(logs) * logs, axis=-1)
