"""PyTorch's files without PyTorch, and with it where there is one.

`SMOOTHZOO_TORCH_PYTHON` is a Python that has it, if this one has not; see
`test_timm.py`.
"""

import collections
import importlib.util
import io
import json
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest

from tests.helpers import torch_files, torch_states
from tests.helpers.torch_files import Storage, Tensor, tensor
from zoo import convert
from zoo.convert import torch_format
from zoo.storage import unpickling

RNG = np.random.default_rng(0)
FORMATS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


def written(path, value, legacy, **options):
    path.write_bytes(torch_files.content(value, legacy, **options))
    return torch_format.load(path)


def some(name, shape=(3, 4)):
    kind = torch_format.dtype_of(name)
    if kind.kind == "c":
        return (RNG.normal(size=shape) + 1j * RNG.normal(size=shape)).astype(kind)
    if kind.kind in "iu":
        info = np.iinfo(kind)
        return RNG.integers(info.min, info.max, shape, dtype=kind, endpoint=True)
    if kind.kind == "b":
        return RNG.random(shape) < 0.5
    return RNG.normal(size=shape).astype(kind)


@FORMATS
@pytest.mark.parametrize("name", torch_files.STORAGES)
def test_every_type_comes_back_bit_for_bit(name, legacy, tmp_path):
    array = some(name)
    found = written(tmp_path / "x.pt", {"a": tensor(array)}, legacy)["a"]
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()


@FORMATS
@pytest.mark.parametrize("protocol", [2, 4])
def test_views_of_one_storage_are_what_they_were(legacy, protocol, tmp_path):
    base = RNG.normal(size=60).astype("float32")
    storage = Storage(base)
    part = Storage(base[10:40], view=(10, storage))
    grid = base.reshape(5, 12)
    views = {
        "all": (Tensor(storage, (5, 12), (12, 1)), grid),
        "transposed": (Tensor(storage, (12, 5), (1, 12)), grid.T),
        "every third": (Tensor(storage, (5, 4), (12, 3), 2), grid[:, 2::3]),
        "expanded": (Tensor(storage, (3, 2), (0, 1), 7), np.tile(base[7:9], (3, 1))),
        "scalar": (Tensor(storage, (), (), 59), base[59]),
        "empty": (Tensor(storage, (0, 4), (4, 1), 60), np.empty((0, 4))),
        "old": (Tensor(storage, (2, 3), (3, 1), 1, "v1"), base[1:7].reshape(2, 3)),
        "parameter": (Tensor(storage, (4,), (1,), 0, "parameter"), base[:4]),
    }
    if legacy:
        views["part"] = Tensor(part, (3, 10), (10, 1)), base[10:40].reshape(3, 10)
    value = {name: made for name, (made, _) in views.items()}
    found = written(tmp_path / "x.pt", value, legacy, protocol=protocol)
    for name, (_, expected) in views.items():
        np.testing.assert_array_equal(found[name], expected, name)


@pytest.mark.parametrize("name", torch_files.NEW_TYPES)
def test_types_without_a_storage_of_their_own(name, tmp_path):
    array = some(name, (6,))
    value = {"a": Tensor(Storage(array), (3, 2), (1, 3), kind="v3")}
    found = written(tmp_path / "x.pt", value, legacy=False)["a"]
    assert found.dtype == array.dtype
    assert found.tobytes() == array.reshape(2, 3).T.tobytes()


@FORMATS
def test_a_whole_checkpoint_is_read(legacy, tmp_path):
    state = torch_states.resnet(depths=(1, 1, 1, 1), base=4)
    tensors = collections.OrderedDict((k, tensor(v)) for k, v in state.items())
    tensors._metadata = {"": {"version": 1}}  # PyTorch's has it.
    shared = tensor(np.ones(3, "float32"))
    checkpoint = {
        "epoch": 7,
        "best": 0.5,
        "names": ("a", b"b", {"c"}, None, [True]),
        "optimizer": {"state": {0: {"momentum": shared, "again": shared}}},
        "state_dict": {f"module.{key}": value for key, value in tensors.items()},
    }
    path = tmp_path / "checkpoint.pth"
    found = written(path, checkpoint, legacy)
    assert found["names"] == ("a", b"b", {"c"}, None, [True])
    assert found["epoch"] == 7
    np.testing.assert_array_equal(found["optimizer"]["state"][0]["again"], [1, 1, 1])
    for suffix in ("pth", "pt", "th", "bin"):
        path.with_suffix(f".{suffix}").write_bytes(path.read_bytes())
        source = convert.read(path.with_suffix(f".{suffix}"))
        assert set(source.state) == set(state)
        for key, array in state.items():
            np.testing.assert_array_equal(source.state[key], array)
    found = written(path, {"model": tensors}, legacy)["model"]
    assert list(found) == list(state)


