"""CIFAR-10 and CIFAR-100 in the files in which they are published.

Reference:
    [Learning Multiple Layers of Features from Tiny Images](
    https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf) (Krizhevsky, 2009).
"""

import dataclasses
import functools
import gzip
import io
import pathlib
import tarfile
import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from training.data.image_data import ImageData
from zoo.storage import unpickling

_SHAPE = (3, 32, 32)  # Channels first, in every file.
_PIXELS = 3 * 32 * 32
_LARGEST_META = 1 << 20  # Bytes of a file of class names, at most.


@dataclasses.dataclass(frozen=True)
class _Layout:
    """A set of files, in a folder or in an archive of it.

    Attributes:
        folder: The name of the folder.
        archives: The names of its archive, as downloaded and as others keep it.
        parts: The files of each split.
        counts: The number of images in each of them.
        meta: By the kind of labels, the file of the class names and their key in it.
        labels: The kinds of labels, in the order in which a record has them, and their
            keys in a pickle.
        read: From the content of a file to its labels by kind and its pixels.
        read_names: From the content of `meta` and a key to the names.
    """

    folder: str
    archives: tuple[str, ...]
    parts: Mapping[str, tuple[str, ...]]
    counts: Mapping[str, int]
    meta: Mapping[str, tuple[str, str]]
    labels: Mapping[str, str]
    read: Callable
    read_names: Callable

    def files(self, split: str, kind: str) -> dict[str, int]:
        """Returns the files that are needed and the bytes that they may have."""
        largest = self.counts[split] * 2 * _PIXELS + _LARGEST_META
        return {
            self.meta[kind][0]: _LARGEST_META,
            **dict.fromkeys(self.parts[split], largest),
        }


def load(name: str, split: str, data_dir: str | None) -> ImageData | None:
    """Loads CIFAR-10 or CIFAR-100 from published files.

    Args:
        name: `"cifar10"`, `"cifar100"`, or `"cifar100/coarse"` for its 20 superclasses.
        split: `"train"` or `"test"`.
        data_dir: A folder of these files, the folder that holds it or its archive, or
            the archive.

    Returns:
        The images and labels in the order of the files; None if there are no such files
        in `data_dir`.

    Raises:
        FileNotFoundError: If some of the files are missing.
        ValueError: If a file is truncated, altered or not one of these.
    """
    if data_dir is None:
        return None
    base, _, kind = name.partition("/")
    kind = kind or LABELS[base]
    path = pathlib.Path(data_dir).expanduser()
    found = _find(path, LAYOUTS[base])
    if found is None:
        return None
    layout, place = found
    wanted = layout.files(split, kind)
    contents = (_read_archive if place.is_file() else _read_folder)(place, wanted)
    meta, key = layout.meta[kind]
    classes = tuple(layout.read_names(contents.pop(meta), place / meta, key))
    columns = [
        _read_part(layout, contents[part], place / part, split, kind, len(classes))
        for part in layout.parts[split]
    ]
    pixels, labels = (np.concatenate(column) for column in zip(*columns, strict=True))
    images = pixels.reshape(-1, *_SHAPE).transpose(0, 2, 3, 1)
    return ImageData(
        name, np.ascontiguousarray(images), labels, classes, source=f"'{place.name}'"
    )


def _find(path, layouts):
    """Returns the layout that is there and where, or None."""
    for layout in layouts:
        nested = path / f"{layout.folder}-target" / layout.folder  # Keras has it so.
        for folder in (path / layout.folder, nested):
            if folder.is_dir():
                return layout, folder
        if any(
            (path / file).is_file() for part in layout.parts.values() for file in part
        ):
            return layout, path
    for layout in layouts:
        for archive in layout.archives:
            if (path / archive).is_file():
                return layout, path / archive
    return (_recognize(path, layouts), path) if path.is_file() else None


def _read_folder(folder, wanted) -> dict[str, bytes]:
    contents = {}
    for name in wanted:
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"There is no '{folder / name}', one of the files {', '.join(wanted)}."
            )
        contents[name] = (folder / name).read_bytes()
    return contents


def _archived(read):
    """Makes a reader of an archive name the archive if it is damaged."""

    @functools.wraps(read)
    def reading(path, *args):
        try:
            return read(path, *args)
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise ValueError(
                f"The archive '{path}' is truncated, altered or another one ({error})."
                " Delete it and get it again."
            ) from error

    return reading


@_archived
def _recognize(path, layouts):
    """Returns the layout of an archive by the folder in it."""
    seen = set()
    with gzip.open(path) as file, tarfile.open(fileobj=file, mode="r|") as archive:
        for member in archive:
            folders = pathlib.PurePosixPath(member.name).parts[:-1] or (member.name,)
            for layout in layouts:
                if layout.folder in folders:
                    return layout
            seen.add(folders[0])
    expected = " or ".join(layout.folder for layout in layouts)
    raise tarfile.TarError(
        f"expected the folder {expected}, found {', '.join(sorted(seen)[:3])}"
    )


def _read_archive(path, wanted) -> dict[str, bytes]:
    contents = _read_members(path, wanted)
    missing = [name for name in wanted if name not in contents]
    if missing:
        raise ValueError(f"The archive '{path}' lacks {', '.join(missing)}.")
    return contents


