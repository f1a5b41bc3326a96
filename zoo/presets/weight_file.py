"""Weight files: safetensors keyed `layer name/variable`, whatever their order.

Layer names are API: the weights of a plain network load into its stochastic sibling,
and a file outlives a change in the order of layers. Nothing in a file is executed.
"""

import json
import os
import pathlib
import struct
from collections.abc import Iterable, Iterator, Mapping

import keras
import numpy as np
import safetensors
import safetensors.numpy
from keras import ops

from layers import keras_internals
from zoo.presets.model_config import check_layers, model_metadata
from zoo.storage import files, remote

_METADATA = "smoothzoo"  # One entry: a file with several has no order of its own.
_MAX_HEADER = 100_000_000  # Bytes, the limit of the format.
_FLOATS = ("F16", "F32", "F64")
_SHOWN = 3  # Maximal number of names of a kind in a message.


def variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns the weights of a model by `layer name/variable`.

    The state of random layers and other counters, which are integers, is left out, and
    so are the weights that layers declare as `training_state`, which only a training
    reads.

    Args:
        model: Keras model; a model inside it counts as its layers.

    Returns:
        For example `{"stage1_block1_1_conv/kernel": ...}`, in the model's order.

    Raises:
        ValueError: If two layers have one name.
    """
    found = {}
    for name, variable in _named(model):
        if found.setdefault(name, variable) is not variable:
            raise ValueError(
                f"Two weights of the model '{model.name}' are called '{name}'; give "
                "its layers different names."
            )
    return found


def optional(model: keras.Model) -> list[str]:
    """Returns the names of weights that a plain network has not.

    Layers declare them as `optional_weights`; see `layers.RandomLayer`.

    Args:
        model: Keras model.
    """
    own = {id(weight) for weight in _declared(model, "optional_weights")}
    return [name for name, variable in _named(model) if id(variable) in own]


def unshared(model: keras.Model, other: keras.Model) -> set[str]:
    """Returns what two networks do not have in common, as `load_weights` skips it.

    Args:
        model: Keras model.
        other: Keras model; its weights need no values, and nor do those of `model`.

    Returns:
        Names of the layers that only one has, or of which the weights have other
        shapes or names; and of the layers that both have, the names of weights that
        are `optional` and in one alone.
    """
    one, two = ({k: v.shape for k, v in variables(x).items()} for x in (model, other))
    differing = {name for name in {*one, *two} if one.get(name) != two.get(name)}
    apart = differing & {*optional(model), *optional(other)}
    anew = {_layer(name) for name in differing - apart}
    return anew | {name for name in apart if _layer(name) not in anew}


def _kind(name):
    return name.rpartition("/")[2]


def _layer(name):
    return name.partition("/")[0]


def _declared(layer, which):
    """Returns the weights that a layer declares by the names of its attributes."""
    return [
        getattr(inner, name)
        for inner in keras_internals.flat_layers(layer)
        for name in getattr(inner, which, ())
    ]


def _named(model) -> Iterator[tuple[str, keras.Variable]]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _named(layer)
            continue
        state = {id(x) for x in _declared(layer, "training_state")}
        for variable in layer.weights:
            is_float = keras.backend.is_float_dtype(variable.dtype)
            if is_float and id(variable) not in state:
                _, _, inner = variable.path.partition(f"{layer.name}/")
                yield f"{layer.name}/{inner}", variable


def save_weights(
    model: keras.Model,
    path: str | os.PathLike,
    metadata: Mapping[str, object] | None = None,
    dtype: str | None = None,
):
    """Saves the weights of a model, or nothing: no half-written file is left.

    Args:
        model: Keras model.
        path: Path of the safetensors file; an older one is replaced.
        metadata: What else to write into the file, as `json` takes it; those of
            `zoo.presets.model_config.model_metadata` are always there.
        dtype: `"float16"` halves the file. By default that of the weights.

    Raises:
        ValueError: If a weight is not finite, or is not in `dtype`.
    """
    arrays = {k: _to_numpy(v, dtype) for k, v in variables(model).items()}
    whose = f"the model '{model.name}'" + (f" as {dtype}" if dtype else "")
    save_arrays(arrays, path, {**model_metadata(model), **(metadata or {})}, whose)


def save_arrays(
    arrays: Mapping[str, np.ndarray],
    path: str | os.PathLike,
    metadata: Mapping[str, object],
    whose: str,
):
    """Saves arrays of floats by name, or nothing; see `save_weights`.

    Args:
        arrays: Arrays by name.
        path: Path of the safetensors file; an older one is replaced.
        metadata: What else to write into the file, as `json` takes it.
        whose: What the arrays are weights of, for an error.

    Raises:
        ValueError: If a number is not finite.
    """
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(
                f"The weight '{name}' of {whose} is not finite, so '{path}' was not "
                "written."
            )
    text = json.dumps(metadata, sort_keys=True)
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with files.replacing(path) as temporary:
        safetensors.numpy.save_file(arrays, temporary, {_METADATA: text})


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Returns the arrays of a file by name; raises as `read_metadata`."""
    _read_header(pathlib.Path(path))
    try:
        return safetensors.numpy.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"The weights file '{path}' is damaged: {error}.") from error


def _to_numpy(variable, dtype):
    array = ops.convert_to_numpy(variable)
    if dtype is None and array.dtype not in (np.float16, np.float64):
        dtype = "float32"  # Files hold no bfloat16.
    with np.errstate(over="ignore"):  # The caller looks for infinities.
        return np.asarray(array, dtype, order="C")  # A number stays one.


