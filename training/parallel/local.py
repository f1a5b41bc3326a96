"""Workers that are processes of this machine."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from multiprocessing import connection

from training import processor
from training.parallel.pool import WorkerDiedError

PROGRAM = "from training.parallel import process; process.main()"
# The C library (glibc) keeps the memory of arrays that are freed for the next ones.
_KEEPING = {
    "MALLOC_MMAP_THRESHOLD_": str(2**28),
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
}
_SECONDS = 0.2  # Between two looks at whether a process has ended before it was there.


class Processes:
    """Starts processes, each with its share of the cores.

    They are started as commands and not by `multiprocessing`, which would fork a
    process with the threads of TensorFlow or import the user's program once more.

    Args:
        num_workers: How many there should be at a time.
        num_threads: How many cores each of them uses; by default its share.
        num_gpus: How many GPUs there are; each process sees one of them.
        start: Starts a command in an environment; as `subprocess.Popen`.
    """

    def __init__(
        self,
        num_workers: int,
        num_threads: int | None = None,
        num_gpus: int = 0,
        start=None,
    ):
        self.num_workers, self._num_gpus = num_workers, num_gpus
        self._num_threads = num_threads or max(1, processor.num_cores() // num_workers)
        self._popen = start or subprocess.Popen
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="workers"))
        self._count, self._started, self._is_closed = 0, [], False

    def start(self, number: int) -> "Process":
        self._count += 1
        place = self._folder / f"{number}.{self._count}"
        return Process(self._start_kept, place, self._environment(number))

    def _start_kept(self, command, **settings):
        process = self._popen(command, **settings)
        self._started.append(process)
        if self._is_closed:
            _end(process)
        return process

    def close(self):
        self._is_closed = True
        for process in self._started:
            _end(process)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _environment(self, number):
        found = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        found |= few_threads(self._num_threads) | _KEEPING
        if self._num_gpus:
            every = os.environ.get("CUDA_VISIBLE_DEVICES")
            names = every.split(",") if every else list(map(str, range(self._num_gpus)))
            found["CUDA_VISIBLE_DEVICES"] = names[number % len(names)]
            found["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"  # Several may share one.
            found["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        return found


class Process:
    """A process that answers requests.

    Args:
        popen: Starts it.
        place: Path of the socket that it connects to.
        environment: Its environment.
    """

    def __init__(self, popen, place: pathlib.Path, environment: dict[str, str]):
        with socket.socket(socket.AF_UNIX) as door, open(f"{place}.log", "wb") as log:
            door.bind(str(place))
            door.listen(1)
            door.settimeout(_SECONDS)
            self._process = popen(
                [sys.executable, "-c", PROGRAM, str(place)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            self.name = f"Process {self._process.pid}"
            self._log = pathlib.Path(log.name)
            self._messages = connection.Connection(self._accept(door).detach())

    def _accept(self, door):
        while True:
            try:
                return door.accept()[0]
            except TimeoutError:
                if self._process.poll() is not None:
                    raise self._died() from None

    def ask(self, request: bytes) -> bytes:
        try:
            self._messages.send_bytes(request)
            return self._messages.recv_bytes()
        except (EOFError, OSError):
            raise self._died() from None

    def stop(self):
        _end(self._process)
        # Its thread may still wait for an answer, so the connection is left to that.

    def _died(self):
        self._process.wait()
        code = self._process.returncode
        if code < 0:
            return WorkerDiedError(f"{self.name} was killed by signal {-code}")
        lines = self._log.read_text(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        text = f" ({said[-1]})" if code and said else ""
        return WorkerDiedError(f"{self.name} ended with code {code}{text}")


def _end(process):
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
        process.wait()


def few_threads(count: int) -> dict[str, str]:
    """Returns the environment in which libraries use that many cores."""
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "NPROC")
    others = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ZOO_NUM_CORES")
    return dict.fromkeys((*names, *others), str(count))
