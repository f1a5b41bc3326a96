"""DiGN: predictions stay as they are when images get Gaussian noise."""

import keras
import numpy as np
from keras import ops

from layers import checks, random
from training import objective
from training.distribution.step_keys import StepKeys
from training.input_gradients import pixel_deviations
from training.objectives import augmix as consistency

# Of the published program without AugMix, for CIFAR.
WEIGHT, SIGMA, RATE, DRAWS = 0.2, 1.2, 0.2, 3
OVERLAPS = ("gaussian_noise",)
_LARGEST_SIGMA = 10.0


def dign(
    model: keras.Model,
    recipe,
    weight: float = WEIGHT,
    sigma: float = SIGMA,
    rate: float = RATE,
    draws: int = DRAWS,
    augmix: float = 0.0,
) -> objective.Objective:
    """Returns the cross-entropy, with the divergence of predictions under noise.

    With the prediction `p(x)` for an image `x` and noises `e_1` to `e_n` it is

        -log p(x)[label] + weight / n * sum_i KL(p(x) || p(x + e_i))

    where a noise is Gaussian, with a standard deviation that is uniform in `[0, sigma]`
    for each image, in a share `rate` of the numbers of the image. Both predictions have
    gradients. Each noise takes a pass in training mode of its own, after that of the
    images, whose batch statistics count too.

    Noise is added to pixels after their normalization: `sigma` is in units of the
    deviations that the model divides pixels by. For CIFAR 0.2 is 10 of 255, for other
    data sets it is another noise. It is not cut to the range of pixels.

    With `augmix`, that weight times the divergence of `training.objectives.augmix` is
    added, whose three views, the first of which is the image, pass together. The
    published settings for CIFAR are these defaults without it, and with it
    `"dign:sigma=0.2:rate=1:augmix=12"`.

    Gaussian noise is one of the corruptions of the benchmark: what is measured under it
    is not the accuracy under something unseen.

    Args:
        model: From images to logits, with a `Normalization` or a `Rescaling`.
        recipe: A `training.recipes.base.Recipe`, for its `label_smoothing` and its
            `batch_size`.
        weight: Weight of the divergence under noise, zero or positive.
        sigma: The largest standard deviation, in `[0, 10]`.
        rate: Share of the numbers of an image that get noise, in `(0, 1]`.
        draws: How many noises each image gets in a step.
        augmix: Weight of the divergence of AugMix; 0 is without.

    Raises:
        ValueError: If a setting is out of its range, or the model does not normalize
            its pixels.

    Reference:
        [Diverse Gaussian Noise Consistency Regularization for Robustness and
        Uncertainty Calibration](https://arxiv.org/abs/2104.01231) (Tsiligkaridis and
        Tsiligkaridis, 2021), with the settings of its published code.
    """
    _check(weight, sigma, rate, augmix)
    checks.check_count(draws, "draws")
    loss = objective.cross_entropy(recipe.label_smoothing, model.output_shape[-1])
    deviations = np.asarray(pixel_deviations(model), "float32")
    keys = StepKeys(recipe.batch_size)

    def training_loss(model, images, labels, logits):
        images = ops.cast(images, "float32")
        added = 0.0
        if augmix:
            added = augmix * consistency.divergence(logits)
            images, logits = images[:, 0], logits[:, 0]
        each = keys.next_keys(model.seed, ops.shape(images)[0])
        noise = gaussian_noise(each, images, sigma, rate, draws)
        total = 0.0
        for draw in range(draws):
            noisy = model(images + noise[:, draw] * deviations, training=True)
            total = total + objective.divergence(ops.log_softmax(logits), noisy)
        return loss.call(labels, logits) + added + weight / draws * total

    views = ((), ("augmix",), ("augmix",)) if augmix else ((),)
    return objective.Objective(loss, training_loss, views, variables=(keys.step,))


def _check(weight, sigma, rate, augmix):
    for name, value in (("weight", weight), ("augmix", augmix)):
        if not (checks.is_number(value) and 0 <= value < float("inf")):
            raise ValueError(
                f"`{name}` weighs a divergence that the objective 'dign' adds, and is "
                f"zero or positive, and finite. Received: {name}={value}"
            )
    if not (checks.is_number(sigma) and 0 <= sigma <= _LARGEST_SIGMA):
        raise ValueError(
            "`sigma` is the largest standard deviation of the noise of 'dign', in "
            "units of normalized pixels: 0.2 is about 10 of the 255 of a pixel, for "
            f"CIFAR. It must be in [0, {_LARGEST_SIGMA:g}]. Received: sigma={sigma}"
        )
    if not (checks.is_number(rate) and 0 < rate <= 1):
        raise ValueError(
            "`rate` is the share of the numbers of an image that get noise, in (0, 1]. "
            f"Received: rate={rate}"
        )


def gaussian_noise(keys, images, sigma: float, rate: float, draws: int):
    """Returns noises, of a standard deviation of its own for each image and draw.

    Args:
        keys: uint32 tensor of shape `(batch,)`.
        images: Tensor of shape `(batch, height, width, channels)`.
        sigma: The largest standard deviation.
        rate: Probability with which a number gets noise.
        draws: How many noises an image gets.

    Returns:
        float32 tensor of shape `(batch, draws, height, width, channels)`.
    """
    # All at once, which is worth compiling.
    shape = ops.shape(images)[0], draws, *ops.shape(images)[1:]
    scale = sigma * random.fractions(random.fold(keys, 0), draws)
    noise = random.normal(random.fold(keys, 1), shape)
    if rate < 1:
        chosen = random.bernoulli(random.fold(keys, 2), shape, rate)
        noise = ops.where(chosen, noise, 0.0)
    return scale[:, :, None, None, None] * noise
