"""LiteRT files in its interpreter."""

import functools
import os
import zipfile

import numpy as np

from training.data import fingerprint
from training.data.readers import label_files
from training.runtimes import network
from training.runtimes.network import Network

# In the archive behind the model, beside the names of the classes.
PASSES_FILE = "num_samples.txt"


def open_network(
    path: str | os.PathLike, num_samples: int = 1, num_threads: int | None = None
) -> Network:
    """Opens a LiteRT file in an interpreter of its own.

    Inputs and outputs of whole numbers with a scale are given and taken as the numbers
    that they stand for.

    Args:
        path: The file, whose first or only signature counts, `serving_default` before
            others; it may have none.
        num_samples: Forward passes, if it takes their number.
        num_threads: Threads of the interpreter; by default one.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If neither LiteRT nor TensorFlow is installed.
        ValueError: If it cannot be read, or does not take images. What `run` raises
            where the interpreter fails.
    """
    network.check_file(path)
    signature = open_signature(path, num_threads)
    inputs = signature.get_input_details()
    outputs = signature.get_output_details()
    name = network.image_input(inputs, path)
    details = inputs[name]
    shape = details["shape_signature"]
    shape = details["shape"] if not len(shape) else shape

    def run(images, seed):
        pixels = _quantized(images, details)
        try:
            found = signature(
                **{name: pixels}, **network.scalars(inputs, seed, num_samples)
            )
        except RuntimeError as error:  # A kernel that was given what it cannot do.
            raise ValueError(f"LiteRT cannot run the model: {error}") from error
        return {key: _real(value, outputs[key]) for key, value in found.items()}

    return Network(
        run,
        tuple(outputs),
        network.image_shape(list(shape), path),
        functools.partial(fingerprint.of_files, [path]),
        dtype="float32" if _scale(details) else np.dtype(details["dtype"]).name,
        batch=network.batch_size(list(shape)),
        takes_seed="seed" in inputs,
        num_samples=network.passes(inputs, _attached(path, PASSES_FILE), num_samples),
        classes=classes(path),
        is_rounded=any(map(_scale, outputs.values())),
    )


def open_signature(path: str | os.PathLike, num_threads: int | None = None):
    """Returns the first or only signature of a LiteRT file, in its interpreter.

    Args:
        path: The file.
        num_threads: Threads of the interpreter; by default one.

    Raises:
        ImportError: If neither LiteRT nor TensorFlow is installed.
        ValueError: If it cannot be read.
    """
    try:
        interpreter = _interpreter()(os.fspath(path), num_threads=num_threads)
        return _signature(interpreter)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"LiteRT cannot read '{path}': {error}") from error


def classes(path: str | os.PathLike) -> tuple[str, ...]:
    """Returns the names of the classes that a LiteRT file has; empty without any."""
    text = _attached(path, label_files.FILE)
    # Names may hold what else counts as the end of a line.
    return tuple(line.strip() for line in text.split("\n")) if text else ()


def attach_num_samples(path: str | os.PathLike, num_samples: int):
    """Puts behind a LiteRT file how many forward passes a call of it averages."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(PASSES_FILE), f"{num_samples}\n")


def copy_attached(source: str | os.PathLike, target: str | os.PathLike):
    """Puts behind a LiteRT file what is behind another one that it was made of.

    Programs that rewrite files leave out the names of the classes and how many forward
    passes a call averages.
    """
    if not zipfile.is_zipfile(source):
        return
    with zipfile.ZipFile(source) as given, zipfile.ZipFile(target, "a") as archive:
        for item in given.infolist():
            archive.writestr(item, given.read(item))


def _interpreter():
    try:
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter
    except ImportError as error:
        missing = error
    try:
        import tensorflow as tf

        return tf.lite.Interpreter
    except ImportError:
        raise ImportError(
            f"{missing}. LiteRT files need `pip install smoothzoo[ondevice]`."
        ) from missing


def _signature(interpreter):
    names = list(interpreter.get_signature_list())
    if not names:
        return _Whole(interpreter)
    default = "serving_default"
    return interpreter.get_signature_runner(default if default in names else names[0])


class _Whole:
    """All of a file without signatures, called as one."""

    def __init__(self, interpreter):
        self._interpreter = interpreter

    def get_input_details(self):
        return {x["name"]: x for x in self._interpreter.get_input_details()}

    def get_output_details(self):
        return {x["name"]: x for x in self._interpreter.get_output_details()}

    def __call__(self, **inputs):
        places = {k: x["index"] for k, x in self.get_input_details().items()}
        for name, value in inputs.items():
            self._interpreter.resize_tensor_input(places[name], value.shape)
        self._interpreter.allocate_tensors()
        for name, value in inputs.items():
            self._interpreter.set_tensor(places[name], value)
        self._interpreter.invoke()
        return {
            name: self._interpreter.get_tensor(x["index"])
            for name, x in self.get_output_details().items()
        }


def _scale(details) -> float:
    """Returns the step of a tensor of whole numbers; 0 if it stands for itself."""
    return float(details["quantization"][0])


def _quantized(values, details):
    dtype, (scale, zero) = details["dtype"], details["quantization"]
    if not scale:
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values / scale + zero), limits.min, limits.max).astype(dtype)


def _real(values, details):
    scale, zero = details["quantization"]
    return (values.astype("float32") - zero) * np.float32(scale) if scale else values


def _attached(path, name) -> str:
    """Returns a text in the archive behind a file, or nothing."""
    if not zipfile.is_zipfile(path):
        return ""
    with zipfile.ZipFile(path) as archive:
        if name not in archive.namelist():
            return ""
        return archive.read(name).decode("utf-8").strip()
