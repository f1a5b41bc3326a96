r"""What PyTorch saves and loads again, for `test_torch_format.py`.

    PYTHON tests/helpers/torch_saved.py FOLDER

PYTHON has torch. FOLDER gets each value in both formats, as `NAME-zip.pt` and
`NAME-legacy.pt`, and what `torch.load(weights_only=True)` makes of it as a `.json`
beside it, with the bytes of tensors in hexadecimal digits.
"""

import json
import pathlib
import sys

import torch

TYPES = (
    *("float64", "float32", "float16", "bfloat16", "complex128", "complex64", "int64"),
    *("int32", "int16", "int8", "uint8", "bool"),
)
# Without storages of their own; PyTorch cannot read them in its old format.
NEW_TYPES = (
    *("uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e4m3fnuz"),
    *("float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
)


def values():
    """Returns a dozen values, of all types, views and containers."""
    torch.manual_seed(0)
    many, new = (
        {n: (torch.rand(3, 5) * 100).to(getattr(torch, n)) for n in names}
        for names in (TYPES, NEW_TYPES)
    )
    base = torch.randn(6, 10)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2)
    )
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    sum(p.sum() for p in network.parameters()).backward()
    optimizer.step()
    image = torch.randn(2, 3, 4, 5)
    return {
        "types": many,
        "new_types": new,
        "views": {"t": base.T, "s": base[1::2, ::3], "e": base[0].expand(3, 10)},
        "shared": {"a": base, "b": base[2], "c": base.view(-1)[5:9], "d": base},
        "empty": {"a": torch.empty(0, 3), "b": torch.tensor(3.5), "c": base[:0]},
        "state_dict": network.state_dict(),
        "parameter": {"p": torch.nn.Parameter(torch.randn(2, 2))},
        "checkpoint": {
            "epoch": 3,
            "state_dict": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "rng": torch.get_rng_state(),
        },
        "bfloat16": {"a": torch.randn(4, 4).to(torch.bfloat16).T},
        "channels_last": {"a": image.to(memory_format=torch.channels_last)},
        "complex": {"a": torch.randn(3, dtype=torch.complex64)},
        "plain": {"a": torch.Size([1, 2]), "b": [1, (2, 3.5)], "c": None, "d": "x"},
        "large": {"a": torch.arange(100_000)},
        "scalar_view": {"a": base[3, 4]},
    }


def described(value):
    """Returns what JSON takes."""
    if torch.is_tensor(value):
        value = value.detach()
        flat = value.contiguous().reshape(-1)
        return {
            "dtype": str(value.dtype).removeprefix("torch."),
            "shape": list(value.shape),
            "bytes": bytes(flat.view(torch.uint8).tolist()).hex(),
        }
    if isinstance(value, dict):
        return {"dict": [[key, described(item)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [described(item) for item in value]
    return value


def main(folder):
    """Writes the files."""
    for name, value in values().items():
        for kind in ("zip",) if name == "new_types" else ("zip", "legacy"):
            path = pathlib.Path(folder, f"{name}-{kind}.pt")
            is_zip = kind == "zip"
            torch.save(value, path, _use_new_zipfile_serialization=is_zip)
            loaded = torch.load(path, map_location="cpu", weights_only=True)
            text = json.dumps(described(loaded))
            path.with_suffix(".json").write_text(text)


if __name__ == "__main__":
    main(sys.argv[1])