def test_floats_of_any_width_become_float32(tmp_path):
    arrays = {n: some(n) for n in ("float64", "float16", "bfloat16", "int64")}
    path = tmp_path / "x.pt"
    written(path, {name: tensor(array) for name, array in arrays.items()}, False)
    for name, array in torch_format.read_pth(path).items():
        kind = "int64" if name == "int64" else "float32"
        np.testing.assert_array_equal(array, arrays[name].astype(kind))
        assert array.dtype == kind


class Global:
    """Pickled, a call of a function by its name."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return pickle.loads, (b"",)


def refused_content(name, legacy):
    """Returns a file in which the function `pickle.loads` has another name."""
    made = torch_files.content({"a": Global(name)}, legacy)
    module, function = name.split(" ")
    old, new = pickle.dumps(pickle.loads, 2)[2:-3], f"c{module}\n{function}\n".encode()
    if legacy:
        assert old in made
        return made.replace(old, new)
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        contents = {n: archive.read(n) for n in archive.namelist()}
    assert old in contents["it/data.pkl"]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for n, part in contents.items():
            archive.writestr(n, part.replace(old, new))
    return file.getvalue()


@FORMATS
@pytest.mark.parametrize(
    "name",
    [
        *("os system", "builtins eval", "builtins getattr", "subprocess Popen"),
        *("argparse Namespace", "numpy.core.multiarray scalar", "torch.nn.modules A"),
        *("collections Counter", "torch.jit load", "torch FloatTensor", "functools x"),
        *("torch QInt8Storage", "torch._utils _rebuild_qtensor", "pickle loads"),
    ],
)
def test_every_other_class_is_refused_by_its_name(name, legacy, tmp_path):
    path = tmp_path / "bad.pth"
    path.write_bytes(refused_content(name, legacy))
    full = name.replace(" ", r"\.")
    with pytest.raises(ValueError, match=f"bad.pth' holds an object of '{full}'"):
        convert.read(path)


@FORMATS
@pytest.mark.parametrize(
    "made, message",
    [
        (Tensor(Storage(np.ones(6, "f4")), (2, 4), (4, 1)), "ends behind its storage"),
        (Tensor(Storage(np.ones(6, "f4")), (2,), (-1,), 3), "strides"),
        (Tensor(Storage(np.ones(6, "f4")), (2,), (1,), -1), "shape"),
        (Tensor(Storage(np.ones(6, "f4")), (2, 2), (1,)), "argument|strict|shorter"),
        (Tensor(Storage(np.ones(6, "f4")), (True,), (1,)), "shape"),
    ],
)
def test_a_tensor_does_not_leave_its_storage(made, message, legacy, tmp_path):
    with pytest.raises(ValueError, match=f"x.pt' is truncated.*{message}"):
        written(tmp_path / "x.pt", {"a": made}, legacy)


@FORMATS
def test_a_file_cut_anywhere_is_named(legacy, tmp_path):
    path = tmp_path / "cut.pth"
    whole = torch_files.content({"a": tensor(np.arange(500.0))}, legacy)
    for size in (*range(0, len(whole), 97), len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="cut.pth' (is|holds)"):
            torch_format.read_pth(path)


@FORMATS
def test_altered_bytes_are_an_error_or_another_state(legacy, tmp_path):
    path, rng = tmp_path / "altered.pth", np.random.default_rng(0)
    whole = torch_files.content({"a": tensor(np.arange(8.0))}, legacy)
    for _ in range(100):
        content = bytearray(whole)
        for place in rng.integers(len(whole), size=3):
            content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            state = torch_format.read_pth(path)
        except ValueError as error:
            message = str(error)
        else:
            message = path.name
            assert all(isinstance(array, np.ndarray) for array in state.values())
        assert path.name in message


@pytest.mark.parametrize(
    "value, message",
    [
        ([tensor(np.ones(2))], "found list"),
        ({}, "found dict"),
        ({"lr": 0.1}, "found 'lr' with a float"),
        ({"a": {"b": tensor(np.ones(2))}}, "found 'a' with a dict"),
    ],
)
def test_what_is_no_state_dict_is_refused(value, message, tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(torch_files.content(value, legacy=False))
    with pytest.raises(ValueError, match=f"x.pth' is not a state dict.*{message}"):
        torch_format.read_pth(path)


def test_other_files_are_named(tmp_path):
    path = tmp_path / "other.bin"
    for content in (b"", b"text", pickle.dumps({"a": 1}), b"PK\x03\x04", bytes(100)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="other.bin'"):
            torch_format.read_pth(path)
    compressed = io.BytesIO()
    with zipfile.ZipFile(compressed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("it/data.pkl", pickle.dumps({}))
    path.write_bytes(compressed.getvalue())
    with pytest.raises(ValueError, match="other.bin'.*compressed"):
        torch_format.read_pth(path)


def legacy_with(program: bytes) -> bytes:
    """Returns a file with a program of its own in the place of its pickle."""
    head = torch_files.content({}, legacy=True)
    begin = head.index(pickle.dumps({}, 2))
    return head[:begin] + program + pickle.dumps([], 2)


REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


@pytest.mark.parametrize(
    "program",
    [
        REBUILD + b"}U\x01aK\x01sb.",  # Attributes of a function.
        REBUILD + b"(N}U\x01aK\x01stb.",  # Its slots.
        b"ccollections\nOrderedDict\n}U\x06updateK\x01sb.",
        b"ctorch\nFloatStorage\n)R.",  # A name is not called.
        b"K\x01r\xff\xff\xff\xff.",  # A memo of 2**32 items.
        b"\x82\x01.",  # An extension by its number.
        b"(" * 10 + b".",
        b"]" * 20000 + b"a" * 19999 + b".",  # Nested too deep.
    ],
)
def test_a_program_changes_nothing_and_takes_no_memory(program, tmp_path):
    path = tmp_path / "program.pth"
    path.write_bytes(legacy_with(b"\x80\x02" + program))
    with pytest.raises(ValueError, match="program.pth'"):
        torch_format.read_pth(path)
    assert torch_format._tensor(1, 2, 3, 4).offset == 2
    assert unpickling.Dict(a=1) == {"a": 1}


def test_an_ordered_dict_loses_what_hides_its_methods(tmp_path):
    path = tmp_path / "program.pth"
    hiding = b"ccollections\nOrderedDict\n)R}U\x05itemsK\x01sb."
    path.write_bytes(legacy_with(b"\x80\x02" + hiding))
    assert torch_format.load(path) == {}


def test_a_storage_that_says_another_length_is_refused(tmp_path):
    path = tmp_path / "x.pth"
    whole = torch_files.content({"a": tensor(np.arange(8.0))}, legacy=True)
    end = len(whole) - 64
    assert struct.unpack("<q", whole[end - 8 : end]) == (8,)
    path.write_bytes(whole[: end - 8] + struct.pack("<q", 7) + whole[end:])
    with pytest.raises(ValueError, match="x.pth'.*7 elements in place of 8"):
        torch_format.load(path)


def assert_described(found, expected):
    """Compares with what `torch_saved.py` says, bit for bit."""
    if isinstance(expected, dict) and "bytes" in expected:
        kind = torch_format.dtype_of(expected["dtype"])
        assert (found.dtype, list(found.shape)) == (kind, expected["shape"])
        assert np.ascontiguousarray(found).tobytes().hex() == expected["bytes"]
    elif isinstance(expected, dict):
        assert list(found) == [key for key, _ in expected["dict"]]
        for key, value in expected["dict"]:
            assert_described(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_described(one, other)
    else:
        assert found == expected


@pytest.mark.slow
def test_what_pytorch_writes_is_what_pytorch_reads(tmp_path):
    python = os.environ.get("SMOOTHZOO_TORCH_PYTHON")
    if python is None and importlib.util.find_spec("torch"):
        python = sys.executable
    if python is None:
        pytest.skip("no Python with torch here; SMOOTHZOO_TORCH_PYTHON may name one")
    script = pathlib.Path(__file__).with_name("torch_saved.py")
    subprocess.run([python, script, tmp_path], check=True)
    paths = sorted(tmp_path.glob("*.pt"))
    assert len(paths) >= 24
    for path in paths:
        expected = json.loads(path.with_suffix(".json").read_text())
        assert_described(torch_format.load(path), expected)


def test_bfloat16_is_the_upper_half_of_float32(tmp_path):
    array = np.array([1.0, -2.5, 3.140625], ml_dtypes.bfloat16)
    path = tmp_path / "x.pt"
    written(path, {"a": tensor(array)}, True)
    bits = array.view("u2").astype("u4") << 16
    np.testing.assert_array_equal(torch_format.read_pth(path)["a"], bits.view("f4"))
