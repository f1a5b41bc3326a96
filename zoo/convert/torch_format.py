"""PyTorch's own files, in both of their formats, read without PyTorch.

A file of `torch.save` is a pickle of dicts and tensors, and the bytes of the tensors:
since version 1.6 a zip archive of `data.pkl` and a file for each storage, before that a
few pickles in a row, the last of which lists the storages that follow.
"""

import dataclasses
import functools
import io
import math
import os
import pathlib
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping

import numpy as np

from zoo.storage import unpickling

WRAPPERS = "state_dict", "model"  # Trainings put the weights into one of these.
_ZIP, _MAGIC, _PROTOCOL = b"PK\x03\x04", 0x1950A86A20F9469CFC6C, 1001
_OTHER = "ml_dtypes"  # Has the types that NumPy has not, by the same names.
# Types by their names, and what storages of them are called.
DTYPES = {
    "float64": ("<f8", "Double"),
    "float32": ("<f4", "Float"),
    "float16": ("<f2", "Half"),
    "bfloat16": (_OTHER, "BFloat16"),
    "complex128": ("<c16", "ComplexDouble"),
    "complex64": ("<c8", "ComplexFloat"),
    "int64": ("<i8", "Long"),
    "int32": ("<i4", "Int"),
    "int16": ("<i2", "Short"),
    "int8": ("i1", "Char"),
    "uint8": ("u1", "Byte"),
    "bool": ("?", "Bool"),
    # These have no storages of their own.
    "uint16": ("<u2", None),
    "uint32": ("<u4", None),
    "uint64": ("<u8", None),
    **{
        name: (_OTHER, None)
        for name in ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2")
        + ("float8_e5m2fnuz", "float8_e8m0fnu")
    },
}


def read_pth(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Returns the tensors of a state dict in a file of `torch.save`.

    Args:
        path: The file, `.pth`, `.pt`, `.th` or `.bin`: a state dict, or a checkpoint of
            a training that has one as `"state_dict"` or `"model"`.

    Returns:
        Arrays by name; what is not float32 among the floating-point numbers becomes so.

    Raises:
        ValueError: If the file is damaged, or holds anything but named tensors.
    """
    state = load(path)
    for key in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    tensors = isinstance(state, dict) and [
        isinstance(value, np.ndarray) for value in state.values()
    ]
    if not tensors or not all(tensors):
        found = type(state).__name__
        if isinstance(state, dict) and state:
            key = next(k for k, v in state.items() if not isinstance(v, np.ndarray))
            found = f"'{key}' with a {type(state[key]).__name__}"
        raise ValueError(
            f"'{path}' is not a state dict: expected tensors by name, found {found}."
        )
    return {str(key): _to_float32(array) for key, array in state.items()}


def _to_float32(array):
    if array.dtype.kind != "f" and array.dtype.name not in _FLOATS:
        return array
    with np.errstate(over="ignore"):  # Infinite weights are refused where they go.
        return array.astype("float32", copy=False)


_FLOATS = [name for name, (kind, _) in DTYPES.items() if kind == _OTHER]


def load(path: str | os.PathLike):
    """Reads a file of `torch.save`.

    Tensors and parameters become arrays. Optimizers keep dicts, lists and numbers in
    their states, so whole checkpoints can be read. Every other class in the file, which
    might run any program, is refused by its name.

    Args:
        path: The file.

    Returns:
        What was saved.

    Raises:
        FileNotFoundError: If there is no such file.
        unpickling.RefusedError: If the file names another class.
        ValueError: If it is damaged or of another program.
    """
    content = pathlib.Path(path).read_bytes()
    read = _read_zip if content.startswith(_ZIP) else _read_legacy
    try:
        return _resolved(read(io.BytesIO(content), path), {})
    except unpickling.RefusedError:
        raise
    except (
        *(pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, EOFError),
        *(LookupError, TypeError, ValueError, NotImplementedError, RuntimeError),
        *(struct.error, MemoryError, OverflowError, RecursionError),
    ) as error:
        raise ValueError(
            f"'{path}' is truncated, altered or not a file of PyTorch: {error}"
        ) from error


@dataclasses.dataclass
class _Storage(unpickling.Finished):
    """The bytes of one or more tensors, which may be read later."""

    dtype: str
    count: int
    content: bytes = b""
    start: int = 0  # Of a part of another storage, in elements.
    whole: "_Storage | None" = None

    @functools.cached_property
    def array(self) -> np.ndarray:
        """Returns its elements."""
        if self.whole is not None:
            part = self.whole.array[self.start : self.start + self.count]
        else:
            part = np.frombuffer(self.content, dtype_of(self.dtype))
        if len(part) != self.count:
            raise ValueError(
                f"a storage has {len(part)} elements in place of {self.count}"
            )
        return part


@dataclasses.dataclass
class _Tensor(unpickling.Finished):
    """A view of a storage, which is made when everything was read."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str | None = None

    @functools.cached_property
    def array(self) -> np.ndarray:
        """Returns a view that does not leave the storage.

        Raises:
            ValueError: If it would.
        """
        flat = self.storage.array
        if self.dtype is not None:
            flat = flat.view(dtype_of(self.dtype))
        numbers = (self.offset, *self.shape, *self.strides)
        if not all(type(n) is int and n >= 0 for n in numbers):
            raise ValueError(f"a tensor of shape {self.shape}, strides {self.strides}")
        steps = zip(self.shape, self.strides, strict=True)
        last = self.offset + sum((size - 1) * stride for size, stride in steps)
        if math.prod(self.shape) and last >= len(flat):
            raise ValueError(f"a tensor that ends behind its storage of {len(flat)}")
        # Types that NumPy has not are in no buffer but as bytes.
        size, content = flat.itemsize, flat.view(np.uint8)
        strides = [stride * size for stride in self.strides]
        start = min(self.offset, len(flat)) * size
        return np.ndarray(self.shape, flat.dtype, content, start, strides)


def dtype_of(name: str) -> np.dtype:
    """Returns the type of that name in PyTorch.

    Raises:
        ValueError: If it is not known.
    """
    if name not in DTYPES:
        raise ValueError(f"a tensor of the type {name}")
    kind = DTYPES[name][0]
    if kind != _OTHER:
        return np.dtype(kind)
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, name))


