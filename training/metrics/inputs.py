"""Checks of predictions, and their passage in chunks through little memory."""

from collections.abc import Iterator

import numpy as np

from zoo import arrays

# Probabilities that are held at once, in float64, as the array may be a file.
_CHUNK = 2**17


def chunks(probs, labels) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields checked probabilities in float64 and their labels, part by part.

    Args:
        probs: Array of shape `(examples, num_classes)`; it may be a memory map.
        labels: Integer array of shape `(examples,)`.

    Raises:
        ValueError: If shapes or types do not fit, there are no examples, labels are no
            classes, or rows are no probabilities.
    """
    labels = check_labels(probs, labels)
    for start, part in rows(probs):
        yield part, labels[start : start + len(part)].astype("int64")


def rows(probs) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the first index and the checked probabilities in float64 of each part."""
    _check_shape(probs)
    step = max(1, _CHUNK // np.shape(probs)[1])
    for start in range(0, len(probs), step):
        part = np.asarray(probs[start : start + step]).astype("float64")
        _check_probs(part, start)
        yield start, part


def check_labels(probs, labels) -> np.ndarray:
    """Returns labels that fit to probabilities, or raises a ValueError."""
    labels, shape = np.asarray(labels), np.shape(probs)
    if len(shape) != 2 or labels.shape != shape[:1]:
        raise ValueError(
            "`probs` must have the shape (examples, num_classes) and `labels` the "
            f"shape (examples,). Received: probs.shape={shape}, "
            f"labels.shape={labels.shape}"
        )
    _check_shape(probs)
    return arrays.check_labels(labels, shape[1])


def check_positive(**numbers: int):
    """Raises a ValueError for a number of bins and such that is not positive."""
    for name, number in numbers.items():
        if isinstance(number, bool) or number != int(number) or number < 1:
            raise ValueError(
                f"`{name}` must be a positive integer. Received: {name}={number}"
            )


def _check_shape(probs):
    shape = np.shape(probs)
    if len(shape) != 2:
        raise ValueError(
            "`probs` must have the shape (examples, num_classes). Received: "
            f"probs.shape={shape}"
        )
    if 0 in shape:
        raise ValueError(f"There are no examples. Received: probs.shape={shape}")
    if shape[1] < 2:
        raise ValueError(
            "`probs` must be of two classes at least; of two, there is a column for "
            f"each. Received: probs.shape={shape}"
        )


def _check_probs(part, start):
    place = f" (from example {start} on)" if start else ""
    if bad := np.count_nonzero(~np.isfinite(part).all(axis=1)):
        raise ValueError(
            f"`probs` must be finite. Received: NaN or infinity in {bad} of "
            f"{len(part)} examples{place}"
        )
    sums = part.sum(axis=1)
    if part.min() < 0 or np.abs(sums - 1).max() > 1e-3:
        raise ValueError(
            "`probs` must be probabilities, which are not negative and sum to one; "
            "apply a softmax to logits. Received: values from "
            f"{part.min():.4g} to {part.max():.4g}, sums from {sums.min():.4g} to "
            f"{sums.max():.4g}{place}"
        )
