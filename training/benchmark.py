"""The whole of an evaluation: models, data sets by name, and a folder of results."""

import os
import pathlib
from collections.abc import Sequence

from training import data, evaluate, report
from training.data import ImageData

# What an evaluation writes into its folder.
_FILES = ("predictions", "rows.jsonl", "table.md", "ensemble_size.png", "report.html")


def run(
    models: Sequence,
    datasets: Sequence[str],
    folder: str | os.PathLike,
    limit: int | None = None,
    data_dir: str | None = None,
    **options,
) -> tuple[list[dict], list[pathlib.Path]]:
    """Evaluates models on data sets and writes rows, tables and figures.

    The predictions are kept in the folder, so the same call goes on where it was
    interrupted, and takes what is there for other metrics.

    Args:
        models: Models or posteriors.
        datasets: Names or patterns of test sets; see `training.data.expand`.
        folder: For the results: a new one, or one of an earlier call.
        limit: Takes only the first images of each set.
        data_dir: See `training.data.load`.
        **options: See `training.evaluate.evaluate_all`.

    Returns:
        The rows, and the files that were written.

    Raises:
        ValueError: If a name is not known, data and models do not fit together, or the
            folder is of something else.
    """
    folder = pathlib.Path(folder)
    check_folder(folder)
    names = expand(datasets)
    # Loaded one by one, when it is its turn.
    tests = (load(name, limit, data_dir) for name in names)
    rows = evaluate.evaluate_all(
        models, tests, folder / "predictions", num_datasets=len(names), **options
    )
    return rows, write(rows, folder)


def expand(patterns: Sequence[str]) -> list[str]:
    """Returns the names of the data sets of several patterns, each once."""
    names = [name for pattern in patterns for name in data.expand(pattern)]
    if not names:
        raise ValueError("No data set is named. Received: datasets=[]")
    return list(dict.fromkeys(names))


def load(name: str, limit: int | None, data_dir: str | None) -> ImageData:
    """Returns the first test images of a data set."""
    return data.load(name, "test", data_dir).take(limit)


def check_folder(folder: pathlib.Path):
    """Checks that a folder is new, empty or that of an evaluation.

    Raises:
        ValueError: If it holds something else.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"'{folder}' is a file; give a folder for the results.")
    found = sorted(path.name for path in folder.iterdir())
    if found and not set(found) & set(_FILES):
        raise ValueError(
            f"The folder '{folder}' is not that of an evaluation: it holds "
            f"{', '.join(found[:3])}. Give a new one."
        )


def write(rows: Sequence[dict], folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes rows, a table and a figure, and returns their paths."""
    first = [row for row in rows if row["dataset"] == rows[0]["dataset"]]
    paths = [folder / name for name in ("rows.jsonl", "table.md", "ensemble_size.png")]
    report.write_rows(rows, paths[0])
    report.write_table(rows, paths[1])
    report.plot_ensemble_size(first, paths[2])
    return paths
