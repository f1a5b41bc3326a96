"""Findings as files, so that the same command goes on where it was interrupted."""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from training.analysis.base import Finding
from training.evaluation.predictions import folder_of
from training.report import rows as report_rows
from zoo.storage import files, remote, urls

FOLDER = "findings"  # Inside of that of the results.
_META = "meta"  # The array that says what was computed.
_ROWS, _ARRAYS = "rows.jsonl", "arrays.npz"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the finding of an analysis of a model, or a pair, on a data set lies.

    Attributes:
        root: The folder of the results.
        analysis: Name of the analysis.
        model: Name of the model, or of the pair.
        dataset: Name of the data set.
    """

    root: str | os.PathLike
    analysis: str
    model: str
    dataset: str

    @property
    def folder(self) -> pathlib.Path:
        """Its folder; it holds `rows.jsonl`, `arrays.npz`, and what is not whole."""
        root = pathlib.Path(self.root, FOLDER, self.analysis)
        return folder_of(root, self.model, self.dataset)

    def partial(self, meta: Mapping) -> pathlib.Path:
        """Returns a folder for what is computed before all of it is."""
        text = json.dumps(meta, sort_keys=True).encode()
        return self.folder / f"partial_{hashlib.sha256(text).hexdigest()[:12]}"

    def read(self, meta: Mapping | None = None) -> Finding | None:
        """Returns what lies there, or None if there is nothing.

        Args:
            meta: What was computed, as `write` took it. Without it, whatever is there.
        """
        paths = self.folder / _ROWS, self.folder / _ARRAYS
        for path in paths:
            remote.fetch(path)
        if not all(path.is_file() for path in paths):
            return None
        with np.load(paths[1], allow_pickle=False) as stored:
            arrays = dict(stored)
        found = json.loads(str(arrays.pop(_META)))
        if meta is not None and found != json.loads(json.dumps(meta)):
            return None
        return Finding(report_rows.read_rows(paths[0]), arrays)

    def write(self, finding: Finding, meta: Mapping):
        """Writes a finding; both of its files appear whole or not at all.

        Args:
            finding: Its rows have the facts of `training.analysis.command` too.
            meta: What was computed: anything that JSON takes.
        """
        if _META in finding.arrays:
            raise ValueError(f"An array is called otherwise. Received: '{_META}'")
        arrays = {**finding.arrays, _META: np.array(json.dumps(meta))}
        report_rows.write_rows(finding.rows, self.folder / _ROWS)
        # The arrays are last, for they say what was computed.
        with (
            files.replacing(self.folder / _ARRAYS) as path,
            open(path, "wb") as file,
        ):
            np.savez_compressed(file, **arrays)


def all_places(root: str | os.PathLike) -> Iterator[tuple[Place, Finding]]:
    """Yields the places and findings of a folder of results.

    Args:
        root: That folder.
    """
    _fetch(pathlib.Path(root, FOLDER))
    for path in sorted(pathlib.Path(root, FOLDER).rglob(_ARRAYS)):
        rows = report_rows.read_rows(path.with_name(_ROWS))
        if rows:
            names = (rows[0][key] for key in ("analysis", "model", "dataset"))
            place = Place(root, *names)
            if (finding := place.read()) is not None:
                yield place, finding


def _fetch(folder):
    """Reads all findings below a folder from behind a URL, if it lies in a copy."""
    copy = remote.find(folder)
    for name in urls.listed(copy.url_of(folder)) if copy else ():
        if name in (_ROWS, _ARRAYS):
            remote.fetch(folder / name)
        else:
            _fetch(folder / name)
