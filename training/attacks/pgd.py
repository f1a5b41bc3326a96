"""Projected gradient descent, and its single step, the fast gradient sign method."""

import functools
import math
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

import layers
from layers import compilation, keras_internals, tracing
from layers.random import fold, uint32
from training.attacks import balls
from training.attacks.expectation import expected_loss, wrong
from zoo import arrays
from zoo.posterior import Posterior
from zoo.posterior.base import as_array, check_images
from zoo.posterior.monte_carlo import noise_settings

RANGE = 255.0
# Keys of what an attack draws, beside those of its steps.
_START, _VERDICT = 0x5EED, 0x7E57
_SHORTEST = 0.25  # Of the radius: what all steps together must be able to go.
_NUM_PROGRAMS = 8  # That are kept of eager calls.


def pgd(
    model: keras.Model | Posterior,
    images,
    labels,
    epsilon: float,
    step_size: float,
    steps: int,
    norm: str = "linf",
    restarts: int = 1,
    random_start: bool = True,
    draws: int | None = None,
    seed=0,
    loss: Callable | None = None,
    training: bool = False,
    offset=0,
):
    """Returns images in a ball around others at which the loss of a model is large.

    With the loss `l` in expectation over the draws of the model, a step is

        x <- clip(x0 + project(x + step_size * direction(dl/dx) - x0), 0, 255)

    where the direction is the sign of the gradient for `norm="linf"`, and the gradient
    divided by its norm for `"l2"`. Each step has draws of its own, which follow from
    the seed, as all else: what becomes of image `i` does not depend on the split into
    batches. Called with values it is compiled; inside of a compiled function, such as a
    step of training, it is a part of that one.

    With restarts the worst images are those that the mean prediction is wrong for, and
    of these or of no such the ones with the largest loss, all by the same draws.

    Args:
        model: From images in `[0, 255]` to logits; or a posterior.
        images: Tensor or array of shape `(batch, height, width, channels)`, in
            `[0, 255]`.
        labels: Integers of shape `(batch,)`, the classes to lead away from; of shape
            `(batch, height, width)` where each pixel has one.
        epsilon: Radius of the ball in gray levels of `[0, 255]`: 8, not `8 / 255`. It
            and the size of a step may be scalar tensors.
        step_size: Size of a step in gray levels.
        steps: The number of steps.
        norm: `"linf"` or `"l2"`, which is that of all pixels of an image.
        restarts: How often it begins anew, at another point.
        random_start: Whether it begins at a point that is uniform in the ball, rather
            than at the image.
        draws: Over how many draws of a model that draws the loss is a mean, 10 by
            default; see `training.attacks.expectation`. One is for a random network
            alone: it flatters the network.
        seed: Integer or scalar integer tensor.
        loss: From labels and logits, of shape `(rows, num_classes)`, to the loss of
            each row; by default the cross-entropy.
        training: Whether batch normalization uses the statistics of the batch, which
            nothing is learned of. By default it uses its own.
        offset: The number of the first image.

    Returns:
        float32 tensor of the shape of the images, in `[0, 255]` and in the ball up to
        rounding, without a gradient. An image whose loss or gradient was not finite is
        NaN in a compiled function.

    Raises:
        ValueError: If `epsilon` seems to have another unit, arguments do not fit
            together, or a loss is not finite.

    Reference:
        [Towards Deep Learning Models Resistant to Adversarial Attacks](
        https://arxiv.org/abs/1706.06083) (Madry et al., 2018), section 2.1.
    """
    ball = balls.named(norm)
    for name, value in (("steps", steps), ("restarts", restarts)):
        layers.checks.check_count(value, name)
    if draws is not None:
        layers.checks.check_count(draws, "draws")
    _check_restarts(restarts, random_start)
    images = as_array(images)
    check_sizes(ball, epsilon, step_size, steps, images.shape[1:])
    settings = {
        "steps": steps,
        "norm": norm,
        "restarts": restarts,
        "random_start": random_start,
        "draws": draws,
        "loss": loss,
        "training": training,
    }
    if tracing.current() is not None:
        perturb = compilation.unconverted(_perturbing(model, **settings)[0])
        return perturb(images, labels, epsilon, step_size, seed, offset)
    program = _program(model, noise_settings(model), tuple(settings.items()))
    return program(images, labels, epsilon, step_size, seed, offset)


