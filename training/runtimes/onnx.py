"""ONNX files in ONNX Runtime."""

import functools
import json
import os

import numpy as np

from training.data import fingerprint
from training.runtimes import network
from training.runtimes.network import Network

# What has the number of passes that a call averages, in the metadata of a file.
PASSES = "num_samples"
_DTYPES = {"float": "float32", "double": "float64", "float16": "float16"}


def open_network(
    path: str | os.PathLike, num_samples: int = 1, num_threads: int | None = None
) -> Network:
    """Opens an ONNX file in a session of ONNX Runtime.

    Args:
        path: The file.
        num_samples: Forward passes, if it takes their number.
        num_threads: Threads of the session; by default one for each core.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If ONNX Runtime is not installed.
        ValueError: If it cannot be read, or does not take images. What `run` raises
            where the runtime fails.
    """
    network.check_file(path)
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f"{error}. ONNX files need `pip install smoothzoo[onnx]`."
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads or 0
    try:
        session = onnxruntime.InferenceSession(os.fspath(path), options)
    except Exception as error:  # Of many types, none of them public.
        raise ValueError(f"ONNX Runtime cannot read '{path}': {error}") from error
    inputs = {value.name: value for value in session.get_inputs()}
    outputs = [value.name for value in session.get_outputs()]
    name = network.image_input(inputs, path)
    shape = inputs[name].shape
    word = inputs[name].type.removeprefix("tensor(").removesuffix(")")
    dtype = _DTYPES.get(word, word)

    def run(images, seed):
        given = {name: images.astype(dtype)}
        given |= network.scalars(inputs, seed, num_samples)
        try:
            found = session.run(outputs, given)
        except Exception as error:
            raise ValueError(f"ONNX Runtime cannot run the model: {error}") from error
        return dict(zip(outputs, found, strict=True))

    said = session.get_modelmeta().custom_metadata_map
    return Network(
        run,
        tuple(outputs),
        network.image_shape(shape, path),
        functools.partial(fingerprint.of_files, [path]),
        dtype=np.dtype(dtype).name,
        batch=network.batch_size(shape),
        takes_seed="seed" in inputs,
        num_samples=network.passes(inputs, said.get(PASSES), num_samples),
        classes=tuple(json.loads(said.get("classes", "[]"))),
    )
