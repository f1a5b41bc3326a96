"""The loop over passes, a few at a time, and when it may stop."""

from collections.abc import Callable

import numpy as np
from keras import ops

from layers import compilation

MOST_AT_ONCE = 10  # As many chunks TensorFlow computes together by default.


def is_number(value) -> bool:
    """Returns whether a size is known, and no tensor."""
    return isinstance(value, (int, np.integer))


def chunk_size(count, limit, batch, step: int | None = None):
    """Returns how many passes run as one batch.

    The last chunk may go beyond the count, so the chunks should fill it.
    A chunk is taken to cost as much time by itself as two more images.

    Args:
        count: The number of passes, an integer or a scalar tensor.
        limit: The largest chunk, an integer or a scalar tensor.
        batch: The number of images, an integer or a scalar tensor.
        step: What chunks must divide, if anything.
    """
    if step is not None:
        sizes = [size for size in range(1, step + 1) if step % size == 0]
        if is_number(limit):
            return max(size for size in sizes if size <= max(limit, 1))
        return ops.where(limit >= step, step, 1)
    if not (is_number(count) and is_number(limit)):
        return ops.cast(ops.maximum(ops.minimum(limit, count), 1), "int32")
    sizes = range(1, max(min(count, limit), 1) + 1)
    return min(sizes, key=lambda size: -(-count // size) * (size * batch + 2))


def symbolic_chunk_size(count: int, rows: int, batch):
    """Returns `chunk_size` as a formula of the batch, for the exports of JAX.

    Where the batch is known later, so is this size: the passes of an export are put
    together, and their logits rounded, as those of a call.

    Args:
        count: The number of passes.
        rows: How many rows of the batch may be in memory; the limit is `rows // batch`.
        batch: A symbolic dimension of JAX.
    """

    def size(batch):
        return chunk_size(count, max(rows // batch, 1), batch)

    # Beyond the memory it is 1, and before that it changes a few times.
    sizes = [size(number) for number in range(1, rows + 2)]
    result = sizes[-1]
    for number in range(1, len(sizes)):
        if sizes[number] != sizes[number - 1]:
            # 1 for batches of at most this number, 0 for larger ones.
            is_smaller = (number // batch + number) // (number + 1)
            result += (sizes[number - 1] - sizes[number]) * is_smaller
    return result


def run_all(
    run: Callable,
    shape: tuple,
    chunk,
    tolerance: float | None = None,
    step: int = 1,
    at_once: int = MOST_AT_ONCE,
):
    """Runs passes, all of them or until their mean is known well enough.

    Args:
        run: From the numbers of some passes, a tensor of shape `(chunk,)`, to their
            logits, of shape `(chunk, batch, num_classes)`.
        shape: Shape of the logits of all, `(num_samples, batch, ..., num_classes)`.
        chunk: The number of passes at a time.
        tolerance: The standard error of a mean probability at which to stop.
        step: How many passes lie between two looks at it, a multiple of the chunk.
        at_once: How many chunks TensorFlow may have in memory together.

    Returns:
        The logits, of that shape, and how many of them were drawn, from the first on.
    """
    count = shape[0]
    numbers = ops.arange(count, dtype="int32")
    sizes_are_known = is_number(chunk) and is_number(count)
    if tolerance is None and sizes_are_known and chunk == count:
        return run(numbers), count

    def body(start, samples):
        logits = run(start + ops.arange(chunk, dtype="int32"))
        # LiteRT knows neither lists of tensors nor updates of slices.
        place = numbers - start  # Those beyond the count are left out.
        here = ops.logical_and(place >= 0, place < chunk)
        moved = ops.take(logits, ops.clip(place, 0, chunk - 1), axis=0)
        return start + chunk, ops.where(_by_sample(here, samples), moved, samples)

    def goes_on(start, samples):
        if tolerance is None:
            return start < count
        error = _standard_error(samples, numbers < start, ops.cast(start, "float32"))
        unknown = ops.logical_or(start % step != 0, error > tolerance)
        return ops.logical_and(start < count, ops.logical_or(start == 0, unknown))

    start = ops.zeros((), "int32"), ops.zeros(shape, "float32")
    end, samples = compilation.while_loop(goes_on, body, start, at_once)
    return samples, ops.minimum(end, count)


def _by_sample(values, samples):
    """Returns one value for each sample with axes that broadcast with theirs."""
    return values[(slice(None), *[None] * (len(samples.shape) - 1))]


def _standard_error(samples, drawn, count):
    """Returns the largest standard error of a mean probability."""
    weights = _by_sample(ops.cast(drawn, "float32"), samples)
    probs = ops.softmax(samples, axis=-1)
    mean = ops.sum(weights * probs, axis=0) / ops.maximum(count, 1)
    squares = ops.sum(weights * ops.square(probs - mean), axis=0)
    variance = squares / ops.maximum(count - 1, 1)
    return ops.sqrt(ops.max(variance) / ops.maximum(count, 1))