def read_metadata(path: str | os.PathLike) -> dict[str, object]:
    """Returns what `save_weights` wrote besides the weights.

    Args:
        path: Path of a safetensors file.

    Returns:
        For example `{"name": "resnet20", "input_shape": [28, 28, 1], ...}`; empty for
        a file of another program.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is truncated or not a safetensors file.
    """
    text = _read_header(pathlib.Path(path)).get("__metadata__", {}).get(_METADATA)
    return json.loads(text) if text else {}


def read_shapes(path: str | os.PathLike) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the weights in a file; raises as `read_metadata`."""
    header = _read_header(pathlib.Path(path))
    return {k: tuple(v["shape"]) for k, v in header.items() if k != "__metadata__"}


def _read_header(path) -> dict[str, dict]:
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise FileNotFoundError(
            f"There is no weights file '{remote.shown(path)}': expected a safetensors "
            f"file, found {found}."
        )
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else _MAX_HEADER + 1
        header = file.read(length) if length <= _MAX_HEADER else b""
    try:
        header = json.loads(header)
        entries = [v for k, v in header.items() if k != "__metadata__"]
        end = max((v["data_offsets"][1] for v in entries), default=0)
        [(v["dtype"], tuple(v["shape"])) for v in entries]  # They must be there.
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"The weights file '{path}' is not a safetensors file, or is truncated "
            f"within its header: expected a header in JSON, found {size} bytes that "
            f"start with {start!r}."
        ) from error
    expected = 8 + length + end
    if size != expected:
        raise ValueError(
            f"The weights file '{path}' is truncated or altered: expected {expected} "
            f"bytes, found {size}."
        )
    return header


def load_weights(
    model: keras.Model,
    path: str | os.PathLike,
    sha256: str | None = None,
    skip: Iterable[str] = (),
    trained_layers: Mapping[str, Mapping] | None = None,
):
    """Loads weights by layer name; a file that does not fit changes nothing.

    Every weight of the file must be used and every weight of the model found, except
    what is `optional`, such as `kernel_rho`, the spread of a random kernel: where the
    file has none of a kind, being of the plain network, they keep their initial values.

    Args:
        model: Keras model; weights of it that have no values yet, as
            `layers.keras_internals.without_values` makes them, have some then.
        path: Path of a safetensors file of 16-, 32- or 64-bit floats.
        sha256: SHA-256 of the file, if it is known.
        skip: Names of layers that keep their weights, such as `"head"`, or of such
            weights, such as `"head/bias"`. What the file has of them is left there.
        trained_layers: Settings of the layers that the weights were trained with, as
            `zoo.presets.model_config.layer_settings` has them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is truncated, altered, of another format, or does not
            fit the model, or its layers have other settings.
    """
    path = pathlib.Path(path)
    check_layers(model, trained_layers or {}, str(path))
    header = _read_header(path)
    if sha256 is not None:
        files.check(path, sha256)
    header.pop("__metadata__", None)
    wanted, found = variables(model), header
    _check_skipped(skip, {*wanted, *found}, model)
    wanted, found = _without(skip, wanted), _without(skip, found)
    kinds = {_kind(name) for name in found}
    for name in optional(model):
        if _kind(name) not in kinds:
            wanted.pop(name, None)
    problems = _problems(wanted, found)
    if problems:
        raise ValueError(
            f"The weights file '{path}' does not fit the model '{model.name}': "
            f"{'; '.join(problems)}."
        )
    try:
        with safetensors.safe_open(path, framework="np") as file:
            for name, variable in wanted.items():
                value = ops.cast(file.get_tensor(name), variable.dtype)
                keras_internals.set_value(variable, value)
    except safetensors.SafetensorError as error:
        raise ValueError(f"The weights file '{path}' is damaged: {error}.") from error
    keras_internals.set_initial_values(model.variables)


def _check_skipped(skip, names, model):
    known = {part for name in names for part in (name, _layer(name))}
    for name in skip:
        if name not in known:
            raise ValueError(
                f"The model '{model.name}' has no layer '{name}' with weights. "
                f"Received: skip={tuple(skip)}"
            )


def _without(skip, named) -> dict:
    """Leaves out weights, and those of layers."""
    return {k: v for k, v in named.items() if not {k, _layer(k)} & {*skip}}


def _problems(wanted, found) -> list[str]:
    """Says what keeps the weights of a file from being those of a model."""
    missing = [f"'{k}' {tuple(v.shape)}" for k, v in wanted.items() if k not in found]
    extra = [f"'{k}' {tuple(v['shape'])}" for k, v in found.items() if k not in wanted]
    shapes = [
        f"'{k}' has shape {tuple(found[k]['shape'])} in the file and {tuple(v.shape)} "
        "in the model"
        for k, v in wanted.items()
        if k in found and tuple(found[k]["shape"]) != tuple(v.shape)
    ]
    dtypes = [
        f"'{k}' is {v['dtype']}, not one of {', '.join(_FLOATS)}"
        for k, v in found.items()
        if v["dtype"] not in _FLOATS
    ]
    kinds = {"": shapes + dtypes, "the file lacks ": missing, "it also holds ": extra}
    return [prefix + _listed(names) for prefix, names in kinds.items() if names]


def _listed(names) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