@_archived
def _read_members(path, wanted) -> dict[str, bytes]:
    """Reads files of an archive to its end, where its checksum is."""
    contents = {}
    with gzip.open(path) as file, tarfile.open(fileobj=file, mode="r|") as archive:
        for member in archive:
            name = pathlib.PurePosixPath(member.name).name
            if name not in wanted or not member.isfile():
                continue
            if member.size > wanted[name]:
                raise tarfile.TarError(f"{name} has {member.size} bytes")
            contents[name] = archive.extractfile(member).read()
        while file.read(1 << 20):
            pass
    return contents


def _read_part(layout, content, path, split, kind, num_classes):
    """Returns the pixels of one file, a row for each image, and its labels."""
    labels, pixels = layout.read(content, path, layout.labels)
    count = layout.counts[split]
    if pixels.shape != (count, _PIXELS) or pixels.dtype != np.uint8:
        raise ValueError(
            f"'{path}' is truncated or another file: expected {count} rows of "
            f"{_PIXELS} bytes, found shape={pixels.shape}, dtype={pixels.dtype}."
        )
    own = np.asarray(labels[kind])
    if own.shape != (count,) or own.dtype.kind not in "iu":
        raise ValueError(
            f"'{path}' must have {count} integer labels. Received: "
            f"shape={own.shape}, dtype={own.dtype}"
        )
    if own.min() < 0 or own.max() >= num_classes:
        raise ValueError(
            f"'{path}' is altered or of another data set: labels must be in "
            f"[0, {num_classes}). Received: labels from {own.min()} to {own.max()}"
        )
    return pixels, own.astype("int32")


def _read_binary(content, path, kinds):
    """Reads records of a byte for each kind of label and the pixels."""
    record = len(kinds) + _PIXELS
    if len(content) % record or not content:
        raise ValueError(
            f"'{path}' is truncated or another file: expected records of {record} "
            f"bytes, found {len(content)} bytes."
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, record)
    labels = {kind: rows[:, column] for column, kind in enumerate(kinds)}
    return labels, rows[:, len(kinds) :]


def _read_text(content, path, key) -> list[str]:
    try:
        return content.decode("ascii").split()
    except UnicodeDecodeError as error:
        raise ValueError(f"'{path}' is not a list of class names: {error}") from error


def _unpickle(content, path) -> dict[str, object]:
    found = unpickling.load(io.BytesIO(content), path, unpickling.ARRAYS)
    if not isinstance(found, dict):
        raise ValueError(f"'{path}' holds a {type(found).__name__}, expected a dict.")
    return {
        key.decode("latin1") if isinstance(key, bytes) else key: value
        for key, value in found.items()
    }


def _plain(value) -> np.ndarray:
    """Returns the array of what was read, or of a list."""
    if isinstance(value, unpickling.Array):
        return getattr(value, "value", np.empty(0))
    return np.asarray(value if isinstance(value, list) else [])


def _read_pickle(content, path, kinds):
    found = _unpickle(content, path)
    for key in ("data", *kinds.values()):
        if key not in found:
            raise ValueError(
                f"'{path}' is another file: there is no '{key}', only "
                f"{', '.join(map(str, found))}."
            )
    labels = {kind: _plain(found[key]) for kind, key in kinds.items()}
    return labels, _plain(found["data"])


def _read_pickled_names(content, path, key) -> list[str]:
    names = _unpickle(content, path).get(key)
    if not isinstance(names, list) or not names:
        raise ValueError(f"'{path}' has no class names '{key}'.")
    return [n.decode("latin1") if isinstance(n, bytes) else str(n) for n in names]


def _batches(ending: str) -> dict[str, tuple[str, ...]]:
    train = tuple(f"data_batch_{number}{ending}" for number in range(1, 6))
    return {"train": train, "test": (f"test_batch{ending}",)}


_BINARY = {"read": _read_binary, "read_names": _read_text}
_PYTHON = {"read": _read_pickle, "read_names": _read_pickled_names}
_CIFAR10 = {
    "counts": {"train": 10_000, "test": 10_000},
    "labels": {"class": "labels"},
}
_CIFAR100 = {
    "counts": {"train": 50_000, "test": 10_000},
    "labels": {"coarse": "coarse_labels", "fine": "fine_labels"},
}
# By the name of the set; of several that are there, the first one is read.
LAYOUTS: dict[str, Sequence[_Layout]] = {
    "cifar10": (
        _Layout(
            folder="cifar-10-batches-bin",
            archives=("cifar-10-binary.tar.gz",),
            parts=_batches(".bin"),
            meta={"class": ("batches.meta.txt", "")},
            **_CIFAR10,
            **_BINARY,
        ),
        _Layout(
            folder="cifar-10-batches-py",
            archives=("cifar-10-python.tar.gz", "cifar-10-batches-py.tar.gz"),
            parts=_batches(""),
            meta={"class": ("batches.meta", "label_names")},
            **_CIFAR10,
            **_PYTHON,
        ),
    ),
    "cifar100": (
        _Layout(
            folder="cifar-100-binary",
            archives=("cifar-100-binary.tar.gz",),
            parts={"train": ("train.bin",), "test": ("test.bin",)},
            meta={k: (f"{k}_label_names.txt", "") for k in _CIFAR100["labels"]},
            **_CIFAR100,
            **_BINARY,
        ),
        _Layout(
            folder="cifar-100-python",
            archives=("cifar-100-python.tar.gz",),
            parts={"train": ("train",), "test": ("test",)},
            meta={k: ("meta", f"{k}_label_names") for k in _CIFAR100["labels"]},
            **_CIFAR100,
            **_PYTHON,
        ),
    ),
}
# The kind of the labels, if a name has none.
LABELS = {"cifar10": "class", "cifar100": "fine"}
NAMES = (*LAYOUTS, "cifar100/coarse")
