"""Which places hold a network that a runtime or a server runs.

Commands look at names by this module, so it imports nothing that takes time.
"""

import importlib
import os
import pathlib
import re

# The module that opens what has a suffix or a scheme, or is a folder with a file.
OPENERS = {
    ".tflite": "litert",
    ".onnx": "onnx",
    ".xml": "openvino",
    "grpc://": "servers",
    "http://": "servers",
    "https://": "servers",
}
IN_FOLDERS = {"model.xml": "openvino", "saved_model.pb": "saved_model"}
# A server of models has an address of this form, and a published folder has not.
ADDRESS = re.compile(
    r"(?P<scheme>grpc|https?)://(?P<host>[^/@]+)/(?P<api>v1/models/)?"
    r"(?P<name>[\w.-]+)(?:/versions/(?P<version>[0-9]+))?/?"
)


def address(place: str) -> re.Match | None:
    """Returns the parts of the address of a model on a server; None of anything else.

    Examples are `grpc://localhost:8500/resnet20` and
    `http://localhost:8501/v1/models/resnet20/versions/2`.
    """
    found = ADDRESS.fullmatch(place)
    is_rest = found is not None and found["scheme"] != "grpc"
    return None if is_rest and not found["api"] else found


def is_place(place: str) -> bool:
    """Returns whether a path or an address is one that `open_network` takes.

    A file need not be there, and nobody asks the server.
    """
    return _module(place) is not None


def name_of(place: str) -> str:
    """Returns what rows call a place: the same on every machine.

    It is the name of the file; of OpenVINO's `model.xml` or of a folder that of the
    folder. That of a model on a server has the protocol behind it.
    """
    if found := address(place):
        version = f".{found['version']}" if found["version"] else ""
        return f"{found['name']}{version}.{found['scheme']}"
    path = pathlib.Path(place).absolute()
    if path.name in IN_FOLDERS:
        return f"{path.parent.name}{path.suffix}"
    return path.name


def open_network(place: str, num_samples: int = 1, num_threads: int | None = None):
    """Opens a network.

    Args:
        place: Path of a LiteRT, ONNX or OpenVINO file; of the folder of an OpenVINO
            file, or of a SavedModel of `training.export`; or the address of a model on
            a server, see `address`.
        num_samples: Forward passes to average, for what takes that as an input.
        num_threads: Threads of the runtime, where that can be said; by default its own
            choice.

    Returns:
        A `training.runtimes.network.Network`.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If the runtime is not installed.
        ConnectionError: If the server does not answer.
        ValueError: If it cannot be opened, or is not one from images.
    """
    module = importlib.import_module(f"training.runtimes.{_module(place)}")
    return module.open_network(place, num_samples, num_threads)


def _module(place):
    if found := address(place):
        return OPENERS[f"{found['scheme']}://"]
    path = pathlib.Path(place)
    for name, module in IN_FOLDERS.items():
        if os.path.isfile(path / name):
            return module
    return OPENERS.get(path.suffix)
