"""NOMU: a network learns where the mean may be off, from points without targets."""

import keras
import numpy as np
from keras import ops

import layers
from layers import checks, random
from training import number_losses, objective
from training.distribution.step_keys import StepKeys

# Of the published program.
WEIGHT, ARTIFICIAL, RATE, POINTS, MARGIN = 0.1, 0.01, 30.0, 200, 0.05
_HUBER = 1.0  # Of the raw uncertainty, from which on its square is a line.


def nomu(
    model: keras.Model,
    recipe,
    weight: float = WEIGHT,
    artificial: float = ARTIFICIAL,
    rate: float = RATE,
    points: int = POINTS,
    margin: float = MARGIN,
    stable: bool = True,
) -> objective.Objective:
    """Returns the squared error, with an uncertainty that is small at the data alone.

    With the mean `f` and the raw uncertainty `r` of standardized targets, and points
    `a` that are uniform in the range of the training inputs, a batch of `n` examples
    has the mean of

        (f(x) - y)^2 + weight * r(x)^2 + artificial / n * mean_a exp(-rate * r(a))

    which is the published sum over the batch, divided by `n`. New points are drawn in
    each step. The mean has no gradient from the points.

    The stable variant has other forms where a raw uncertainty is far off: of the square
    `2 |r| - 1` above 1, and of the exponential, where `r` is negative, `1 - rate r +
    r^2`, so that no step explodes. The published program leaves `artificial` out of the
    second one.

    The loss that is shown for the validation set is the squared error alone. The
    deviation that the model returns is known up to a factor: adapt a
    `zoo.posterior.Spread`.

    Args:
        model: A network with the method `nomu`.
        recipe: A `training.recipes.base.Recipe`.
        weight: Weight of the uncertainty at the training inputs, zero or positive.
        artificial: Weight of the artificial points, zero or positive.
        rate: How fast their exponentials fall, positive.
        points: How many there are in a step; 0 is without.
        margin: By what part of its range each feature of the points goes beyond it on
            either side, zero or positive.
        stable: Whether it is the stable variant.

    Raises:
        ValueError: If the model has another end, or a number is out of its range.

    Reference:
        [NOMU: Neural Optimization-based Model Uncertainty](
        https://arxiv.org/abs/2102.13640) (Heiss et al., 2022), Eq. 8.
    """
    output = model.layers[-1]
    if not isinstance(output, layers.NomuOutput):
        raise ValueError(
            "The objective 'nomu' is for networks with a raw uncertainty, such as "
            f"'mlp64x2_nomu'. Received: the model '{model.name}', which ends with "
            f"{type(output).__name__}"
        )
    _check(weight, artificial, rate, points, margin)
    body = keras.Model(model.input, output.input)
    keys = StepKeys(max(points, 1))
    shape = tuple(model.input_shape[1:])
    bounds = [
        keras.Variable(np.zeros(shape), trainable=False, dtype="float32", name=name)
        for name in ("lowest", "highest")
    ]

    def adapt(data, validation):
        low, high = _range(data.images, shape)
        for bound, value in zip(
            bounds,
            (low - margin * (high - low), high + margin * (high - low)),
            strict=True,
        ):
            bound.assign(value)

    def training_loss(model, images, labels, logits):
        images, count = ops.cast(images, "float32"), ops.shape(images)[0]
        rows = images
        if points:
            drawn = keys.next_keys(model.seed, points)
            where = random.uniform(drawn, (points, *shape))
            low, high = (ops.convert_to_tensor(bound) for bound in bounds)
            rows = ops.concatenate([images, low + (high - low) * where], axis=0)
        found = ops.cast(body(rows, training=True), "float32")
        means, raw = found[:count, 0], found[:, 1]
        targets = output.standardized(ops.reshape(labels, (-1,)))
        losses = ops.square(means - targets) + weight * square(raw[:count], stable)
        if not points:
            return losses
        pushed = ops.mean(exponential(raw[count:], rate, stable))
        return losses + artificial * pushed / ops.cast(count, "float32")

    return objective.Objective(
        number_losses.SquaredError(output.scale),
        training_loss,
        adapt=adapt,
        variables=(keys.step, *bounds),
        integer_labels=True,
        tasks=("regression",),
    )


def square(raw, stable: bool):
    """Returns the square of raw uncertainties, or what is linear where they are large.

    Args:
        raw: Tensor of any shape.
        stable: Whether it is.
    """
    if not stable:
        return ops.square(raw)
    size = ops.abs(raw)
    line = _HUBER * (2 * size - _HUBER)
    return ops.where(size > _HUBER, line, ops.square(raw))


def exponential(raw, rate: float, stable: bool):
    """Returns `exp(-rate * raw)`, or what grows less where raw is negative.

    Args:
        raw: Tensor of any shape.
        rate: Positive.
        stable: Whether it does.
    """
    if not stable:
        return ops.exp(-rate * raw)
    below = ops.relu(-raw)
    return ops.exp(-rate * ops.relu(raw)) + rate * below + ops.square(below)


def _range(images, shape):
    """Returns the smallest and the largest value of each number of the inputs."""
    low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
    for start in range(0, len(images), 1000):
        part = np.asarray(images[start : start + 1000], "float32")
        low = np.minimum(low, part.min(axis=0))
        high = np.maximum(high, part.max(axis=0))
    return low, high


def _check(weight, artificial, rate, points, margin):
    ranges = {
        "weight": (weight, "zero or positive", 0),
        "artificial": (artificial, "zero or positive", 0),
        "margin": (margin, "zero or positive", 0),
        "rate": (rate, "positive", np.nextafter(0, 1)),
    }
    for name, (value, meaning, lowest) in ranges.items():
        if not (checks.is_number(value) and lowest <= value < np.inf):
            raise ValueError(
                f"`{name}` of the objective 'nomu' must be {meaning}, and finite. "
                f"Received: {name}={value}"
            )
    if not isinstance(points, int) or isinstance(points, bool) or points < 0:
        raise ValueError(
            "`points` is the number of artificial points of a step, 0 for none. "
            f"Received: points={points}"
        )
