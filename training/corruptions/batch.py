"""The corruption of a whole array of images, on all cores."""

import concurrent.futures
import contextlib
import os
from collections.abc import Sequence

import cv2
import numpy as np

from training import processor
from training.corruptions import worker
from training.corruptions.common import nearest_side
from training.corruptions.part import corrupt_part
from training.corruptions.single import check_images, check_natural
from training.corruptions.table import check

# Other processes pay from about that many pixels on; they start once, in half a second.
_MANY = 2**21


def corrupt_all(
    images: np.ndarray,
    name: str,
    severity: int,
    seed: int = 0,
    workers: int = 0,
    first: int | Sequence[int] = 0,
) -> np.ndarray:
    """Corrupts all images of an array.

    `corrupt_all(images, ...)[i]` has the same pixels as `corrupt(images[i], ...,
    index=first + i)`, however many workers there are.

    Args:
        images: uint8 array of shape `(images, height, width, channels)`, possibly
            mapped from a file.
        name: One of `CORRUPTIONS`.
        severity: From 1 to 5.
        seed: Seed of the random numbers.
        workers: How many cores to use; 0 for all that this process may use. Many
            images are shared among processes, which stay for the next call, a few
            large ones among threads.
        first: The number of the first image in its data set; or the numbers of all
            images, where they do not follow each other.

    Returns:
        uint8 array of the same shape.

    Raises:
        ValueError: If the name, the severity, or the kind of images is not known, or
            `seed`, `workers` or `first` is not a natural number.

    Example:

    >>> images = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 1), "uint8")
    >>> some = corrupt_all(images[[5, 2]], "fog", 3, first=[5, 2])
    >>> bool((some == corrupt_all(images, "fog", 3)[[5, 2]]).all())
    True
    """
    check(name, severity)
    check_images(images, 4)
    check_natural(seed=seed, workers=workers)
    numbers = _numbers(first, len(images))
    corrupted = np.empty(images.shape, np.uint8)
    workers = min(workers or processor.num_cores(), len(images))
    job = {
        "name": name,
        "severity": int(severity),
        "seed": int(seed),
        "numbers": numbers,
    }
    few = images.size // images.shape[-1] < _MANY
    small = images[:1].size <= worker.MEMORY and hasattr(os, "memfd_create")
    with _single_threaded_opencv():
        if workers > 1 and small and not few:
            _by_processes(images, corrupted, workers, job)
        elif workers > 1 and nearest_side(images[0]) == 224:
            _by_threads(images, corrupted, workers, job)
        else:  # Small images spend their time in Python, which threads do not share.
            corrupt_part(images, corrupted, 0, len(images), **job)
    return corrupted


def _numbers(first, count):
    if np.ndim(first) == 0:
        check_natural(first=first)
        return range(int(first), int(first) + count)
    numbers = np.asarray(first)
    if (
        numbers.shape != (count,)
        or numbers.dtype.kind not in "iu"
        or (numbers < 0).any()
    ):
        raise ValueError(
            "`first` must be the number of the first image or a list of natural "
            f"numbers, one for each of {count} images. Received: first={first}"
        )
    return numbers.tolist()


@contextlib.contextmanager
def _single_threaded_opencv():
    """Keeps OpenCV from using the cores that the other workers use."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _by_threads(images, corrupted, workers, job):
    def run(part):
        corrupt_part(images, corrupted, *part, **job)

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        list(pool.map(run, _parts(len(images), len(images) // workers)))


def _by_processes(images, corrupted, workers, job):
    """Gives parts to other processes until none is left."""
    most = min(worker.MEMORY // images[0].size, worker.MOST)
    parts = _parts(len(images), min(most, max(1, len(images) // (8 * workers))))

    def feed(helper):
        for part in parts:  # All take from one iterator.
            helper.corrupt(images, corrupted, *part, **job)

    with worker.LOCK, concurrent.futures.ThreadPoolExecutor(workers) as pool:
        try:
            list(pool.map(feed, worker.start(workers)))
        finally:
            list(parts)  # After an error, nothing is left for the others.


def _parts(count, size):
    starts = range(0, count, size)
    return iter([(start, min(start + size, count)) for start in starts])
