"""Files as PyTorch writes them, in both of its formats, written without it."""

import dataclasses
import io
import pickle
import struct
import sys
import types
import zipfile
from unittest import mock

import numpy as np

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "complex128": "ComplexDoubleStorage",
    "complex64": "ComplexFloatStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
NEW_TYPES = "uint16", "uint64", "float8_e4m3fn", "float8_e5m2"


@dataclasses.dataclass(eq=False)
class Storage:
    """Bytes; `view` is a pair of a start and the storage that it is a part of."""

    array: np.ndarray
    view: tuple | None = None
    key: str = ""


@dataclasses.dataclass(eq=False)
class Tensor:
    """A view of a storage, in elements."""

    storage: Storage
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    kind: str = "v2"  # Or "v1", "v3", "parameter".


def tensor(array: np.ndarray, **options) -> Tensor:
    """Returns a tensor with a storage of its own."""
    array = np.ascontiguousarray(array).reshape(np.shape(array))
    strides = tuple(stride // array.itemsize for stride in array.strides)
    return Tensor(Storage(array.reshape(-1)), array.shape, strides, **options)


def _torch():
    """Returns modules of which a pickle can have the names."""
    names = [*STORAGES.values(), "UntypedStorage", "Size"]
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    storage = types.ModuleType("torch.storage")
    for name in names:
        owner = storage if name == "UntypedStorage" else torch
        setattr(owner, name, type(name, (), {"__module__": owner.__name__}))
    functions = {"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"}
    for name in functions | {"_rebuild_parameter"}:

        def function(*args):
            raise NotImplementedError

        function.__module__, function.__qualname__ = "torch._utils", name
        function.__name__ = name
        setattr(utils, name, function)

    for name in NEW_TYPES:
        # Pickled as the attribute of that name.
        members = {"__module__": "torch", "__reduce__": lambda self, name=name: name}
        setattr(torch, name, type(name, (), members)())
    modules = {"torch": torch, "torch._utils": utils, "torch.storage": storage}
    return torch, utils, storage, modules


class _Pickler(pickle.Pickler):
    def __init__(self, file, torch, storages, legacy, protocol):
        super().__init__(file, protocol)
        self.torch, self.storages, self.legacy = torch, storages, legacy

    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        root = value.view[1] if value.view else value
        if root not in self.storages:
            root.key = str(len(self.storages))
            self.storages.append(root)
        torch, _, storage, _ = self.torch
        name = root.array.dtype.name
        untyped = name not in STORAGES
        kind = storage.UntypedStorage if untyped else getattr(torch, STORAGES[name])
        count = root.array.nbytes if untyped else root.array.size
        pid = ("storage", kind, root.key, "cpu", count)
        if not self.legacy:
            return pid
        view = value.view and (root.key + "v", value.view[0], value.array.size)
        return (*pid, view)

    def reducer_override(self, value):
        if not isinstance(value, Tensor):
            return NotImplemented
        torch, utils, *_ = self.torch
        common = value.storage, value.offset, value.shape, value.strides
        if value.kind == "v1":
            return utils._rebuild_tensor, common
        if value.kind == "v3":
            name = value.storage.array.dtype.name
            return utils._rebuild_tensor_v3, (*common, False, {}, getattr(torch, name))
        if value.kind == "parameter":
            inner = dataclasses.replace(value, kind="v2")
            return utils._rebuild_parameter, (inner, True, {})
        return utils._rebuild_tensor_v2, (*common, False, {})


def content(value, legacy: bool, protocol: int = 2) -> bytes:
    """Returns the bytes of a file."""
    torch, storages, file = _torch(), [], io.BytesIO()
    with mock.patch.dict(sys.modules, torch[-1]):
        _Pickler(file, torch, storages, legacy, protocol).dump(value)
    if legacy:
        parts = [pickle.dumps(part, protocol) for part in (MAGIC, PROTOCOL)]
        parts.append(pickle.dumps({"little_endian": True}, protocol))
        parts += [file.getvalue(), pickle.dumps([s.key for s in storages], protocol)]
        for storage in storages:
            parts += [struct.pack("<q", storage.array.size), storage.array.tobytes()]
        return b"".join(parts)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        files = {"data.pkl": file.getvalue(), "byteorder": "little"}
        files |= {
            f"data/{storage.key}": storage.array.tobytes() for storage in storages
        }
        for name, value in (files | {"version": "3\n"}).items():
            # An entry of a fixed date: the same bytes at any time.
            packed.writestr(zipfile.ZipInfo(f"it/{name}"), value)
    return archive.getvalue()