def _tensor(storage, offset, shape, strides, *_):
    return _Tensor(storage, offset, shape, strides)


def _tensor_of_type(storage, offset, shape, strides, grad, hooks, dtype, *_):
    return _Tensor(storage, offset, shape, strides, dtype)


def _allowed() -> dict[str, object]:
    """Returns what stands for the classes and functions of PyTorch."""
    storages = {
        f"{module}.{kind}Storage": name
        for name, (_, kind) in DTYPES.items()
        for module in ("torch", "torch.cuda")
        if kind
    }
    return {
        **storages,
        **{f"torch.{name}": name for name in DTYPES},
        "torch.storage.UntypedStorage": "uint8",
        "torch._utils._rebuild_tensor": _tensor,
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_tensor_v3": _tensor_of_type,
        "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
        "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
        "torch.Size": tuple,
        "torch.device": lambda *parts: ":".join(map(str, parts)),
        "collections.OrderedDict": unpickling.Dict,
        "builtins.set": set,
        "__builtin__.set": set,
        "_codecs.encode": unpickling.encode,
    }


_ALLOWED: Mapping[str, object] = _allowed()


def _unpickle(file, path, persistent: Callable | None = None):
    return unpickling.load(file, path, _ALLOWED, persistent, encoding="utf-8")


def _read_zip(file, path):
    with zipfile.ZipFile(file) as archive:
        pickles = [n for n in archive.namelist() if n.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise ValueError(f"a zip archive with {len(pickles)} files data.pkl")
        if any(file.compress_type != zipfile.ZIP_STORED for file in archive.filelist):
            raise ValueError("a compressed zip archive")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist():
            order = archive.read(f"{folder}byteorder")
            if order != b"little":
                raise ValueError(f"the order of bytes is {order}, not little")
        storages = {}

        def storage(pid):
            word, dtype, key, _, count = pid
            if word != "storage" or not isinstance(key, str):
                raise ValueError(f"a reference to {word}")
            if key not in storages:
                content = archive.read(f"{folder}data/{key}")
                storages[key] = _Storage(dtype, count, content)
            return storages[key]

        return _unpickle(io.BytesIO(archive.read(pickles[0])), path, storage)


def _read_legacy(file, path):
    for expected in (_MAGIC, _PROTOCOL):
        found = _unpickle(file, path)
        if found != expected:
            raise ValueError(f"it begins with {found!r}")
    _unpickle(file, path)  # The sizes of types of that machine.
    storages = {}

    def storage(pid):
        word, dtype, key, _, count, view = pid
        if word != "storage":
            raise ValueError(f"a reference to {word}")
        whole = storages.setdefault(key, _Storage(dtype, count))
        if view is None:
            return whole
        _, start, length = view
        return _Storage(dtype, length, start=start, whole=whole)

    found = _unpickle(file, path, storage)
    for key in _unpickle(file, path):
        own = storages[key]
        (count,) = struct.unpack("<q", file.read(8))
        if count != own.count:
            raise ValueError(f"a storage has {count} elements in place of {own.count}")
        own.content = file.read(count * dtype_of(own.dtype).itemsize)
    return found


def _resolved(value, seen):
    """Returns nested containers with arrays in the places of tensors."""
    if isinstance(value, _Tensor):
        return value.array
    if not isinstance(value, (dict, list, tuple)):
        return value
    if id(value) not in seen:
        seen[id(value)] = value  # It may hold itself.
        if isinstance(value, dict):
            new = {k: _resolved(v, seen) for k, v in value.items()}
        else:
            new = type(value)(_resolved(item, seen) for item in value)
        seen[id(value)] = new
    return seen[id(value)]
