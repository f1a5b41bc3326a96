"""Files of OpenVINO in its runtime, in float32."""

import functools
import json
import os
import pathlib

import numpy as np

from training.data import fingerprint
from training.runtimes import network
from training.runtimes.network import Network

FILE = "model.xml"  # In a folder.
# On processors with instructions for bfloat16 it would compute in that.
_PRECISE = {"INFERENCE_PRECISION_HINT": "f32"}


def open_network(
    path: str | os.PathLike, num_samples: int = 1, num_threads: int | None = None
) -> Network:
    """Opens a file of OpenVINO, on the processor and in float32.

    Args:
        path: The file, with its weights beside it, or a folder with `model.xml`.
        num_samples: Not used; such files draw nothing.
        num_threads: Threads of the runtime; by default one for each core.

    Raises:
        FileNotFoundError: If there is no such file, or none with its weights.
        ImportError: If OpenVINO is not installed.
        ValueError: If it cannot be read, does not take images, or draws by a seed.
    """
    path = pathlib.Path(path)
    path = path / FILE if path.is_dir() else path
    weights = path.with_suffix(".bin")
    network.check_file(path)
    network.check_file(weights)
    try:
        import openvino
    except ImportError as error:
        raise ImportError(
            f"{error}. Files of OpenVINO need `pip install smoothzoo[openvino]`."
        ) from error
    threads = {"INFERENCE_NUM_THREADS": num_threads} if num_threads else {}
    try:
        model = openvino.Core().read_model(path)
        compiled = openvino.Core().compile_model(model, "CPU", _PRECISE | threads)
    except RuntimeError as error:  # Its exceptions have no other type.
        raise ValueError(f"OpenVINO cannot read '{path}': {error}") from error
    inputs = {port.any_name: port for port in compiled.inputs}
    if drawing := [name for name in network.SCALARS if name in inputs]:
        raise ValueError(
            "OpenVINO takes unsigned integers for signed ones, so that masks are those "
            f"of no rate; evaluate the ONNX file. Received: '{path}' with the input "
            f"{drawing[0]}"
        )
    name = network.image_input(inputs, path)
    sides = inputs[name].partial_shape
    shape = [None if side.is_dynamic else side.get_length() for side in sides]
    dtype = np.dtype(inputs[name].element_type.to_dtype()).name
    outputs = {_name(port, i): port for i, port in enumerate(compiled.outputs)}

    def run(images, seed):
        try:
            found = compiled({name: images.astype(dtype)})
        except RuntimeError as error:
            raise ValueError(f"OpenVINO cannot run the model: {error}") from error
        return {key: np.array(found[port]) for key, port in outputs.items()}

    return Network(
        run,
        tuple(outputs),
        network.image_shape(shape, path),
        functools.partial(fingerprint.of_files, [path, weights]),
        dtype=dtype,
        batch=network.batch_size(shape),
        classes=_classes(model),
    )


def _name(port, number):
    return port.any_name if port.names else f"output_{number}"


def _classes(model):
    if not model.has_rt_info("classes"):
        return ()
    return tuple(json.loads(model.get_rt_info("classes").astype(str)))
