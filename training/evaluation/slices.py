"""Slices of data sets, which the workers of a pool pass through models.

What a slice is predicted to be depends on nothing but the model, its settings, the
images and their numbers: a slice is of whole batches, and random draws are numbered by
the image. So predictions are the same however many workers there are.
"""

import collections
import dataclasses
import functools
import pathlib
from collections.abc import Iterator

import numpy as np

from training.evaluation import predictions
from training.evaluation.sampling import Passes
from training.parallel.pool import WorkerDiedError
from training.parallel.workers import Workers

# What a slice has at most: passes of images, a second or so for a small model; and
# bytes of images, which travel to the worker.
_PASSES, _BYTES = 500, 2**24
_OF_A_GRADIENT = 3  # Passes that take the time of one.
_AHEAD = 4  # Slices for each worker that wait, are passed, or wait to be written.


@dataclasses.dataclass(eq=False)
class Job:
    """A data set that is passed through a model.

    Attributes:
        passes: The model and its settings.
        dataset: With `images`, `labels`, `classes` and `name`.
        folder: Folder of their predictions.
        model: Fingerprint of the model.
        labeled: Whether the labels mean something to the model.
        owner: Whose predictions these are.
        loaded: The data set before its labels were matched with the classes of the
            model, which identifies the data for all models.
    """

    passes: Passes
    dataset: object
    folder: pathlib.Path
    model: str
    labeled: bool = True
    owner: object = None
    loaded: object = None

    @property
    def per_image(self) -> int:
        """The work for each image, in passes."""
        attack = getattr(self.dataset.images, "attack", None)
        gradients = attack.num_gradients if attack else 0
        return self.passes.per_image + _OF_A_GRADIENT * gradients

    @functools.cached_property
    def meta(self) -> dict:
        """What its predictions say of it; see `training.evaluation.predictions`."""
        given = self.passes, self.dataset, self.model, self.loaded
        return predictions.describe(*given)

    def slices(self, start: int) -> Iterator[tuple[int, int]]:
        """Yields where slices begin and end, of whole batches each."""
        images, size = self.dataset.images, self.passes.batch_size
        by_passes = _PASSES // (size * self.per_image)
        by_bytes = _BYTES // (size * int(np.prod(images.shape[1:])))
        step = size * max(1, min(by_passes, by_bytes))
        for first in range(start, len(images), step):
            yield first, min(first + step, len(images))


class Ahead:
    """Jobs in their order, of which workers do the next ones while one is used.

    Args:
        jobs: Makes them one by one, which may take time: data sets are loaded.
        workers: Those that may help this process.
        progress: Of all that there is to do.
    """

    def __init__(self, jobs: Iterator[Job], workers: Workers, progress):
        self._jobs, self._workers, self._progress = jobs, workers, progress
        self._known = collections.deque()  # Jobs that were made before they are used.
        self._queue = collections.deque()  # Jobs and the slices that are yet to submit.
        self._futures = {}

    def __iter__(self) -> Iterator[Job]:
        while job := self._known.popleft() if self._known else next(self._jobs, None):
            yield job
            self._forget(job)

    def batches(self, job: Job, start: int):
        """Yields what `Passes.batches` does, of the job that is used now."""
        passes, images = job.passes, job.dataset.images
        if self._workers.pool(self._progress) is None:
            for first, values in passes.batches(images, start):
                yield first, values
                start = first + values["probs"].shape[1]
                if start % passes.batch_size == 0 and self._workers.pool(
                    self._progress
                ):
                    break
        if start < len(images):
            yield from self._pooled(job, start)

    def _pooled(self, job, start):
        if all(job is not other for other, _ in self._queue):
            keys = [key for key in self._futures if key[0] is job]
            begin = max((stop for _, _, stop in keys), default=start)
            self._queue.appendleft((job, job.slices(begin)))
        for first, stop in job.slices(start):
            self._submit_more()
            key = job, first, stop
            future = self._futures.pop(key, None) or self._submit(*key)
            try:
                yield first, future.result()
            except WorkerDiedError as error:
                raise self._explained(job, first, stop, error) from error

    def _submit_more(self):
        """Keeps the workers busy, with slices of the next jobs too."""
        while len(self._futures) < _AHEAD * self._workers.started.num_workers:
            if not self._queue:
                job = next(self._jobs, None)
                if job is None:
                    return
                self._known.append(job)
                start = predictions.count_done(job.folder, job.meta)
                self._queue.append((job, job.slices(start)))
            job, slices = self._queue[0]
            if (found := next(slices, None)) is None:
                self._queue.popleft()
            else:
                key = job, *found
                self._futures.setdefault(key, None)
                self._futures[key] = self._futures[key] or self._submit(*key)

    def _submit(self, job, first, stop):
        return self._call(predict, job, first, stop)

    def _call(self, function, job, first, stop, **settings):
        pool = self._workers.started
        passes = pool.share(job.passes)
        images = job.dataset.images
        if isinstance(images, np.ndarray):
            before, behind = job.passes.posterior.context
            start, end = max(first - before, 0), min(stop + behind, len(images))
            images = Part(np.array(images[start:end]), start, len(images))
        else:
            images = pool.share(images)
        return pool.submit(function, passes, images, first, stop, **settings)

    def _forget(self, job):
        """Forgets what was computed for nothing, and images that are not used again."""
        for key in [key for key in self._futures if key[0] is job]:
            self._futures.pop(key).cancel()
        self._queue = collections.deque(x for x in self._queue if x[0] is not job)
        others = [other.dataset.images for other in self._known]
        images = job.dataset.images
        pool = self._workers.started
        if pool is not None and all(images is not other for other in others):
            pool.forget(images)

    def _explained(self, job, first, stop, error):
        """Returns an error that names the image that ends workers, if one does."""
        for future in self._futures.values():
            future.cancel()
        what = f"of '{job.dataset.name}' through '{job.passes.name}'"
        for number in range(first, stop):
            call = self._call(probe, job, number, number + 1, attempts=1)
            try:
                call.result()
            except WorkerDiedError as alone:
                paths = getattr(job.dataset.images, "paths", None)
                where = f" ('{paths[number]}')" if paths is not None else ""
                return WorkerDiedError(
                    f"Image number {number}{where} {what} ends the process that passes "
                    f"it: {alone}."
                )
        return WorkerDiedError(
            f"Workers end that pass the images from {first} to {stop - 1} {what}, and "
            f"none of these images alone does it; is the memory too small for so many "
            f"workers or such batches? {error}."
        )


@dataclasses.dataclass
class Part:
    """Some images of an array, by their numbers in all of it.

    Args:
        images: Array of shape `(count, height, width, channels)`.
        first: The number of the first one.
        total: How many the whole array has.
    """

    images: np.ndarray
    first: int
    total: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole array."""
        return (self.total, *self.images.shape[1:])

    def __len__(self):
        return self.total

    def __getitem__(self, index: slice):
        return self.images[index.start - self.first : index.stop - self.first]


def predict(passes: Passes, images, first: int, stop: int) -> dict[str, np.ndarray]:
    """Returns what a model predicts for some images, as `Passes.batches` yields it."""
    parts = [values for _, values in passes.batches(images, first, stop)]
    return {k: np.concatenate([part[k] for part in parts], axis=1) for k in parts[0]}


def probe(passes: Passes, images, first: int, stop: int) -> None:
    """Passes some images one by one, to see whether they can be passed."""
    alone = Passes(
        passes.posterior,
        passes.sizes,
        passes.seed,
        batch_size=1,
        precision=passes.precision,
    )
    for number in range(first, stop):
        for _ in alone.batches(images, number, number + 1):
            pass
