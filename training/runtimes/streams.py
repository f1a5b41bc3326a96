"""Exported streams: files that take a frame and a state, and give the next state."""

import os
import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from layers import checks
from training.data.readers import label_files
from training.runtimes import litert, network, saved_model

IMAGES, PROBS = "images", "probabilities"
STATE = "count", "window"  # What each of them takes, at least.


class StreamFile:
    """A stream in a file, called like `zoo.posterior.Temporal`.

    Attributes:
        image_shape: `(height, width, channels)` of a frame.
        classes: Names of the classes; empty if they are not known.
    """

    def __init__(
        self,
        run: Callable[[Mapping], Mapping],
        inputs: Mapping[str, tuple],
        classes: tuple[str, ...],
    ):
        self._run, self.classes = run, classes
        self._state = {k: v for k, v in inputs.items() if k != IMAGES}
        self.image_shape = tuple(inputs[IMAGES][0][1:])

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return self._state["window"][0][-1]

    @property
    def map_shape(self) -> tuple[int, ...]:
        """Height and width of what has predictions by pixel; else empty."""
        return tuple(self._state["window"][0][1:-1])

    def initial_state(self, seed: int = 0) -> dict[str, np.ndarray]:
        """Returns the state before the first frame; all but the seed is zero."""
        checks.check_seed(seed)
        state = {name: np.zeros(*like) for name, like in self._state.items()}
        if "seed" in state:
            state["seed"] = np.array(seed, "uint32").astype("int32")
        return state

    def reset(self, state: Mapping) -> dict:
        """Returns the state in which the next frame begins a new scene."""
        return {**state, "count": np.zeros((), "int32")}

    def step(self, frame, state: Mapping) -> tuple[np.ndarray, dict]:
        """Returns the mean probabilities after a frame, and the next state."""
        found = dict(self._run({IMAGES: np.asarray(frame, "float32")[None], **state}))
        return found.pop(PROBS)[0], {**state, **found}


def is_stream(place: str | os.PathLike) -> bool:
    """Returns whether a path is that of a file that may hold a stream."""
    path = pathlib.Path(place)
    is_folder = path.is_dir() and (path / saved_model.FILE).exists()
    return is_folder or path.suffix == ".tflite"


def open_stream(place: str | os.PathLike, num_threads: int | None = None) -> StreamFile:
    """Opens what `training.export.export_stream` wrote.

    Args:
        place: The folder of a SavedModel, or a LiteRT file.
        num_threads: Threads of the interpreter of a LiteRT file; by default one.

    Raises:
        FileNotFoundError: If nothing is there.
        ValueError: If it cannot be read, or takes no state.
    """
    if pathlib.Path(place).is_dir():
        return _open_folder(place)
    network.check_file(place)
    signature = litert.open_signature(place, num_threads)
    details = signature.get_input_details()
    inputs = {k: (_sides(x), x["dtype"]) for k, x in details.items()}

    def run(values):
        return signature(**values)

    return StreamFile(run, _checked(inputs, place), litert.classes(place))


def _open_folder(folder):
    import tensorflow as tf

    if not pathlib.Path(folder, saved_model.FILE).is_file():
        raise FileNotFoundError(f"There is no SavedModel in '{folder}'.")
    loaded = tf.saved_model.load(os.fspath(folder))  # Lives as long as the function.
    signature = loaded.signatures.get("serving_default")
    specs = {} if signature is None else signature.structured_input_signature[1]
    inputs = {k: (tuple(x.shape), x.dtype.as_numpy_dtype) for k, x in specs.items()}

    def run(values):
        found = loaded.signatures["serving_default"](
            **{k: tf.constant(v, specs[k].dtype) for k, v in values.items()}
        )
        return {name: value.numpy() for name, value in found.items()}

    return StreamFile(run, _checked(inputs, folder), label_files.read(folder))


def _sides(details):
    """Returns the shape of an input of LiteRT, with None for any size."""
    found = details["shape_signature"]
    sides = found if len(found) else details["shape"]
    return tuple(None if side < 0 else int(side) for side in sides)


def _checked(inputs, place):
    if not {IMAGES, *STATE} <= {*inputs}:
        raise ValueError(
            f"'{place}' is no stream, which takes {', '.join((IMAGES, *STATE))} and "
            "gives the next state; export one with zoo-export --model=NAME@temporal. "
            f"Received: inputs {', '.join(sorted(inputs))}"
        )
    return inputs
