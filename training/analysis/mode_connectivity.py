"""Whether two trainings of one architecture are connected by a curve of low loss."""

import numpy as np
from keras import ops

from layers import checks, compilation, gradients
from training.analysis import base, directions, training_batches, weight_loss
from training.analysis.base import Finding
from training.analysis.kept import Kept
from training.analysis.weight_loss import METRICS, Evaluation, WeightLoss


def connectivity(
    first,
    second,
    dataset,
    *,
    batch_size: int = 128,
    seed: int = 0,
    progress=None,
    folder=None,
    augmentations="none",
    weight_decay: float = 5e-4,
    epochs: int = 10,
    learning_rate: float = 0.01,
    momentum: float = 0.9,
    points: int = 11,
    num_images: int = 5000,
) -> Finding:
    """Trains a curve between two networks, and measures the loss along it.

    The curve is `(1 - t)^2 a + 2 t (1 - t) b + t^2 c` of the weights `a` and `c` of the
    two and a bend `b`, which begins in their middle and is trained by gradient descent:
    each step has a `t` of its own, uniform in (0, 1), and minimizes NLL + L2 there,
    with the batch's own statistics. The learning rate is constant up to half of the
    epochs, falls linearly to a hundredth of itself at nine tenths, and stays.

    At points of the curve, and of the straight line, batch statistics are computed anew
    for the images; those of the ends are those of other weights.

    Args:
        first: A functional Keras model.
        second: One of the same architecture, of which only the weights are used: all
            points are of the function of the first.
        dataset: A `training.data.ImageData` of training images.
        batch_size: Images of a step, and that pass at a time.
        seed: Seed of everything random.
        progress: A `training.progress.Progress`; None for none.
        folder: Where the curve is kept after each epoch, and goes on from; None for
            nowhere.
        augmentations: Of the training of the curve, as `hessian` takes them; points are
            measured on the images as they are.
        weight_decay: As in `hessian`.
        epochs: Of the training of the curve; 0 for the straight line alone.
        learning_rate: Of the training of the curve.
        momentum: Likewise.
        points: Points of each path, the ends among them.
        num_images: How many images the points are measured on, and their statistics.

    Returns:
        Rows with the metrics `loss`, `nll` and `error` of each `t` of each `path`,
        `"line"` and `"curve"`; for each path the `barrier` of the three, the largest
        excess over the line between the values of the ends; and `mode_connectivity`,
        `(e(0) + e(1)) / 2 - e(t)` in percentage points of the error, at the `t` where
        its absolute value is largest: negative for a barrier, about zero if connected.
        Arrays `t`, and `line/loss`, `curve/loss` and so on, of shape `(points,)`.

    Raises:
        ValueError: If the models are of other shapes, or settings out of their range.
        FloatingPointError: If a loss is not finite. The last epoch is kept in the
            folder.

    Reference:
        [Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs](
        https://arxiv.org/abs/1802.10026) (Garipov et al., 2018), Eq. 4; [Taxonomizing
        Local versus Global Structure in Neural Network Loss Landscapes](
        https://arxiv.org/abs/2107.11228) (Yang et al., 2021).
    """
    directions.check_alike(first, second)
    dataset = base.check(first, dataset, batch_size)
    base.check(second, dataset, batch_size)
    _check(epochs, points)
    checks.check_positive(learning_rate, "learning_rate")
    checks.check_count(num_images, "num_images")
    if not (checks.is_number(momentum) and 0 <= momentum < 1):
        raise ValueError(f"`momentum` is in [0, 1). Received: momentum={momentum}")
    names = training_batches.read_augmentations(augmentations)
    ends = [WeightLoss(model, weight_decay) for model in (first, second)]
    loss = ends[0]
    settings = {
        "epochs": epochs,
        "learning_rate": float(learning_rate),
        "augmentations": training_batches.joined(names),
        "weight_decay": float(weight_decay),
        "batch_statistics": loss.told("recomputed"),
    }
    kept = Kept(
        *(folder, [first, second], dataset),
        **{"seed": seed, "batch_size": batch_size, "momentum": momentum},
        **{"points": points, "num_images": num_images, **settings},
    )
    if progress is not None:
        paths = 2 if epochs else 1
        progress.expect(epochs * base.num_batches(dataset, batch_size) + paths * points)
    curve = _Curve(loss, [end.weights for end in ends], momentum)
    rate = _Rate(learning_rate, epochs)
    done = [epoch for epoch in range(epochs) if kept.has(_name(epoch))]
    for epoch in range(max(done, default=0), epochs):
        images = training_batches.Epoch(dataset, batch_size, names, seed, epoch)
        state = kept(_name(epoch), curve.train, images, rate, seed, epoch, progress)
        curve.restore(state)
        kept.drop(_name(epoch - 1))
    sample = dataset.sample(num_images)
    if len(sample) < batch_size:
        raise ValueError(
            "There must be a whole batch of images to measure points on. Received: "
            f"num_images={num_images}, batch_size={batch_size}"
        )
    found = training_batches.augmented(sample, batch_size, seed=seed)
    evaluate = Evaluation(loss, found, "recomputed")
    line = np.linspace(0, 1, points)
    made = {"line": curve.straight, **({"curve": curve.at} if epochs else {})}
    facts = {"images": len(found) * batch_size, **settings}
    rows, arrays = [], {"t": line}
    for path, at in made.items():
        ways = evaluate, at, path, line, seed, progress
        values = kept(f"points_{path}", _measured, *ways).arrays
        arrays |= {f"{path}/{name}": values[name] for name in METRICS}
        rows += _rows(path, line, values, facts)
    return Finding(rows, arrays)