def fgsm(
    model: keras.Model | Posterior,
    images,
    labels,
    epsilon: float,
    step_size: float | None = None,
    random_start: bool = False,
    **settings,
):
    """Returns images after one step along the signs of the gradient of the loss.

    It is `pgd` of one step, by default from the image to the border of the ball.

    Args:
        model: From images in `[0, 255]` to logits; or a posterior.
        images: Tensor or array of shape `(batch, height, width, channels)`, in
            `[0, 255]`.
        labels: Integers of shape `(batch,)`.
        epsilon: Radius of the ball in gray levels of `[0, 255]`.
        step_size: Size of the step in gray levels; by default `epsilon`.
        random_start: Whether it begins at a point that is uniform in the ball.
        **settings: Further arguments of `pgd`.

    Returns:
        float32 tensor of the shape of the images.

    Raises:
        ValueError: As `pgd`.

    Reference:
        [Explaining and Harnessing Adversarial Examples](
        https://arxiv.org/abs/1412.6572) (Goodfellow et al., 2015), section 4; with a
        random start, [Fast is better than free](https://arxiv.org/abs/2001.03994)
        (Wong et al., 2020), Algorithm 3.
    """
    return pgd(
        model,
        images,
        labels,
        epsilon,
        epsilon if step_size is None else step_size,
        1,
        random_start=random_start,
        **settings,
    )


class Program:
    """An attack on a model, compiled at its first call for all further ones.

    Args:
        model: From images to logits; or a posterior.
        steps: The number of steps.
        **settings: `norm`, `restarts`, `random_start`, `draws`, `loss` and `training`,
            as `pgd` has them.
    """

    def __init__(self, model: keras.Model | Posterior, steps: int, **settings):
        self._model = model
        perturb, owner = _perturbing(model, steps, **settings)

        def fused(*tensors):
            with compilation.fused():
                return perturb(*tensors)

        self._compiled = compilation.program(fused, owner=owner)

    def __call__(self, images, labels, epsilon, step_size, seed=0, offset=0):
        """Returns images that are attacked; the arguments are those of `pgd`.

        Raises:
            ValueError: If these are no images or labels, or a loss is not finite.
        """
        model = self._model
        is_posterior = isinstance(model, Posterior)
        shape = model.image_shape if is_posterior else model.input_shape[1:]
        check_images(images, tuple(shape))
        arrays.check_pixels(ops.convert_to_numpy(images))
        num_classes = model.num_classes if is_posterior else model.output_shape[-1]
        labels = arrays.check_labels(ops.convert_to_numpy(labels), num_classes)
        found = self._compiled(
            ops.convert_to_tensor(images, "float32"),
            ops.convert_to_tensor(labels, "int32"),
            ops.convert_to_tensor(epsilon, "float32"),
            ops.convert_to_tensor(step_size, "float32"),
            uint32(seed),
            uint32(offset),
        )
        _check_finite(found, model)
        return found


@functools.lru_cache(maxsize=_NUM_PROGRAMS)
def _program(model, version, settings):
    return Program(model, **dict(settings))


def _perturbing(
    model,
    steps,
    norm="linf",
    restarts=1,
    random_start=True,
    draws=None,
    loss=None,
    training=False,
):
    """Returns the function of tensors that an attack is, and whose variables it reads.

    The function takes images, labels, epsilon, the size of a step, a seed and the
    number of the first image.
    """
    expected, ball = expected_loss(model, draws, loss, training), balls.BALLS[norm]

    def inside(images, epsilon, x):
        moved = images + ball.project(x - images, epsilon)
        return ops.reshape(ops.clip(moved, 0.0, RANGE), ops.shape(images))

    def begin(images, epsilon, key, offset):
        if not random_start:
            return images
        rows = uint32(ops.arange(ops.shape(images)[0], dtype="int32"))
        keys = fold(fold(key, _START), rows + uint32(offset))
        start = ball.start(keys, ops.shape(images), epsilon)
        return inside(images, epsilon, images + start)

    def descend(images, labels, epsilon, step_size, key, offset):
        """Returns where one start leads, and for which images all was finite."""

        def step(number, x, finite):
            losses, gradient = expected.gradient(x, labels, fold(key, number), offset)
            known = ops.reshape(ops.isfinite(gradient), (ops.shape(x)[0], -1))
            known = ops.logical_and(ops.all(known, axis=1), ops.isfinite(losses))
            x = inside(images, epsilon, x + step_size * ball.direction(gradient))
            return number + 1, x, ops.logical_and(finite, known)

        start = begin(images, epsilon, key, offset)
        finite = ops.ones(ops.shape(images)[:1], "bool")
        state = ops.zeros((), "int32"), start, finite
        if steps == 1:
            return step(*state)[1:]
        return compilation.while_loop(
            lambda number, *_: number < steps, step, state, at_once=1
        )[1:]

    def perturb(images, labels, epsilon, step_size, seed, offset):
        images = ops.stop_gradient(ops.cast(images, "float32"))
        labels, key = ops.cast(labels, "int32"), uint32(seed)

        def again(number, best, finite, errors, losses):
            x, known = descend(
                images, labels, epsilon, step_size, fold(key, number), offset
            )
            new_losses, probs = expected.prediction(
                x, labels, fold(key, _VERDICT), offset
            )
            new_errors = wrong(labels, probs)
            same = ops.logical_and(new_errors == errors, new_losses > losses)
            worse = ops.logical_or(new_errors > errors, same)
            rows = ops.reshape(worse, (-1, *[1] * (len(images.shape) - 1)))
            return (
                number + 1,
                ops.where(rows, x, best),
                ops.logical_and(finite, known),
                ops.where(worse, new_errors, errors),
                ops.where(worse, new_losses, losses),
            )

        if restarts == 1:
            found, finite = descend(
                images, labels, epsilon, step_size, fold(key, 0), offset
            )
        else:
            batch = ops.shape(images)[:1]
            # Whatever the first descent finds is worse than this.
            state = (ops.zeros((), "int32"), images, ops.ones(batch, "bool")) + (
                -ops.ones(batch, "float32"),
                ops.zeros(batch, "float32"),
            )
            _, found, finite, *_ = compilation.while_loop(
                lambda number, *_: number < restarts, again, state, at_once=1
            )
        finite = ops.reshape(finite, (-1, *[1] * (len(images.shape) - 1)))
        return ops.stop_gradient(ops.where(finite, found, np.float32("nan")))

    def kept(*tensors):
        # Those of the passes are tensors of loops, and others may wait to be read.
        with keras_internals.kept_losses(expected.owner):
            return perturb(*tensors)

    return kept, expected.owner


