"""What benchmarks share: measuring in rounds, and peers."""

import json
import pathlib
import subprocess
import time

import numpy as np


class Peer:
    """A program of a file beside this one, in a Python of its own.

    It prints a line of JSON, `about`, and then one for each that it reads.
    """

    def __init__(self, python: str, file: str, threads: int):
        script = pathlib.Path(__file__).with_name(file)
        command = [python, "-W", "ignore", str(script), str(threads)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, **pipes)
        self.about = json.loads(self._process.stdout.readline())

    def ask(self, *job) -> list:
        """Returns the answer to a line."""
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def stop(self):
        """Ends the process."""
        self._process.communicate()


def timed(function) -> list:
    """Returns the seconds that a call takes, and those of the processor."""
    start, used = time.perf_counter(), time.process_time()
    function()
    return [time.perf_counter() - start, time.process_time() - used]


def measure(columns: dict, rounds: int) -> dict:
    """Returns arrays of shape `(rounds, 2)` by column, of seconds."""
    for run in columns.values():
        run()  # Compiles.
    rows = [[run() for run in columns.values()] for _ in range(rounds)]
    return dict(zip(columns, np.array(rows).transpose(1, 0, 2), strict=True))