def bezier(t: float, first, bend, second) -> list[np.ndarray]:
    """Returns the weights of a quadratic Bezier curve.

    Args:
        t: The place, in [0, 1].
        first: List of arrays, the weights at 0.
        bend: Likewise, the weights that it bends to.
        second: Likewise, the weights at 1.
    """
    factors = (1 - t) ** 2, 2 * t * (1 - t), t**2
    return [
        sum(np.asarray(f, x.dtype) * x for f, x in zip(factors, own, strict=True))
        for own in zip(first, bend, second, strict=True)
    ]


def mode_connectivity(errors) -> float:
    """Returns the mean of the ends minus the value that is farthest from it.

    Args:
        errors: Values along a path, of shape `(points,)`.

    Returns:
        Negative for a barrier; see `connectivity`.

    Example:

    >>> mode_connectivity([1.0, 7.0, 3.0])
    -5.0
    """
    errors = np.asarray(errors, "float64")
    gaps = (errors[0] + errors[-1]) / 2 - errors
    return float(gaps[np.argmax(np.abs(gaps))])


def barrier(values, places) -> float:
    """Returns the largest excess over the line between the values of the ends.

    Args:
        values: Values along a path, of shape `(points,)`.
        places: Their `t` in [0, 1].

    Example:

    >>> barrier([1.0, 7.0, 3.0], [0.0, 0.5, 1.0])
    5.0
    """
    values, places = (np.asarray(x, "float64") for x in (values, places))
    return float(np.max(values - (1 - places) * values[0] - places * values[-1]))


def _name(epoch):
    return f"epoch_{epoch:04d}"


