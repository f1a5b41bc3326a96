"""Checks of predictions, and their passage in chunks through little memory.

Every pixel with a prediction of its own is an example: axes between those of the images
and of the classes are folded into the first one. Pixels without a label, those of
`zoo.arrays.UNLABELED`, are none.
"""

import math
import mmap
from collections.abc import Iterator

import numpy as np

from zoo import arrays, outputs

# Probabilities that are held at once, in float64, as the array may be a file.
_CHUNK = 2**17
# Probabilities of a file that is mapped after which their memory is given back.
_MAPPED = 2**24


def chunks(probs, labels) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields checked probabilities in float64 and their labels, part by part.

    Those of pixels without a label are left out.

    Args:
        probs: Array of shape `(examples, ..., num_classes)`; it may be a memory map.
        labels: Integer array of shape `(examples, ...)`.

    Raises:
        ValueError: If shapes or types do not fit, there are no examples, labels are no
            classes, or rows are no probabilities.
    """
    labels = check_labels(probs, labels)
    for start, part in rows(probs):
        own = labels[start : start + len(part)].astype("int64")
        known = own != arrays.UNLABELED
        if known.all():
            yield part, own
        elif known.any():
            yield part[known], own[known]


def rows(probs) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the first index and the checked probabilities in float64 of each part."""
    count, num_classes = check_shape(probs)
    probs = np.reshape(probs, (count, num_classes))  # A view, also of a memory map.
    step = max(1, _CHUNK // num_classes)
    mapped, read = _mapping(probs), 0
    for start in range(0, count, step):
        part = np.asarray(probs[start : start + step]).astype("float64")
        read += part.size
        if mapped is not None and (read >= _MAPPED or start + step >= count):
            # What was read of a file counts as memory of the process until then.
            mapped.madvise(mmap.MADV_DONTNEED)
            read = 0
        outputs.check_probs(part, f" (from example {start} on)" if start else "")
        yield start, part


def _mapping(array) -> mmap.mmap | None:
    """Returns what maps the file of an array, if it is one that is only read."""
    is_read = False
    while array is not None and not isinstance(array, mmap.mmap):
        is_read = getattr(array, "mode", None) == "r"
        array = getattr(array, "base", None)
    return array if is_read and hasattr(mmap, "MADV_DONTNEED") else None


def check_labels(probs, labels) -> np.ndarray:
    """Returns the labels of all examples, or raises a ValueError if they do not fit.

    Those of pixels without one are among them.
    """
    check_shape(probs)
    return outputs.check_labels(labels, np.shape(probs))


def check_scores(values, name: str = "scores", count: int | None = None) -> np.ndarray:
    """Returns one number for each example, in float64 or, if they are, in float32.

    Args:
        values: Array of shape `(examples,)`.
        name: What an error calls it.
        count: How many examples there are, if that is known.

    Raises:
        ValueError: If these are no such numbers, or NaN.
    """
    outputs.check_numbers(values, f"`{name}`")
    values = np.asarray(values)
    if values.ndim != 1 or not values.size:
        raise ValueError(
            f"`{name}` must be one number for each of one or more images. Received: "
            f"{name}.shape={values.shape}"
        )
    if bad := np.count_nonzero(np.isnan(values)):
        raise ValueError(
            f"`{name}` must not be NaN. Received: NaN in {bad} of {len(values)} images"
        )
    if count not in (None, len(values)):
        raise ValueError(
            f"`{name}` must have one number for each of the {count} rows of `probs`. "
            f"Received: {name}.shape={values.shape}"
        )
    return values if values.dtype == "float32" else values.astype("float64")


def check_positive(**numbers: int):
    """Raises a ValueError for a number of bins and such that is not positive."""
    for name, number in numbers.items():
        whole = isinstance(number, (int, np.integer)) and not isinstance(number, bool)
        if not whole or number < 1:
            raise ValueError(
                f"`{name}` must be a positive integer. Received: {name}={number}"
            )


def check_shape(probs) -> tuple[int, int]:
    """Returns the numbers of examples and classes of probabilities.

    Raises:
        ValueError: If their shape is another.
    """
    shape = outputs.check_numbers(probs, "`probs`")
    if len(shape) not in (2, 4):
        raise ValueError(
            "`probs` must have the shape (examples, num_classes), or (examples, "
            f"height, width, num_classes). Received: probs.shape={shape}"
        )
    if 0 in shape[:-1] or shape[-1] < 2:
        raise ValueError(
            "`probs` must have one example and two classes at least. Received: "
            f"probs.shape={shape}"
        )
    return math.prod(shape[:-1]), shape[-1]
