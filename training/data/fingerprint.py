"""Fingerprints: what changes when weights, settings or images do."""

import hashlib
import json
import os
import pathlib
from collections.abc import Iterable
from concurrent import futures

import numpy as np

from zoo.storage import download, files

_CHUNK = 1000  # Images or files that are read at once.
_LARGE = 2**26  # Digests of files with more bytes are cached.


def of_posterior(posterior) -> str:
    """Returns the SHA-256 of the weights and the layers of a posterior.

    Counters of random layers do not belong to it: under a seed they are not read.

    Args:
        posterior: A Keras layer.
    """
    import keras  # Names of data sets are looked at without it.

    from layers import keras_internals

    digest = hashlib.sha256()
    for layer in keras_internals.flat_layers(posterior):
        if isinstance(layer, keras.Model):
            config = _renamed(
                keras.saving.serialize_keras_object(layer), _numbers(layer)
            )
            digest.update(json.dumps(config, sort_keys=True, default=str).encode())
        else:
            # The names of the wrappers count how many there were before.
            digest.update(type(layer).__name__.encode())
            digest.update(getattr(layer, "form", "").encode())
    for variable in posterior.weights:
        if not variable.path.endswith("random_state"):
            value = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
            digest.update(f"{value.shape} {value.dtype}".encode())
            digest.update(value)
    return digest.hexdigest()


def _numbers(model):
    """Returns a name for each operation that does not count those made before it.

    Names of random layers stay, for draws depend on them.
    """
    from layers import RandomLayer

    operations = getattr(model, "operations", model.layers)
    return {
        operation.name: f"operation {i}"
        for i, operation in enumerate(operations)
        if not isinstance(operation, RandomLayer)
    }


def _renamed(config, names):
    """Returns nested lists and dicts with other names of the operations."""
    if isinstance(config, dict):
        return {key: _renamed(value, names) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [_renamed(value, names) for value in config]
    return names.get(config, config) if isinstance(config, str) else config


def of_images(images) -> str:
    """Returns the SHA-256 of images, or of what they are derived from.

    Args:
        images: An array; or an object that gives arrays when it is sliced. If it has a
            method `fingerprint`, that is what counts; else all images are read.
    """
    if hasattr(images, "fingerprint"):
        return str(images.fingerprint())
    digest = hashlib.sha256(str(tuple(images.shape)).encode())
    for start in range(0, len(images), _CHUNK):
        part = np.ascontiguousarray(images[start : start + _CHUNK])
        digest.update(part.dtype.str.encode())
        digest.update(part)
    return digest.hexdigest()


def of_data(data) -> str:
    """Returns the SHA-256 of a data set, whatever it is called and wherever it lies.

    Args:
        data: With `images` and `labels`.
    """
    labels = _as_wide(data.labels)
    text = f"{of_images(data.images)} {getattr(data, 'frames', 1)}"
    digest = hashlib.sha256(text.encode())
    digest.update(labels)
    return digest.hexdigest()


def _as_wide(labels):
    """Returns integers, or the numbers of a regression, in 64 bits."""
    kind = "float64" if np.asarray(labels).dtype.kind == "f" else "int64"
    return np.ascontiguousarray(labels, kind)


def of_named(data, images: str | None = None) -> str:
    """Returns the SHA-256 of a data set that ignores the order of the classes.

    Args:
        data: With `images`, `labels` and `classes`.
        images: What `of_images` says of its images, if that is known.
    """
    if np.asarray(data.labels).dtype.kind == "f":
        digest = hashlib.sha256((images or of_images(data.images)).encode())
        digest.update(_as_wide(data.labels))
        return digest.hexdigest()
    # Pixels without a label, which are -1, have the last one.
    names = [hashlib.sha256(str(name).encode()).digest() for name in data.classes]
    names.append(bytes(len(names[0])))
    names = np.frombuffer(b"".join(names), "uint8").reshape(len(names), -1)
    digest = hashlib.sha256((images or of_images(data.images)).encode())
    labels = np.asarray(data.labels)
    for start in range(0, len(labels), _CHUNK):
        digest.update(names[labels[start : start + _CHUNK]])
    return digest.hexdigest()


def of_files(paths: Iterable[str | os.PathLike]) -> str:
    """Returns the SHA-256 of the contents of files, in their order.

    Their names and folders do not matter. For large files it is stored in
    `fingerprints/` of the cache, `ZOO_CACHE` or `~/.cache/smoothzoo`, until the files
    change.
    """
    paths = [pathlib.Path(path).absolute() for path in paths]
    states = [os.stat(path) for path in paths]
    if sum(state.st_size for state in states) < _LARGE:
        return _of_contents(paths)
    state = hashlib.sha256()
    for path, found in zip(paths, states, strict=True):
        text = f"{path} {found.st_size} {found.st_mtime_ns}\n"
        state.update(text.encode("utf-8", "surrogateescape"))
    cached = download.cache_folder() / "fingerprints" / state.hexdigest()[:24]
    if not cached.exists():
        content = _of_contents(paths)
        with files.replacing(cached) as temporary:
            temporary.write_text(content)
    return cached.read_text()


def _of_contents(paths):
    def of_some(start):
        digests = []
        for path in paths[start : start + _CHUNK]:
            with open(path, "rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").digest())
        return b"".join(digests)

    with futures.ThreadPoolExecutor() as pool:
        parts = pool.map(of_some, range(0, len(paths), _CHUNK))
        return hashlib.sha256(b"".join(parts)).hexdigest()
