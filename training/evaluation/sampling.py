"""Passes of images through a posterior: what it predicts at several ensemble sizes."""

import math
from collections.abc import Iterator, Sequence

import keras
import numpy as np
from keras import ops

import layers
from layers import compilation, gradients
from training.distribution import device_memory

# Whose layers a worker has to know when it is sent a model.
from training.evaluation import external_models as external_models
from zoo import arrays, folding, predictive
from zoo.posterior import MonteCarlo, Posterior
from zoo.posterior.base import layer_name

_MAP_BYTES = 2**26  # Of the sampled logits of a step, for each pixel.
# What is kept of each image and ensemble size, beside the mean probabilities.
SCORES = ("mutual_information", "energy", "max_logit")


class Passes:
    """Predictions of the first `n` samples of a posterior, for several `n`.

    Each image is passed as often as the largest `n` asks, for smaller ensembles are the
    beginnings of the largest. Sample `s` of image `i` is a function of the seed, `s`
    and `i`, so neither the batch size nor the other sizes change it. A
    deterministic model runs once per image, and its values are repeated for each `n`.

    The code is compiled at the first batch and then kept, so one object serves any
    number of data sets.

    Args:
        model: From images to logits; or a posterior, which limits `n` to its samples.
        sizes: The ensemble sizes `n`.
        seed: Seed of the samples.
        batch_size: Images per step; with logits for each pixel fewer, so that the
            samples of a step take no more than 64 MB, or are those of one image.
        name: Name of the model in results; by default its own.
        precision: `"float32"`, for the networks as they are; or `"bfloat16"`, for those
            that `zoo.fold` makes of them.

    Raises:
        ValueError: If sizes are not positive or too large.
    """

    def __init__(
        self,
        model: keras.Model | Posterior,
        sizes: Sequence[int],
        seed: int = 0,
        batch_size: int = 100,
        name: str | None = None,
        precision: str = "float32",
    ):
        self.precision = precision
        self.name = name or model.name
        check_precision(model, self.name, precision)
        self.sizes = check_sizes(sizes)
        self.posterior = _as_posterior(model, self.sizes)
        once = self.posterior.repeats_itself
        self.per_image = 1 if once else self.sizes[-1]
        self.seed, self.batch_size = seed, self._fitting(batch_size)
        # Means of equal samples would differ in their last digits.
        averaged = self.posterior.passes_per_sample
        self._distinct = (1,) if once else tuple(n // averaged for n in self.sizes)
        self._step = None  # Compiled when it is needed.

    def _fitting(self, batch_size):
        if not self.posterior.map_shape:
            return batch_size
        pixels = math.prod(self.posterior.map_shape)
        each = 4 * self.per_image * pixels * self.posterior.num_classes
        return max(1, min(batch_size, _MAP_BYTES // each))

    def batches(
        self, images, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Yields the number of the first image of each batch, and its predictions.

        Args:
            images: Array of shape `(examples, height, width, channels)`, or an object
                that gives such arrays when it is sliced.
            start: The image to begin with, a multiple of the batch size.
            stop: The image to end before, such a multiple too; by default there is
                none.

        Yields:
            The number of the batch's first image and float32 arrays: `probs`, the mean
            probabilities, of shape `(len(sizes), batch, num_classes)`, of regressors
            means and standard deviations, `(len(sizes), batch, 2)`; and of shape
            `(len(sizes), batch)` the `mutual_information`, the `energy`, which is
            `-logsumexp(logits)`, and the `max_logit`, the two of them means over the
            samples; and the posterior's own scores, its `score_names`. With logits for
            each pixel all have its axes behind the batch.

        Where the device has too little memory for a batch, smaller ones follow; what is
        predicted does not change.

        Raises:
            ValueError: If the model gives NaN or infinity, or no logits.
        """
        size = max(min(self.batch_size, len(images)), 1)
        stop = len(images) if stop is None else min(stop, len(images))
        first, waiting = start, None
        while first < stop or waiting:
            # A device computes the next batch while the values of this one are read.
            try:
                begun = first < stop and self._begin(images, first, size, stop)
                values = waiting and self._read(*waiting)
            except Exception as error:
                what = f"for batches of {size} images of '{self.name}'"
                size = device_memory.halved(error, size, what)
                first, waiting = waiting[0] if waiting else first, None
                continue
            if waiting:
                yield waiting[0], values
            first, waiting = first + size, begun

    def __getstate__(self):
        return {**self.__dict__, "_step": None}

    def _begin(self, images, first, size, stop):
        """Starts a batch; returns its first image, its place and what is coming."""
        before, behind = self.posterior.context
        start, end = max(first - before, 0), min(first + size, stop)
        batch = _read(images, start, min(end + behind, len(images)))
        if self._step is None:
            self.posterior.probe_once(batch)
            posterior = _in_precision(self.posterior, self.precision)
            self._step = _compile(posterior, self._distinct)
        own = slice(first - start, end - start)
        if not (before or behind):
            # A last batch of another size would have to be compiled for itself.
            padding = [(0, size - len(batch))] + [(0, 0)] * (batch.ndim - 1)
            batch = np.pad(batch, padding)
        return first, own, self._step(batch, self.seed, start)

    def _read(self, first, own, values):
        values = {k: ops.convert_to_numpy(v)[:, own] for k, v in values.items()}
        self._check(values, first)
        sizes = len(self.sizes)
        return {k: np.broadcast_to(v, (sizes, *v.shape[1:])) for k, v in values.items()}

    def _check(self, values, first):
        finite = np.all(
            [np.isfinite(values[name][-1]) for name in values if name != "probs"],
            axis=0,
        )
        finite = finite.reshape(len(finite), -1).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"Model '{self.name}' gives NaN or infinity in "
                f"{np.sum(~finite)} of {finite.size} images, the first of them number "
                f"{first + int(np.argmin(finite))}."
            )


def check_precision(model: keras.Model | Posterior, name: str, precision: str):
    """Checks that a model can compute in a precision, before anything is computed.

    Args:
        model: A model, or a posterior, which need not have adapted.
        name: What errors call it.
        precision: `"float32"` or `"bfloat16"`.

    Raises:
        ValueError: If it computes gradients or outside of Keras, or a network of it
            cannot be rewritten.
    """
    layers.checks.check_choice(precision, "precision", folding.PRECISIONS)
    if precision == "float32":
        return
    if getattr(model, "runs_elsewhere", False):
        raise ValueError(
            f"'{name}' computes as its file says, outside of Keras. Received: "
            f"precision={precision}"
        )
    if getattr(model, "takes_gradients", False):
        raise ValueError(
            f"'{name}' computes gradients of its networks, which takes float32. "
            f"Received: precision={precision}"
        )
    for network in _networks(model):
        try:
            folding.check(network, precision)
        except ValueError as error:
            raise ValueError(f"'{name}' is for float32 alone. {error}") from error


def _networks(model):
    """Yields the Keras models that a model or posterior is made of."""
    if isinstance(model, keras.Model):
        yield model
        return
    inside = getattr(model, "model", None) or getattr(model, "posterior", None)
    for part in [inside] if inside else model.members:
        yield from _networks(part)


def _in_precision(posterior, precision):
    """Returns what computes the predictions of a posterior."""
    if precision == "float32":  # To the bit what its networks are.
        return posterior
    return posterior.with_models(lambda model: folding.fold(model, precision))


def _read(images, first, stop):
    """Returns a batch of images; an error of one of them has its number."""
    try:
        batch = np.asarray(images[first:stop])
        return arrays.check_inputs(batch)
    except (OSError, ValueError) as error:
        if stop - first == 1:
            raise ValueError(f"Image number {first}: {error}") from error
        for number in range(first, stop):
            _read(images, number, number + 1)
        raise


def check_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    """Returns ensemble sizes in order, each once.

    Raises:
        ValueError: If there are none, or they are not positive integers.
    """
    sizes = tuple(sizes)
    if not sizes or not all(isinstance(n, (int, np.integer)) and n > 0 for n in sizes):
        raise ValueError(
            "`num_samples` must be one or more positive integers, for example (1, 5). "
            f"Received: num_samples={sizes}"
        )
    return tuple(sorted({int(n) for n in sizes}))


def _as_posterior(model, sizes):
    if not isinstance(model, Posterior):
        return MonteCarlo(model, sizes[-1], seed=0, name=layer_name(model.name))
    limit = model.num_samples * model.passes_per_sample
    if sizes[-1] > limit and not model.repeats_itself:
        raise ValueError(
            f"The posterior '{model.name}' draws {limit} samples, so no "
            f"larger ensemble can be evaluated. Received: num_samples={sizes}"
        )
    if any(n % model.passes_per_sample for n in sizes) and not model.repeats_itself:
        raise ValueError(
            f"'{model.name}' gives means of {model.passes_per_sample} forward passes, "
            f"and no smaller parts of them. Received: num_samples={sizes}"
        )
    return model


def _compile(posterior, sizes):
    """Returns a function of `(images, seed, offset)`, compiled once if it can be."""
    summary = _SUMMARIES[posterior.task](sizes, posterior.unknown_scores)
    if posterior.map_shape:
        summary = _by_line(summary, posterior.map_shape[0])

    def predict(images, seed, offset):
        # Convolutions are faster without XLA: 1,225 passes of resnet20 in a second of
        # processor time against 915, on AVX-512.
        with compilation.fused():
            logits, scores = posterior.scored(images, seed, offset)
            own = {name: score[None] for name, score in scores.items()}
            return {**summary(logits), **own}

    compiled = predict
    if not posterior.runs_elsewhere:
        compiled = compilation.program(predict, owner=posterior, autograph=True)

    def step(images, seed, offset):
        numbers = np.uint32(seed & 0xFFFFFFFF), np.int32(offset)
        # Tensors, for TensorFlow would compile anew for each number.
        args = [ops.convert_to_tensor(x) for x in (images, *numbers)]
        with gradients.untracked():
            return compiled(*args)

    return step


def _by_line(summary, height):
    """Returns a summary of maps that takes line by line, in the memory of few lines.

    What it computes beside the samples is several times as large as these.
    """

    def summary_of_maps(logits):
        lines = ops.arange(height, dtype="int32")
        found = ops.map(lambda line: summary(ops.take(logits, line, axis=2)), lines)
        return {name: ops.moveaxis(x, 0, 2) for name, x in found.items()}

    return summary_of_maps


def _summary(sizes, unknown=()):
    """Returns a function from sampled logits to what is kept of them.

    Args:
        sizes: Numbers of samples.
        unknown: Names of what samples do not tell, which is zero.
    """
    last = np.asarray(sizes, "int32") - 1
    counts = np.asarray(sizes, "float32")

    def means(values):
        sums = ops.take(ops.cumsum(values, axis=0), last, axis=0)
        return sums / counts.reshape(-1, *[1] * (len(values.shape) - 1))

    def entropy(probs):
        logs = ops.log(ops.where(probs > 0, probs, 1.0))  # 0 log 0 is 0.
        return -ops.sum(probs * logs, axis=-1)

    def summary(logits):
        samples = ops.softmax(logits, axis=-1)
        probs = means(samples)
        information = entropy(probs) - means(entropy(samples))
        found = {
            "probs": probs,
            # Not negative, but the difference of float32 numbers may be.
            "mutual_information": ops.relu(information),
            "energy": -means(ops.logsumexp(logits, axis=-1)),
            "max_logit": means(ops.max(logits, axis=-1)),
        }
        return found | {name: ops.zeros_like(found[name]) for name in unknown}

    return summary


def _summary_of_gaussians(sizes, unknown=()):
    """Returns a function from samples of Gaussians to what is kept of them.

    In place of probabilities these are mean and standard deviation of the mixtures. The
    mutual information is that of Gaussians of the same variances; there are no logits.
    """

    def summary(samples):
        found = ops.stack([predictive.gaussian(samples[:n]) for n in sizes])
        noise = ops.stack([predictive.aleatoric_scale(samples[:n]) for n in sizes])
        information = ops.log(found[..., 1] / noise)
        none = ops.zeros_like(information)
        return {
            "probs": found,
            "mutual_information": ops.relu(information),
            "energy": none,
            "max_logit": none,
        }

    return summary


# Of sampled predictions, by task.
_SUMMARIES = {
    "classification": _summary,
    "segmentation": _summary,
    "regression": _summary_of_gaussians,
}
