"""How far each image is from one that a network takes for another class."""

import keras
import numpy as np
from keras import ops

import layers
from layers import compilation
from training import attacks
from training.attacks import whole_set

RADIUS = 64.0  # Of the attack, a quarter of the range of pixels, as Euclidean norm.
STEPS = 5
_HALVINGS = 6


def robustness(model: keras.Model, data, batch_size: int) -> np.ndarray:
    """Returns about the Euclidean norm of the smallest change of a prediction.

    The direction of the change is that of `STEPS` steps of PGD within the `RADIUS`;
    along it, halving the interval finds where the logit of the predicted class falls
    below another one. This is never less than the smallest norm that there is, and
    equals it for a linear network of two classes. An attack that looks for the smallest
    change, such as that of Carlini and Wagner, comes closer and takes a hundred times
    as long. Whether a prediction is right makes no difference.

    Images whose prediction stays come behind all others, the more of a lead their class
    keeps the later, so that these numbers sort all images. Random layers draw once.

    Args:
        model: From images to logits.
        data: A `training.data.ImageData`.
        batch_size: Images per step.

    Returns:
        float32 array of shape `(images,)`, in `[0, RADIUS]` in gray levels; where the
        prediction stays, `RADIUS` and the lead that is left.

    Raises:
        FloatingPointError: If a loss is not finite inside of the attack.
    """

    def step(images, labels, start):
        images = ops.cast(images, "float32")

        def logits_of(images):
            with layers.stream(0, start):
                return ops.cast(model(images, training=False), "float32")

        predicted = ops.cast(ops.argmax(logits_of(images), axis=-1), "int32")
        moved = attacks.pgd(
            model,
            images,
            predicted,
            RADIUS,
            step_size=2.5 * RADIUS / STEPS,
            steps=STEPS,
            norm="l2",
            random_start=False,
            draws=1,
            offset=start,
        )
        change = moved - images

        def lead(share):
            moved = images + share[:, None, None, None] * change
            return leads(logits_of(moved), predicted)

        return (_distances(lead, change),)

    program = compilation.program(step, owner=model)
    return whole_set.compute(program, data, batch_size, "Robustness of images")[0]


def leads(logits, labels):
    """Returns by how much the logit of the label is above the largest other one.

    Args:
        logits: Tensor of shape `(batch, num_classes)`.
        labels: Integer tensor of shape `(batch,)`.

    Returns:
        Tensor of shape `(batch,)`; negative where another class is predicted.
    """
    own = ops.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    others = ops.max(ops.where(own > 0, -ops.ones_like(logits) * np.inf, logits), -1)
    return ops.sum(own * logits, axis=-1) - others


def _distances(lead, change):
    """Returns where along a change a lead is lost, as a norm; see `robustness`."""
    norms = ops.sqrt(ops.sum(ops.square(change), axis=(1, 2, 3)))
    low, high = ops.zeros_like(norms), ops.ones_like(norms)
    of_low, of_high = lead(low), lead(high)
    last = of_high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        of_middle = lead(middle)
        is_right = of_middle > 0
        low, of_low = (
            ops.where(is_right, *pair) for pair in ((middle, low), (of_middle, of_low))
        )
        high, of_high = (
            ops.where(is_right, *pair)
            for pair in ((high, middle), (of_high, of_middle))
        )
    # Between the two the lead is taken to be linear.
    share = low + (high - low) * of_low / ops.maximum(of_low - of_high, 1e-12)
    return ops.where(last > 0, RADIUS + last, share * norms)