class _Curve:
    """A curve and its training."""

    def __init__(self, loss: WeightLoss, ends, momentum: float):
        self.loss, self.ends, self.momentum = loss, ends, momentum
        self.bend = [(a + c) / 2 for a, c in zip(*ends, strict=True)]
        self.velocity = [np.zeros_like(x) for x in self.bend]
        self._step = compilation.program(self._stepped, autograph=loss.autograph)

    def at(self, t):
        return bezier(t, self.ends[0], self.bend, self.ends[1])

    def straight(self, t):
        middle = [(a + c) / 2 for a, c in zip(*self.ends, strict=True)]
        return bezier(t, self.ends[0], middle, self.ends[1])

    def train(self, images, rate, seed, epoch, progress) -> Finding:
        """Takes the steps of an epoch; returns what it changes."""
        tensors = [
            [ops.convert_to_tensor(x) for x in part]
            for part in (self.bend, self.velocity, *self.ends, self.loss.others)
        ]
        bend, velocity, first, second, others = tensors
        places = np.random.default_rng((seed, epoch)).uniform(size=len(images))
        for number, (batch, t) in enumerate(zip(images, places, strict=True)):
            key = (seed + epoch * len(images) + number) & 0xFFFFFFFF
            now = rate(epoch + number / len(images))
            value, bend, velocity = self._step(
                (bend, velocity, first, second, others),
                *(ops.convert_to_tensor(x) for x in batch),
                weight_loss.key_of(key),
                *(ops.convert_to_tensor(np.float32(x)) for x in (t, now)),
            )
            base.check_finite(
                value, f"The loss of the curve in epoch {epoch + 1}, step {number + 1},"
            )
            if progress is not None:
                progress(1)
        arrays = {
            f"{name}_{place:05d}": ops.convert_to_numpy(x)
            for name, part in (("bend", bend), ("velocity", velocity))
            for place, x in enumerate(part)
        }
        return Finding([], arrays)

    def restore(self, state: Finding):
        """Takes over what `train` returned."""
        parts = [
            [state.arrays[f"{name}_{place:05d}"] for place in range(len(self.bend))]
            for name in ("bend", "velocity")
        ]
        self.bend, self.velocity = parts

    def _stepped(self, state, images, targets, key, t, rate):
        bend, velocity, first, second, others = state
        factors = (1 - t) ** 2, 2 * t * (1 - t), t**2

        def function(bend):
            weights = [
                sum(ops.cast(f, x.dtype) * x for f, x in zip(factors, own, strict=True))
                for own in zip(first, bend, second, strict=True)
            ]
            return self.loss.objective(
                weights, others, images, targets, key, statistics="recomputed"
            )

        value, pull = gradients.vjp(function, bend)
        found = pull(ops.ones_like(value))
        velocity = [
            self.momentum * v - ops.cast(rate, v.dtype) * g
            for v, g in zip(velocity, found, strict=True)
        ]
        bend = [b + v for b, v in zip(bend, velocity, strict=True)]
        return value, bend, velocity


class _Rate:
    """The learning rate by the epoch: constant, then falling to a hundredth."""

    def __init__(self, largest: float, epochs: int):
        self.largest, self.epochs = largest, epochs

    def __call__(self, epoch: float) -> float:
        share = min(max((epoch / self.epochs - 0.5) / 0.4, 0), 1)
        return self.largest * (1 - 0.99 * share)


def _measured(evaluate, at, path, line, seed, progress):
    points = ((at(float(t)), seed, f"of the {path} at t={t:g}") for t in line)
    return Finding([], evaluate.along(points, progress))


def _rows(path, line, values, facts):
    rows = [
        {
            "metric": name,
            "value": float(value),
            "path": path,
            "t": float(t),
            **facts,
        }
        for name in METRICS
        for t, value in zip(line, values[name], strict=True)
    ]
    rows += [
        {
            "metric": "barrier",
            "value": barrier(values[name], line),
            "of": name,
            "path": path,
            **facts,
        }
        for name in METRICS
    ]
    mode = mode_connectivity(100 * values["error"])
    return [
        *rows,
        {"metric": "mode_connectivity", "value": mode, "path": path, **facts},
    ]


def _check(epochs, points):
    if epochs != 0:
        checks.check_count(epochs, "epochs")
    if checks.check_count(points, "points") < 3:
        raise ValueError(
            "A path has three points at least, its ends and one between them. "
            f"Received: points={points}"
        )