def check_sizes(ball: balls.Ball, epsilon, step_size, steps: int, image_shape: tuple):
    """Checks radius and step of an attack, as far as they are numbers.

    Args:
        ball: Its norm.
        epsilon: In gray levels.
        step_size: In gray levels.
        steps: The number of steps.
        image_shape: Shape of an image; sizes may be None.

    Raises:
        ValueError: If they are negative or not finite, or seem to have another unit.
    """
    for name, value in (("epsilon", epsilon), ("step_size", step_size)):
        if layers.checks.is_number(value) and not 0 <= value < np.inf:
            raise ValueError(
                f"`{name}` must be a finite number, not negative. Received: "
                f"{name}={value}"
            )
    if not layers.checks.is_number(epsilon) or not epsilon:
        return
    count = 1 if None in image_shape else math.prod(image_shape)
    if epsilon < ball.smallest(count):
        raise ValueError(
            f"`epsilon` is in gray levels of [0, 255], of which {epsilon:.4g} changes "
            "no pixel; give 8 for 8/255, and for pixels in [0, 1] multiply by 255. "
            f"Received: epsilon={epsilon}"
        )
    if None not in image_shape and epsilon > ball.largest(count):
        raise ValueError(
            "`epsilon` is in gray levels of [0, 255], and no two images are so far "
            f"from each other. Received: epsilon={epsilon}"
        )
    if None not in image_shape and epsilon > ball.farthest(count):
        raise ValueError(
            f"`epsilon` is the norm of {count} values in gray levels of [0, 255], and "
            f"{epsilon:.4g} would move each by {epsilon / math.sqrt(count):.0f} of "
            f"them. If a norm of {epsilon / RANGE:.4g} gray levels is meant, give "
            f"{epsilon / RANGE:.4g} in Python and {epsilon / RANGE:.4g}/255 to "
            f"commands. Received: epsilon={epsilon}"
        )
    if layers.checks.is_number(step_size) and steps * step_size < _SHORTEST * epsilon:
        raise ValueError(
            f"{steps} steps of {step_size:.4g} gray levels of [0, 255] do not come "
            f"near to the border of the ball, at {epsilon:.4g}; give 2 for 2/255. "
            f"Received: step_size={step_size}"
        )


def _check_restarts(restarts, random_start):
    if restarts > 1 and not random_start:
        raise ValueError(
            "Without a random start all restarts would be the same. Received: "
            f"restarts={restarts}, random_start=False"
        )


def _check_finite(found, model):
    rows = ops.convert_to_numpy(found).reshape(len(found), -1)
    odd = np.flatnonzero(np.isnan(rows).any(axis=1)) if rows.size else ()
    if len(odd):
        raise ValueError(
            f"The loss of '{model.name}', or its gradient, is NaN or infinity in "
            f"{len(odd)} of {len(rows)} images, the first of them number {odd[0]} of "
            "the batch; no attack can be made of that."
        )
