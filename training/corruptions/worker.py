"""Processes that corrupt images in memory that they share with this one.

They are started as commands and not by `multiprocessing`, which would fork a process
with the threads of TensorFlow or import the user's program once more.
"""

import atexit
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading

import numpy as np

# Each worker has one core. The C library (glibc) keeps the memory of arrays that are
# freed for the next ones, which makes some corruptions three times as fast.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**28),
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
}
_PROGRAM = "from training.corruptions import worker; worker.main()"
# Bytes that a worker shares. They stay, because fresh memory costs more than a copy.
MEMORY = 2**23
# Images that a job may have; their numbers travel as text, which has its limits.
MOST = 2**12
# Held while the workers are in use; they take one job at a time.
LOCK = threading.Lock()
_running = []


class Worker:
    """A process that takes one job at a time."""

    def __init__(self):
        path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        environment = {**os.environ, **_ENVIRONMENT, **path}
        # Each message of such a socket arrives as a whole.
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket, other = pair
        file = os.memfd_create("images")
        os.truncate(file, MEMORY)
        command = [sys.executable, "-c", _PROGRAM, str(file)]
        options = {"stdin": other, "pass_fds": [file], "env": environment}
        with other:
            self._process = subprocess.Popen(command, **options)
        self.pid = self._process.pid
        self._memory = np.frombuffer(mmap.mmap(file, MEMORY), np.uint8)
        os.close(file)

    def is_alive(self) -> bool:
        """Returns whether the process can take a job."""
        return self._process.poll() is None

    def corrupt(
        self, images, corrupted, start: int, stop: int, *, numbers, **job
    ) -> None:
        """Does what `corrupt_part` does, in the other process."""
        shape = stop - start, *images.shape[1:]
        memory = self._memory[: int(np.prod(shape))].reshape(shape)
        memory[:] = images[start:stop]
        job = {"shape": shape, "numbers": list(numbers[start:stop]), **job}
        message = json.dumps(job).encode()
        try:
            self._socket.send(message)
            done = self._socket.recv(16)
        except ConnectionError:
            done = b""
        if done != b"done":
            raise RuntimeError(
                "A process that corrupts images stopped before it was done; its error "
                "is above. `workers=1` does without such processes."
            )
        corrupted[start:stop] = memory

    def stop(self) -> None:
        """Ends the process, in the middle of a job too."""
        self._socket.close()
        self._process.terminate()
        self._process.wait()


def start(count: int) -> list[Worker]:
    """Returns that many workers; those of earlier calls are used again."""
    for worker in [worker for worker in _running if not worker.is_alive()]:
        _running.remove(worker)
        worker.stop()
    while len(_running) < count:
        _running.append(Worker())
    return _running[:count]


def pids() -> list[int]:
    """Returns the numbers of the worker processes."""
    return [worker.pid for worker in _running]


@atexit.register
def stop() -> None:
    """Ends all workers."""
    while _running:
        _running.pop().stop()


if hasattr(os, "register_at_fork"):  # The workers belong to the parent alone.
    os.register_at_fork(after_in_child=_running.clear)


def main() -> None:
    """Does the jobs that come through standard input until it ends."""
    import cv2

    from training.corruptions.part import corrupt_part

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The first process decides.
    cv2.setNumThreads(1)
    memory = np.frombuffer(mmap.mmap(int(sys.argv[1]), MEMORY), np.uint8)
    with socket.socket(fileno=0) as link:
        while message := link.recv(2**16):
            job = json.loads(message)
            shape = job.pop("shape")
            images = memory[: int(np.prod(shape))].reshape(shape)
            corrupt_part(images, images, 0, shape[0], **job)
            link.send(b"done")
