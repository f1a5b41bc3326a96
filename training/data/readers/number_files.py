"""Files of features and a number to predict: .csv and .npz."""

import csv
import gzip
import io
import os
import pathlib
import zipfile
import zlib

import numpy as np

from training.data.number_data import NumberData
from training.data.number_data import split as split_rows

_ENDINGS = (".csv", ".csv.gz", ".npz")
_TARGETS = ("target", "targets", "y")
_FEATURES = ("features", "X", "x", "images")
# What readers of damaged files raise.
_DAMAGED = (ValueError, EOFError, zlib.error)


def is_one(name: str | os.PathLike) -> bool:
    """Returns whether a name is that of such a file, which need not be there."""
    path, _ = _parts(name)
    return path.name.endswith(_ENDINGS)


def exists(name: str | os.PathLike) -> bool:
    """Returns whether a name is that of such a file that is there."""
    return is_one(name) and _parts(name)[0].is_file()


def absolute(name: str) -> str:
    """Returns the name with the absolute path of the file."""
    path, column = _parts(name)
    return os.path.abspath(path) + (f"#{column}" if column else "")


def load(name: str | os.PathLike, split: str) -> NumberData:
    """Reads a file.

    A `.csv` file has a line of names first, and numbers behind it. The target is the
    column that is named behind a `#`, as in `houses.csv#price`, or else the one called
    `target`, `targets` or `y`, or else the last one. All others are features.

    A `.npz` file has arrays `features` (or `X`) of shape `(examples, features)`, or
    uint8 `images`, and `targets` (or `y`) of shape `(examples,)`; those of the test set
    may be beside them under the same names behind `test_`.

    Rows that are not divided are: one in ten is for testing, see
    `training.data.number_data.split`.

    Args:
        name: Path of the file, and maybe a `#` and the name of a column.
        split: `"train"`, `"test"` or `"all"`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, a column or array is missing, or something
            is no finite number; it says where.
    """
    path, column = _parts(name)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file '{path}' to take numbers from.")
    stem = path.name
    for ending in _ENDINGS:
        stem = stem.removesuffix(ending)
    if path.suffix == ".npz":
        return _load_arrays(path, stem, column, split)
    columns, rows = _read_csv(path)
    place = _place(columns, column, path)
    others = [number for number in range(len(columns)) if number != place]
    data = NumberData(
        stem,
        rows[:, others],
        rows[:, place],
        columns=tuple(columns[number] for number in others),
        source=f"{path.name}, target {columns[place]}",
    )
    return split_rows(data, split)


def _parts(name):
    text, _, column = os.fspath(name).partition("#")
    return pathlib.Path(text), column


def _place(columns, column, path):
    if column:
        if column in columns:
            return columns.index(column)
        raise ValueError(
            f"'{path}' has no column '{column}' to predict. Known: "
            f"{', '.join(columns)}."
        )
    found = [number for number, name in enumerate(columns) if name in _TARGETS]
    return found[0] if len(found) == 1 else len(columns) - 1


def _read_csv(path):
    content = path.read_bytes()
    try:
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig")))
        lines = [line for line in reader if line]
    except (gzip.BadGzipFile, csv.Error, *_DAMAGED) as error:
        raise ValueError(f"'{path}' cannot be read: {error}") from error
    if not lines:
        raise ValueError(f"'{path}' is empty; a line of names comes first.")
    columns, *rows = ([cell.strip() for cell in line] for line in lines)
    if all(_number(cell) is not None for cell in columns):
        raise ValueError(
            f"The first line of '{path}' must have the names of the columns. Received: "
            f"{', '.join(columns[:4])}"
        )
    if len(columns) < 2 or len(set(columns)) < len(columns):
        raise ValueError(
            f"'{path}' must have a feature and a target at least, of different names. "
            f"Received: {', '.join(columns)}"
        )
    values = np.empty((len(rows), len(columns)))
    for number, row in enumerate(rows):
        if len(row) != len(columns):
            raise ValueError(
                f"Row {number + 1} of '{path}' has {len(row)} values for "
                f"{len(columns)} columns."
            )
        for place, cell in enumerate(row):
            value = _number(cell)
            if value is None or not np.isfinite(value):
                raise ValueError(
                    f"Row {number + 1} of '{path}' must have a finite number in column "
                    f"'{columns[place]}'; leave the row out, or fill it in. Received: "
                    f"'{cell}'"
                )
            values[number, place] = value
    return columns, values


def _number(cell):
    try:
        return float(cell)
    except ValueError:
        return None


def _load_arrays(path, stem, column, split):
    if column:
        raise ValueError(
            "Arrays of a .npz file have their own names. Received: "
            f"{path.name}#{column}"
        )
    if not zipfile.is_zipfile(path):
        raise ValueError(f"'{path}' is no .npz file, or is cut off.")
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, *_DAMAGED) as error:
        raise ValueError(f"'{path}' cannot be read: {error}") from error
    divided = any(name.startswith("test_") for name in arrays)
    prefix = "test_" if divided and split == "test" else ""
    found = [_array(arrays, prefix, names, path) for names in (_FEATURES, _TARGETS)]
    data = NumberData(stem, *found, source=path.name)
    if not divided:
        return split_rows(data, split)
    if split == "all":
        raise ValueError(
            f"'{path}' is divided into training and test set. Received: split=all"
        )
    return data


def _array(arrays, prefix, names, path):
    for name in names:
        if f"{prefix}{name}" in arrays:
            return arrays[f"{prefix}{name}"]
    raise ValueError(
        f"'{path}' must have an array `{prefix}{names[0]}`. Known: "
        f"{', '.join(arrays) or 'none'}."
    )
