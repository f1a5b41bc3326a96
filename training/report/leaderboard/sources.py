"""Where the rows of a leaderboard come from: files and folders of several kinds."""

import fnmatch
import functools
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from training.report.leaderboard import admission, data_file, published
from training.report.rows import read_rows
from zoo import dataset_name, spelling

# What a folder is read by, the first of these that is there.
_IN_FOLDERS = ("rows.jsonl", "results.jsonl", data_file.FILE)


def read(places: Iterable[str | os.PathLike], ours: bool = False) -> list[dict]:
    """Returns the rows of any number of files and folders, each value once.

    Args:
        places: Rows of `zoo-evaluate` or its folders, published folders, data of other
            leaderboards, and `.npz` files of predictions or folders of these; see
            `training.evaluation.prediction_files`.
        ours: Whether those that are published with this package come first.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If there are no rows; one cannot be taken; two are of one thing; or
            some of one data set are of different images.
    """
    parts = []
    if ours:
        parts.append(admission.admit(published.rows(), published.NAME))
    paths = [_inside(pathlib.Path(place)) for place in places]
    parts += [admission.admit(_rows(path), str(path)) for path in paths]
    if not parts:
        raise ValueError(
            "A leaderboard needs rows; name files or folders of `zoo-evaluate`, or "
            "take those that are published. Received: rows=[], published=False"
        )
    return admission.joined(parts)


def _inside(path) -> pathlib.Path:
    """Returns the file of rows in a folder, or what was given."""
    found = (path / name for name in _IN_FOLDERS if (path / name).is_file())
    return next(found, path)


def _rows(path) -> list[dict]:
    if path.is_dir():
        if files := sorted(path.rglob("*.npz")):
            return _predicted(files)
        raise ValueError(
            f"There are no rows in the folder '{path}'. One of `zoo-evaluate` has "
            "rows.jsonl, and one of predictions .npz files."
        )
    if not path.is_file():
        raise FileNotFoundError(f"There is no file or folder '{path}' to take rows of.")
    if path.suffix == ".npz":
        return _predicted([path])
    return data_file.read(path) if path.suffix == ".json" else read_rows(path)


def _predicted(files):
    from training.evaluation import prediction_files  # It imports what computes.

    return prediction_files.rows(files)


def select(
    rows: Sequence[Mapping],
    models: Iterable[str] = (),
    datasets: Iterable[str] = (),
) -> list[Mapping]:
    """Returns the rows of some models and data sets.

    Args:
        rows: Rows of `read`.
        models: Names or patterns such as `"resnet20*"`; all if there are none.
        datasets: The same for clean data sets, with what is derived from them.

    Raises:
        ValueError: If there is none of such a name; the message names the files.
    """
    chosen = _chosen(rows, "model", models, lambda row: row["model"])
    return _chosen(chosen, "dataset", datasets, clean)


def _chosen(rows, field, patterns, name_of):
    patterns = list(patterns)
    if not patterns:
        return rows
    known = dict.fromkeys(map(name_of, rows))
    for pattern in patterns:
        if not fnmatch.filter(known, pattern):
            files = ", ".join(f"'{file}'" for file in dict.fromkeys(_files(rows)))
            raise ValueError(
                f"There is no {field} '{pattern}' in {files}."
                f"{spelling.hint(pattern, known)} Known: {', '.join(known)}. Received: "
                f"{field}={','.join(patterns)}"
            )
    return [
        row
        for row in rows
        if any(fnmatch.fnmatchcase(name_of(row), pattern) for pattern in patterns)
    ]


def _files(rows):
    return (row.get("file", "") for row in rows)


def clean(row: Mapping) -> str:
    """Returns the clean data set that a row belongs to, whatever the image size."""
    return str(unsized(dataset_name.parse(row["dataset"])).clean)


@functools.lru_cache(maxsize=10_000)
def unsized(name: dataset_name.DatasetName) -> dataset_name.DatasetName:
    """Returns the name of a data set without the sizes that its images got."""
    changes = tuple(change for change in name.changes if change[0] != "size")
    return dataset_name.DatasetName(name.base, changes, name.other, name.count)
