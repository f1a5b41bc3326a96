"""Evaluation: a posterior, a data set and metrics give rows."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
from keras import ops

from training.metrics import CLASSIFICATION
from training.track import track
from zoo.posterior import MonteCarlo, Posterior


def evaluate(
    model: keras.Model | Posterior,
    dataset,
    num_samples: Sequence[int] = (1, 2, 5, 10, 30, 50),
    metrics: Mapping[str, Callable] = CLASSIFICATION,
    seed: int = 0,
    batch_size: int = 100,
    progress: bool = True,
) -> list[dict]:
    """Evaluates the mean prediction of the first `n` samples, for several `n`.

    The data are read once, and each image is passed as often as the largest `n` asks:
    smaller ensembles are the beginnings of the largest. Sample `s` of image `i` is a
    function of the seed, `s` and `i`, so neither the batch size nor the other sizes
    change a result. A model that draws nothing runs once per image, and its values are
    repeated for each `n`.

    Args:
        model: From images to logits; or a posterior, which limits `n` to its samples.
        dataset: With `images`, `labels`, `classes` and `name`; see
            `training.data.ImageData`. Batches are slices of `images`.
        num_samples: The ensemble sizes `n`.
        metrics: Functions of `(probs, labels)` by name.
        seed: Of the samples.
        batch_size: Images per step, which are passed one sample after the other.
        progress: Whether to show it, on a terminal or in the log.

    Returns:
        One row per ensemble size and metric, a dict of `model` and `dataset` (names),
        `num_samples`, `metric`, `value`, `num_examples`, `seed` and `seconds`. These
        are the time of the whole pass, with all its samples.

    Raises:
        ValueError: If data set and model do not fit together, or sizes are not
            positive or too large.
    """
    sizes = _check_sizes(num_samples)
    posterior = _as_posterior(model, sizes)
    _check_dataset(posterior, dataset)
    begin = time.monotonic()
    text = f"{posterior.name} on {dataset.name}"
    show = track(text, len(dataset.labels)) if progress else _silence()
    with show as advance:
        probs = predict(posterior, dataset.images, sizes, seed, batch_size, advance)
    common = {"model": posterior.name, "dataset": dataset.name}
    numbers = {
        "num_examples": len(dataset.labels),
        "seed": seed,
        "seconds": round(time.monotonic() - begin, 3),
    }
    return [
        {**common, "num_samples": size, "metric": name, "value": value, **numbers}
        for size, of_size in zip(sizes, probs, strict=True)
        for name, metric in metrics.items()
        for value in [metric(of_size, np.asarray(dataset.labels))]
    ]


def predict(
    posterior: Posterior,
    images,
    num_samples: Sequence[int],
    seed: int = 0,
    batch_size: int = 100,
    advance: Callable[[int], None] = lambda count: None,
) -> np.ndarray:
    """Returns the mean probabilities of the first `n` samples, for several `n`.

    Args:
        posterior: From images to sampled logits.
        images: Array of shape `(examples, height, width, channels)`, or an object that
            gives such arrays when it is sliced.
        num_samples: The ensemble sizes `n`.
        seed: Of the samples.
        batch_size: Images per step.
        advance: Called with the number of images of each step that is done.

    Returns:
        float32 array of shape `(len(num_samples), examples, num_classes)`.
    """
    count = len(images)
    batch_size = min(batch_size, count)
    # Means of equal samples would differ in their last digits.
    once = isinstance(posterior, MonteCarlo) and posterior.repeats_itself
    step = _compile(posterior, (1,) if once else num_samples)
    shape = (len(num_samples), count, posterior.num_classes)
    probs = np.empty(shape, "float32")
    for start in range(0, count, batch_size):
        batch = np.asarray(images[start : start + batch_size])
        real = len(batch)
        # A last batch of another size would have to be compiled for itself.
        padding = [(0, batch_size - real)] + [(0, 0)] * (batch.ndim - 1)
        means = step(np.pad(batch, padding), seed, start)
        probs[:, start : start + real] = means[:, :real]
        advance(real)
    return probs


def _compile(posterior, sizes):
    """Returns a function of `(images, seed, offset)`, compiled once."""
    last = np.asarray(sizes, "int32") - 1
    counts = np.asarray(sizes, "float32")[:, None, None]

    def means(samples):
        sums = ops.cumsum(ops.softmax(samples, axis=-1), axis=0)
        return ops.take(sums, last, axis=0) / counts

    if keras.backend.backend() == "jax":
        import jax

        def stateless(trainable, non_trainable, images, seed, offset):
            samples, _ = posterior.stateless_call(
                trainable, non_trainable, images, seed=seed, offset=offset
            )
            return means(samples)

        trainable = [v.value for v in posterior.trainable_variables]
        non_trainable = [v.value for v in posterior.non_trainable_variables]
        jitted = jax.jit(stateless)

        def compiled(*args):
            return jitted(trainable, non_trainable, *args)
    else:
        import tensorflow as tf

        @tf.function
        def compiled(images, seed, offset):
            return means(posterior(images, seed=seed, offset=offset))

    def step(images, seed, offset):
        numbers = np.uint32(seed & 0xFFFFFFFF), np.int32(offset)
        # Tensors, for TensorFlow would compile anew for each number.
        args = [ops.convert_to_tensor(x) for x in (images, *numbers)]
        return ops.convert_to_numpy(compiled(*args))

    return step


def _check_sizes(num_samples):
    sizes = tuple(num_samples)
    if not sizes or not all(isinstance(n, (int, np.integer)) and n > 0 for n in sizes):
        raise ValueError(
            "`num_samples` must be one or more positive integers, for example (1, 5). "
            f"Received: num_samples={sizes}"
        )
    return tuple(sorted({int(n) for n in sizes}))


def _as_posterior(model, sizes):
    if not isinstance(model, Posterior):
        name = getattr(model, "name", None)
        return MonteCarlo(model, sizes[-1], seed=0, name=name)
    if sizes[-1] > model.num_samples:
        raise ValueError(
            f"The posterior '{model.name}' draws {model.num_samples} samples, so no "
            f"larger ensemble can be evaluated. Received: num_samples={sizes}"
        )
    return model


def _check_dataset(posterior, dataset):
    shape, count = dataset.images.shape[1:], len(dataset.images)
    expected = posterior.image_shape
    fits = len(shape) == len(expected) and all(
        theirs in (None, ours) for ours, theirs in zip(shape, expected, strict=True)
    )
    if not fits:
        raise ValueError(
            f"Model '{posterior.name}' takes images of shape {expected}. Received: "
            f"dataset={dataset.name} with images of shape {tuple(shape)}"
        )
    if len(dataset.classes) != posterior.num_classes:
        raise ValueError(
            f"Model '{posterior.name}' knows {posterior.num_classes} classes. "
            f"Received: dataset={dataset.name} with {len(dataset.classes)}"
        )
    if not count or count != len(dataset.labels):
        raise ValueError(
            f"Data set '{dataset.name}' needs as many labels as images and at least "
            f"one. Received: {count} images, {len(dataset.labels)} labels"
        )


@contextlib.contextmanager
def _silence():
    yield lambda count: None
