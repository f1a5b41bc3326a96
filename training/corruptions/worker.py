"""Processes that corrupt parts of an array.

They are started as commands and not by `multiprocessing`, which would fork a process
with the threads of TensorFlow or import the user's program once more.
"""

import atexit
import json
import os
import subprocess
import sys

import numpy as np

_PROGRAM = "from training.corruptions import worker; worker.main()"
_running = []


class Worker:
    """A process that takes one job at a time."""

    def __init__(self):
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def is_alive(self) -> bool:
        """Returns whether the process can take a job."""
        return self._process.poll() is None

    def send(self, source, result, *job) -> None:
        """Starts a job: the images of one file to another, as `corrupt_part`."""
        job = str(source), str(result), *job
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()

    def wait(self) -> None:
        """Returns when the job is done."""
        if self._process.stdout.readline().strip() != "done":
            self.stop()
            raise RuntimeError(
                "A process that corrupts images stopped before it was done; its error "
                "is above. `workers=1` does without such processes."
            )

    def stop(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def start(count: int) -> list[Worker]:
    """Returns that many workers; those of earlier calls are used again."""
    _running[:] = [worker for worker in _running if worker.is_alive()]
    while len(_running) < count:
        _running.append(Worker())
    return _running[:count]


@atexit.register
def stop() -> None:
    """Ends all workers."""
    while _running:
        _running.pop().stop()


def main() -> None:
    """Does the jobs of standard input until it ends."""
    import cv2

    from training.corruptions.batch import corrupt_part

    cv2.setNumThreads(1)
    for line in sys.stdin:
        source, result, *job = json.loads(line)
        np.save(result, corrupt_part(np.load(source, mmap_mode="r"), *job))
        print("done", flush=True)
