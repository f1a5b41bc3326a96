"""Fingerprints: what changes when weights, settings or images do."""

import hashlib
import json
import os

import keras
import numpy as np
from keras import ops

from layers import RandomLayer

_CHUNK = 1000  # Images that are read at once.


def of_posterior(posterior: keras.layers.Layer) -> str:
    """Returns the SHA-256 of the weights and the layers of a posterior.

    Counters of random layers do not belong to it: under a seed they are not read.
    """
    digest = hashlib.sha256()
    for layer in posterior._flatten_layers():
        if isinstance(layer, keras.Model):
            config = _renamed(
                keras.saving.serialize_keras_object(layer), _numbers(layer)
            )
            digest.update(json.dumps(config, sort_keys=True, default=str).encode())
        else:
            # The names of the wrappers count how many there were before.
            digest.update(type(layer).__name__.encode())
    for variable in posterior.weights:
        if not variable.path.endswith("random_state"):
            value = np.ascontiguousarray(ops.convert_to_numpy(variable))
            digest.update(f"{value.shape} {value.dtype}".encode())
            digest.update(value)
    return digest.hexdigest()


def _numbers(model):
    """Returns a name for each operation that does not count those made before it.

    Names of random layers stay, for draws depend on them.
    """
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
    """Returns the SHA-256 of images, or of what they are made from.

    Args:
        images: An array; or an object that gives arrays when it is sliced. If it has a
            method `fingerprint`, that is what counts; if it has `paths`, the sizes and
            times of these files; else all images are read.
    """
    if hasattr(images, "fingerprint"):
        return str(images.fingerprint())
    digest = hashlib.sha256(str(tuple(images.shape)).encode())
    if hasattr(images, "paths"):
        for path in images.paths:
            state = os.stat(path)
            digest.update(f"{path} {state.st_size} {state.st_mtime_ns}\n".encode())
        return digest.hexdigest()
    for start in range(0, len(images), _CHUNK):
        part = np.ascontiguousarray(images[start : start + _CHUNK])
        digest.update(part.dtype.str.encode())
        digest.update(part)
    return digest.hexdigest()
