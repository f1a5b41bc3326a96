"""The corruption of a whole array of images, on all cores."""

import concurrent.futures
import contextlib
import os
import pathlib
import tempfile

import cv2
import numpy as np

from training.corruptions import worker
from training.corruptions.common import nearest_side
from training.corruptions.single import check_images, generator
from training.corruptions.table import CORRUPTIONS, POINTWISE, check

# Small images spend their time in Python, which threads do not share. Processes pay
# from about that many images on; they start once and take a second.
_MANY = 2000
# Pixels that a corruption which treats every pixel alone takes at once.
_STACK = 2**16


def corrupt_all(
    images: np.ndarray,
    name: str,
    severity: int,
    seed: int = 0,
    workers: int = 0,
    first: int = 0,
) -> np.ndarray:
    """Corrupts all images of an array.

    `corrupt_all(images, ...)[i]` has the same pixels as `corrupt(images[i], ...,
    index=first + i)`, however many workers there are.

    Args:
        images: uint8 array of shape `(images, height, width, channels)`, possibly
            mapped from a file.
        name: One of `CORRUPTIONS`.
        severity: From 1 to 5.
        seed: Of the random numbers.
        workers: How many cores to use; 0 for all that this process may use. Large
            images are shared among threads, many small ones among processes, which
            stay for the next call.
        first: The number of the first image in its data set.

    Returns:
        uint8 array of the same shape.

    Raises:
        ValueError: If the name, the severity, or the kind of images is not known, or
            `workers` is negative.
    """
    check(name, severity)
    check_images(images, 4)
    if workers < 0:
        raise ValueError(
            "`workers` must be a number of cores, or 0 for all of them. "
            f"Received: workers={workers}"
        )
    workers = workers or len(os.sched_getaffinity(0))
    job = name, severity, seed, first
    with _single_threaded_opencv():
        if workers == 1 or len(images) < 2 * workers:
            return corrupt_part(images, 0, len(images), *job)
        bounds = np.linspace(0, len(images), workers + 1).astype(int)
        parts = list(zip(bounds[:-1], bounds[1:], strict=True))
        if nearest_side(images[0]) == 32 and len(images) >= _MANY:
            return _by_processes(images, parts, job)
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            running = [pool.submit(corrupt_part, images, *part, *job) for part in parts]
            return np.concatenate([part.result() for part in running])


@contextlib.contextmanager
def _single_threaded_opencv():
    """Keeps OpenCV from using the cores that the other workers use."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def corrupt_part(
    images: np.ndarray,
    start: int,
    stop: int,
    name: str,
    severity: int,
    seed: int,
    first: int,
) -> np.ndarray:
    """Corrupts `images[start:stop]` on one core; see `corrupt_all`."""
    corruption = CORRUPTIONS[name]
    corrupted = np.empty((stop - start, *images.shape[1:]), np.uint8)
    height, width = images.shape[1:3]
    if name in POINTWISE and width <= height:
        # Small images on top of one another are one image of the same width.
        many = max(1, _STACK // (height * width))
        for top in range(start, stop, many):
            stack = np.ascontiguousarray(images[top : min(top + many, stop)])
            tall = corruption(stack.reshape(-1, *images.shape[2:]), severity)
            corrupted[top - start :][: len(stack)] = tall.reshape(stack.shape)
        return corrupted
    for index in range(start, stop):
        rng = generator(seed, first + index, name, severity)
        image = np.ascontiguousarray(images[index])
        corrupted[index - start] = corruption(image, severity, rng)
    return corrupted


def _by_processes(images, parts, job):
    """Gives all parts but the first to other processes, through files."""
    helpers = worker.start(len(parts) - 1)
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "images.npy"
        np.save(source, images)
        results = [source.with_name(f"{start}.npy") for start, _ in parts[1:]]
        for helper, part, result in zip(helpers, parts[1:], results, strict=True):
            helper.send(source, result, *map(int, part), *job)
        own = corrupt_part(images, *parts[0], *job)
        for helper in helpers:
            helper.wait()
        return np.concatenate([own, *(np.load(result) for result in results)])
