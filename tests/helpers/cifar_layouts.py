"""CIFAR of a few images in the layouts in which it is published."""

import pathlib
import pickle
import struct
import tarfile

import numpy as np

CLASSES = ("ant", "bee", "cat")
COARSE = ("insect", "pet")


def images(count, seed=0):
    """Returns random images, channels first, and a label of each kind."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, 3, 32, 32), np.uint8)
    fine = rng.integers(0, len(CLASSES), count)
    return pixels, fine, (fine == 2).astype(int)


def python2(value) -> bytes:
    """Returns a pickle of protocol 2 as Python 2 wrote it: its strings are bytes."""
    return b"\x80\x02" + _item(value) + b"."


def _item(value):
    if isinstance(value, str):
        content = value.encode("latin1")
        return b"T" + struct.pack("<I", len(content)) + content
    if isinstance(value, (int, np.integer)):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, (list, tuple)):
        start, end = (b"](", b"e") if isinstance(value, list) else (b"(", b"t")
        return start + b"".join(map(_item, value)) + end
    if isinstance(value, dict):
        pairs = b"".join(_item(k) + _item(v) for k, v in value.items())
        return b"}(" + pairs + b"u"
    if value is None:
        return b"N"
    return _array(value)


def _array(array):
    if array.dtype != np.uint8:
        raise TypeError(array.dtype)
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + _item((0,))
    made += _item("b") + b"\x87R"  # Of three arguments.
    dtype = b"cnumpy\ndtype\n" + _item("u1") + _item(0) + _item(1) + b"\x87R"
    dtype += _item((3, "|", None, None, None, -1, -1, 0)) + b"b"
    state = b"(" + _item(1) + _item(array.shape) + dtype + b"\x89"
    return made + state + _item(array.tobytes().decode("latin1")) + b"tb"


def write(root: pathlib.Path, name: str, count=4, dump=python2, seed=0):
    """Writes both layouts of a set and their archives.

    Args:
        root: Where the folders go.
        name: `"cifar10"` or `"cifar100"`.
        count: Images in each file.
        dump: Makes a pickle.
        seed: Seed of the pixels.

    Returns:
        By split, images with the channels last, fine and coarse labels.
    """
    batches = [f"data_batch_{n}" for n in range(1, 6)]
    ten = name == "cifar10"
    parts = {"train": batches if ten else ["train"], "test": ["test_batch"]}
    parts["test"] = parts["test"] if ten else ["test"]
    number = name.removeprefix("cifar")
    infix = "-batches" if ten else ""
    binary = root / f"cifar-{number}{infix}-{'bin' if ten else 'binary'}"
    python = root / f"cifar-{number}{infix}-{'py' if ten else 'python'}"
    expected = {}
    for folder in (binary, python):
        folder.mkdir(parents=True)
    for split, files in parts.items():
        found = []
        for file in files:
            seed += 1
            pixels, fine, coarse = images(count, seed)
            found.append((pixels.transpose(0, 2, 3, 1), fine, coarse))
            rows = pixels.reshape(count, -1)
            columns = [fine] if ten else [coarse, fine]
            columns = [column.astype(np.uint8)[:, None] for column in columns]
            np.concatenate([*columns, rows], 1).tofile(binary / f"{file}.bin")
            labels = {"labels": fine.tolist()}
            if not ten:
                labels = {
                    "fine_labels": fine.tolist(),
                    "coarse_labels": coarse.tolist(),
                }
            names = [f"{i}.png" for i in range(count)]
            content = {"batch_label": file, **labels, "data": rows, "filenames": names}
            (python / file).write_bytes(dump(content))
        expected[split] = [np.concatenate(x) for x in zip(*found, strict=True)]
    if ten:
        (binary / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n\n")
        meta = {"num_cases_per_batch": count, "label_names": list(CLASSES)}
        (python / "batches.meta").write_bytes(dump(meta))
    else:
        (binary / "fine_label_names.txt").write_text("\n".join(CLASSES) + "\n")
        (binary / "coarse_label_names.txt").write_text("\n".join(COARSE) + "\n")
        meta = {"fine_label_names": list(CLASSES), "coarse_label_names": list(COARSE)}
        (python / "meta").write_bytes(dump(meta))
    for folder, kind in ((binary, "binary"), (python, "python")):
        archive(folder, root / "archives" / f"cifar-{number}-{kind}.tar.gz")
    return expected


def archive(folder, path):
    """Packs a folder as it is published."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as packed:
        packed.add(folder, folder.name)


def python3(value) -> bytes:
    """Returns a pickle as Python 3 writes it."""
    return pickle.dumps(value)
