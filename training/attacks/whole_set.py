"""What a compiled function computes of all images of a data set."""

from collections.abc import Callable

import numpy as np
from keras import ops

from training.progress import track


def compute(program: Callable, data, batch_size: int, title: str) -> list[np.ndarray]:
    """Returns the values of a function for each image of a data set.

    All batches have one size, so that the function is compiled once: the last one is
    filled up with the first images.

    Args:
        program: From images, of shape `(batch, height, width, channels)`, their labels,
            and the number of the first of them, a scalar int32 tensor, to several
            tensors of shape `(batch, ...)`.
        data: A `training.data.ImageData`.
        batch_size: The largest batch.
        title: What is shown of it while it goes on.

    Returns:
        An array for each tensor, of shape `(images, ...)`.

    Raises:
        FloatingPointError: If a value is not finite.
    """
    size, parts = min(batch_size, len(data)), []
    with track(title, len(data)) as progress:
        for start in range(0, len(data), size):
            index = np.arange(start, start + size) % len(data)
            batch = data.images[index], data.labels[index], np.int32(start)
            values = program(*map(ops.convert_to_tensor, batch))
            parts.append([ops.convert_to_numpy(value) for value in values])
            progress(min(size, len(data) - start))
    found = [np.concatenate(part)[: len(data)] for part in zip(*parts, strict=True)]
    odd = [np.flatnonzero(~np.isfinite(values)) for values in found]
    if count := max(map(len, odd)):
        raise FloatingPointError(
            f"{title}: what is computed of {count} of the {len(data)} images of "
            f"'{data.name}' is not finite."
        )
    return found
