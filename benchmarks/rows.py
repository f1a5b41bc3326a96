"""Rows of measurements in a file, for a benchmark that goes on where it was stopped."""

import json
import pathlib


class Rows:
    """Rows in a file, to which new ones are added.

    What follows the last end of a line was not whole when it was written: it is cut off
    with the first new row, and measured again.

    Args:
        path: Path of the file, `.jsonl`, which need not be there; None to keep rows in
            memory alone.
    """

    def __init__(self, path: pathlib.Path | None = None):
        self.path = path
        self._size = 0
        self.rows = []
        if path is not None and path.exists():
            whole, end, _ = path.read_bytes().rpartition(b"\n")
            self._size = len(whole + end)
            self.rows = [json.loads(line) for line in whole.splitlines()]

    def find(self, **fields) -> dict | None:
        """Returns the first row with these fields, None if there is none."""
        found = (row for row in self.rows if fields.items() <= row.items())
        return next(found, None)

    def add(self, row: dict) -> None:
        """Adds a row."""
        self.rows.append(row)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            line = json.dumps(row).encode() + b"\n"
            with self.path.open("ab") as file:
                file.truncate(self._size)
                file.write(line)
            self._size += len(line)
