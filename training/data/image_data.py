"""A labeled set of images, and images that are derived from others when read."""

import contextlib
import contextvars
import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable, Iterator

import numpy as np

from training.data import fingerprint
from zoo import arrays
from zoo.storage import download, files

# Larger sets are derived when they are read and not cached, in bytes.
LARGEST = 2**31
_CHUNK = 4096
STRATIFIED = "stratified"  # What a sample of each class is called in results.
_LEAST = 0.01  # Variance of a channel that is not constant, in squares of a level.
_FEW_CLASSES = 12  # That are listed one by one.


class Numbers(tuple):
    """The classes of a data set of which nothing but the numbers are known.

    A model takes its labels as the numbers of its outputs.

    Args:
        count: How many there are.

    Example:

    >>> Numbers(3)
    ('0', '1', '2')
    """

    __slots__ = ()

    def __new__(cls, count: int):
        return super().__new__(cls, map(str, range(count)))

    def __getnewargs__(self):
        return (len(self),)


@dataclasses.dataclass(frozen=True)
class ImageData:
    """A labeled set of images.

    Attributes:
        name: For example `"fashion_mnist"`.
        images: uint8 array of shape `(images, height, width, channels)`, or an object
            that gives such arrays when it is indexed.
        labels: Integer array of shape `(images,)`, or `(images, height, width)` with
            one for each pixel, -1 where there is none.
        classes: The names of the classes, by label; `Numbers` if they are not known.
        frames: How many consecutive images are frames of one example: image `i` is
            frame `i % frames` of example `i // frames`.
        source: Where the images come from, in words.
        held_out: How many training images are for validation: these ones, or they are
            missing here.
        selection: Which of them were taken by `sample`, in words.
        excluded: How many examples were left out, as models were trained on them.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    frames: int = 1
    source: str = ""
    held_out: int = 0
    selection: str = ""
    excluded: int = 0

    # Types of images and labels in batches.
    input_type = "uint8"
    label_type = "int32"

    def __post_init__(self):
        arrays.check_images(self.images, f"images of data set '{self.name}'")
        if len(self.images) != len(self.labels) or not len(self.labels):
            raise ValueError(
                f"Data set '{self.name}' needs as many labels as images and at least "
                f"one. Received: {len(self.images)} images, {len(self.labels)} labels"
            )
        if np.ndim(self.labels) == 1:
            _check_all_labeled(np.asarray(self.labels), len(self.classes), self.name)
        name = f"labels of data set '{self.name}'"
        labels = arrays.check_labels(self.labels, len(self.classes), name)
        object.__setattr__(self, "labels", labels)  # An array, also of a list.
        if labels.ndim > 1 and labels.max() == arrays.UNLABELED:
            raise ValueError(
                f"Data set '{self.name}' has no pixel with a label. Received: "
                f"{labels.size} labels, all {arrays.UNLABELED}"
            )
        if self.frames < 1 or len(self.labels) % self.frames:
            raise ValueError(
                f"Data set '{self.name}' must have whole sequences of frames. "
                f"Received: frames={self.frames}, {len(self.labels)} images"
            )

    def __len__(self):
        return len(self.labels)

    @property
    def strata(self) -> np.ndarray:
        """A number for each image: samples have of each number its share.

        That of its class; where pixels have labels, images of many classes have one.
        """
        whole = self.labels.ndim == 1
        return self.labels if whole else np.zeros(len(self), "int32")

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return tuple(self.images.shape[1:])

    @property
    def model_settings(self) -> dict[str, object]:
        """What a model for them is built with, as arguments of `zoo.build`."""
        return {"num_classes": len(self.classes), "classes": self.classes}

    def measure_normalization(self, limit: int = 10_000):
        """Returns the mean and variance per channel of images spread over the set.

        A channel that is nearly the same throughout has the variance 1, by which it
        stays near zero and corrupted images do not become infinite.
        """
        count = min(limit, len(self))
        index = np.arange(count) * len(self) // count  # Some are sorted by class.
        parts = np.array_split(index, -(-count // 500))
        images = np.concatenate([self.images[part] for part in parts])
        axes = (0, 1, 2)
        mean, variance = images.mean(axes, "float64"), images.var(axes, "float64")
        variance = np.where(variance > _LEAST, variance, 1.0)
        return tuple(mean.round(2).tolist()), tuple(variance.round(2).tolist())

    def check_trained(self, test: "ImageData"):
        """Checks that a model can be trained on it and tested on another set.

        Raises:
            ValueError: If it has one class alone, or they have others.
        """
        if len(self.classes) < 2:
            raise ValueError(
                f"Data set '{self.name}' has the class {', '.join(self.classes)} "
                "alone, and a classifier tells at least two apart. A folder holds one "
                "folder of images for each class."
            )
        if self.classes != test.classes:
            odd = sorted(set(self.classes) ^ set(test.classes))
            raise ValueError(
                f"Data set '{self.name}' has classes in only one of training and test "
                f"set: {', '.join(odd)}."
            )

    def describe(self) -> str:
        """Returns what there is of it, in a line."""
        height, width = self.input_shape[:2]
        return (
            f"{self.name}: {len(self) // self.frames:,} "
            f"{'images' if self.frames == 1 else 'sequences'} of {height} x {width}, "
            f"{_counts(self.classes, self.labels[:: self.frames])}"
            + (f" ({self.source})" if self.source else "")
        )

    def take(self, count: int | None) -> "ImageData":
        """Returns the first `count` examples with all frames, or all for None."""
        if count is None or count * self.frames >= len(self):
            return self
        stop = count * self.frames
        images, labels = self.images[:stop], self.labels[:stop]
        return dataclasses.replace(self, images=images, labels=labels)

    def sample(self, count: int | None, seed: int = 0) -> "ImageData":
        """Returns `count` examples with all frames, or all for None, in their order.

        They are drawn class by class, so that each class has its share, and one at
        least where there are as many examples as classes. A smaller sample with the
        same seed is a part of a larger one.

        Args:
            count: The number of examples.
            seed: Seed of the draw.
        """
        if count is not None and count < 1:
            raise ValueError(f"`count` must be positive. Received: count={count}")
        if count is None or count * self.frames >= len(self):
            return self
        chosen = stratified(self.strata[:: self.frames], count, seed)
        index = (chosen[:, None] * self.frames + np.arange(self.frames)).ravel()
        is_array = isinstance(self.images, np.ndarray)
        images = self.images[index] if is_array else ChosenImages(self.images, index)
        selection = f"{STRATIFIED}, seed {seed}"
        return dataclasses.replace(
            self, images=images, labels=self.labels[index], selection=selection
        )


def _check_all_labeled(labels, num_classes, name):
    """Tells images without a label, -1, from labels that are damaged."""
    if labels.dtype.kind == "i" and labels.min() == -1 and labels.max() < num_classes:
        raise ValueError(
            f"`labels of data set '{name}'` must be in [0, {num_classes}), and -1, by "
            "which some publishers say that an image has none, is not: leave those "
            "images out. For a training with few labels give all of them, of which the "
            "setting `labels` leaves some. Received: "
            f"{np.count_nonzero(labels == -1)} of {labels.size} labels are -1"
        )


def stratified(labels: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Returns the sorted numbers of `count` examples in which each class has its share.

    Args:
        labels: Labels of all examples.
        count: How many are drawn.
        seed: Seed of the draw.

    Example:

    >>> labels = np.repeat([0, 1, 2], [60, 30, 10])
    >>> np.bincount(labels[stratified(labels, 10)]).tolist()
    [6, 3, 1]
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        # Evenly spaced in (0, 1), so that any first part has the share of each class.
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
        place[members[0]] = 0  # No class is left out before all are in.
    return np.sort(order[np.argsort(place[order], kind="stable")][:count])


def _counts(classes, labels):
    """Returns how many images there are of each class, or its share of pixels."""
    if labels.ndim > 1:
        return _shares(classes, labels)
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    if len(classes) <= _FEW_CLASSES:
        pairs = zip(classes, counts, strict=True)
        return ", ".join(f"{count} of {name}" for name, count in pairs)
    low, high = min(counts), max(counts)
    each = f"{low} each" if low == high else f"from {low} to {high} of each"
    without = [name for name, count in zip(classes, counts, strict=True) if not count]
    some = f", none of {len(without)}" if without else ""
    return f"{len(classes)} classes, {each}{some}"


def _shares(classes, labels):
    known = labels[labels != arrays.UNLABELED]
    shares = np.bincount(known, minlength=len(classes)) / len(known)
    without = 1 - len(known) / labels.size
    listed = [f"{share:.1%} {n}" for n, share in zip(classes, shares, strict=True)]
    if len(classes) > _FEW_CLASSES:
        some = np.count_nonzero(shares)
        listed = [f"pixels of {some} of {len(classes)} classes"]
    return ", ".join([*listed, f"{without:.1%} of all pixels not labeled"])


class ChosenImages:
    """Some of the images of an object that decodes or makes them when it is indexed.

    Args:
        images: Gives uint8 arrays when it is indexed.
        places: Integer array of the numbers of the chosen images.
    """

    def __init__(self, images, places: np.ndarray):
        self.shape = (len(places), *images.shape[1:])
        self._images, self._places = images, places
        if hasattr(images, "paths"):
            self.paths = [images.paths[place] for place in places]

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        return self._images[self._places[index]]

    def fingerprint(self) -> str:
        """Returns what changes when the images do."""
        places = fingerprint.of_images(self._places)
        return f"{fingerprint.of_images(self._images)} {places}"


class DerivedImages:
    """Images that are derived from others when they are indexed.

    Args:
        images: uint8 array of shape `(examples, height, width, channels)`, or an object
            that gives such arrays when it is indexed.
        make: A function of consecutive images and the number of the first of them, to
            a uint8 array of `frames` times as many images.
        key: What the function does, in words that change when its pixels do.
        frames: Number of images derived from each.
        image_shape: Shape of the derived images, if it differs.
        scattered: Whether the function also takes any images, and the numbers of all,
            so that images in another order are derived together.
    """

    def __init__(
        self,
        images,
        make: Callable,
        key: str,
        frames: int = 1,
        image_shape: tuple[int, int, int] | None = None,
        scattered: bool = False,
    ):
        self.shape = len(images) * frames, *(image_shape or images.shape[1:])
        self._images, self._make, self._key = images, make, key
        self._frames, self._scattered = frames, scattered

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return self._range(start, max(start, stop))
            index = range(start, stop, step)
        if np.ndim(index) == 0:
            place = range(len(self))[index]
            return self._range(place, place + 1)[0]
        index = np.asarray(index)
        if index.dtype == bool:
            index = np.flatnonzero(index)
        if not index.size:
            return np.empty((0, *self.shape[1:]), np.uint8)
        if self._scattered:
            places = [range(len(self))[int(i)] for i in index]
            return self._make(np.asarray(self._images[places]), places)
        index = [range(len(self))[int(i)] for i in index]
        # Frames of an example are derived together.
        breaks = np.flatnonzero(np.diff(index) != 1) + 1
        runs = np.split(np.array(index), breaks)
        return np.concatenate([self._range(run[0], run[-1] + 1) for run in runs])

    def _range(self, start, stop):
        if start == stop:
            return np.empty((0, *self.shape[1:]), np.uint8)
        first, last = start // self._frames, -(-stop // self._frames)
        derived = self._make(np.asarray(self._images[first:last]), first)
        skipped = first * self._frames
        return derived[start - skipped : stop - skipped]

    def parts(self, count: int) -> Iterator[tuple[int, Callable]]:
        """Yields the number of an image, and a function that derives it and the next.

        Args:
            count: How many images each function gives, about. It has no arguments, and
                can be pickled if that of the constructor can.
        """
        step = max(1, count // self._frames)
        for first in range(0, len(self._images), step):
            images = np.asarray(self._images[first : first + step])
            yield first * self._frames, functools.partial(self._make, images, first)

    def fingerprint(self) -> str:
        """Returns what changes when the images do."""
        return f"{self._key} {fingerprint.of_images(self._images)}"


def _one_by_one(calls):
    return ((key, call()) for key, call in calls)


_CALLING = contextvars.ContextVar("calling", default=_one_by_one)


@contextlib.contextmanager
def derived_by(each: Callable) -> Iterator[None]:
    """Says who derives the images of files inside of the block.

    Args:
        each: From pairs of a key and a function without arguments to pairs of the key
            and what the function returns, in their order.
    """
    token = _CALLING.set(each)
    try:
        yield
    finally:
        _CALLING.reset(token)


def cached(images: DerivedImages, folder: str, stem: str):
    """Returns derived images from a file, which is written first if it is not there.

    Args:
        images: The images.
        folder: A folder inside of the cache, `ZOO_CACHE` or `~/.cache/smoothzoo`.
        stem: The beginning of the file name; a digest of the fingerprint follows.

    Returns:
        An array that is mapped from the file; `images` if they take more than 2 GB.
    """
    if np.prod(images.shape, dtype=np.int64) > LARGEST:
        return images
    key = hashlib.sha256(images.fingerprint().encode()).hexdigest()[:12]
    path = download.cache_folder() / folder / f"{stem}-{key}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with files.locked(path.with_suffix(".lock")):
            if not path.exists():
                _write(images, path)
    return read_npy(path)


def _write(images, path):
    with files.replacing(path) as temporary:
        target = np.lib.format.open_memmap(
            temporary, mode="w+", dtype=np.uint8, shape=images.shape
        )
        for start, part in _CALLING.get()(images.parts(_CHUNK)):
            target[start : start + len(part)] = part
        target.flush()


def read_npy(path: pathlib.Path) -> np.ndarray:
    """Maps an `.npy` file.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is damaged.
    """
    try:
        return np.load(path, mmap_mode="r")
    except FileNotFoundError as error:
        there = ", ".join(sorted(file.stem for file in path.parent.glob("*.npy")))
        raise FileNotFoundError(
            f"There is no file '{path}'. That folder has: {there or 'none'}."
        ) from error
    except (EOFError, ValueError) as error:
        raise ValueError(
            f"'{path}' is truncated or not an .npy file ({error}). Delete it and get "
            "it again."
        ) from error
