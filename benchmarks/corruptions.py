r"""Images per second of all corruptions, against imagecorruptions and corrupt-tta.

    python -m venv peers
    peers/bin/pip install numpy scipy scikit-image pillow opencv-python-headless \
        "setuptools<81"
    peers/bin/pip install --no-deps imagecorruptions corrupt-tta
    python -m benchmarks.corruptions --peers=peers/bin/python

The libraries are not dependencies of this project: they live in a virtual environment
of their own, whose Python `--peers` names. Their declared dependencies do not install
together, so their `pip` line takes none.

All corrupt an array of images into another one on all cores: ours by `corrupt_all`, the
others, which have no such function, by a loop in one process for each core. A round
measures all of them one after the other. Of both peers, the table has the images per
second, how many times as many ours are, and the same for images per second of processor
time, which other programs on the machine disturb less (Linux only). The ratios are
medians over the rounds of those within a round. Every library returns bytes.
imagecorruptions gets the names back that newer libraries dropped (`np.float_`,
`multichannel`), without which three of its functions fail.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import time

import numpy as np

PEERS = ("imagecorruptions", "corrupt_tta")
SECONDS = 0.5  # Of a measurement, about.


@functools.lru_cache(maxsize=2)
def sample(count: int, side: int) -> np.ndarray:
    """Returns photographs, all the same, of shape `(count, side, side, 3)`."""
    import cv2
    from skimage import data

    size = side, side
    photo = cv2.resize(data.astronaut(), size, interpolation=cv2.INTER_AREA)
    return np.repeat(photo[None], count, axis=0)


def load_peer(library: str):
    """Returns a function of `(image, severity, name)` that gives bytes."""
    import importlib
    import types

    from scipy import ndimage
    from skimage import filters

    old = types.SimpleNamespace(map_coordinates=ndimage.map_coordinates)
    sys.modules.setdefault("scipy.ndimage.interpolation", old)
    np.float_ = np.float64
    package = importlib.import_module(library)
    if library == "imagecorruptions":

        def gaussian(image, sigma, multichannel=False, **options):
            axis = -1 if multichannel else None
            return filters.gaussian(image, sigma, channel_axis=axis, **options)

        package.corruptions.gaussian = gaussian
    return lambda *job: np.uint8(package.corrupt(*job))


def serve(library: str) -> None:
    """Corrupts as many images as each line of standard input says."""
    import warnings

    import cv2

    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)
    corrupt = load_peer(library)
    for line in sys.stdin:
        side, name, severity, count = json.loads(line)
        images = sample(count, side)
        start = time.perf_counter()
        corrupted = np.empty_like(images)
        for index, image in enumerate(images):
            corrupted[index] = corrupt(image, severity, name)
        print(time.perf_counter() - start, flush=True)


def processor_seconds(pids: list[int]) -> float:
    """Returns the processor time of processes so far, of threads that ended too."""
    # What `clock_getcpuclockid` of the C library returns.
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)


class Peer:
    """As many processes of a library as there are cores."""

    def __init__(self, library: str, python: str, cores: int):
        command = [python, __file__, f"--serve={library}"]
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "i"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._processes = [
            subprocess.Popen(command, env=environment, **pipes) for _ in range(cores)
        ]

    def pids(self) -> list[int]:
        """Returns the processes that work."""
        return [process.pid for process in self._processes]

    def rate(self, side: int, name: str, severity: int, count: int) -> float:
        """Returns images per second, of `count` images in each process."""
        start = time.perf_counter()
        for process in self._processes:
            process.stdin.write(json.dumps((side, name, severity, count)) + "\n")
            process.stdin.flush()
        for process in self._processes:
            float(process.stdout.readline())
        return count * len(self._processes) / (time.perf_counter() - start)

    def stop(self) -> None:
        """Ends the processes."""
        for process in self._processes:
            process.communicate()


class Ours:
    """This project's function for whole arrays."""

    def __init__(self, cores: int):
        self._cores = cores

    def pids(self) -> list[int]:
        """Returns the processes that work."""
        from training.corruptions import worker

        return [os.getpid(), *worker.pids()]

    def rate(self, side: int, name: str, severity: int, count: int) -> float:
        """Returns images per second, of `count` images for each core."""
        from training import corruptions

        images = sample(count * self._cores, side)
        start = time.perf_counter()
        corruptions.corrupt_all(images, name, severity, workers=self._cores)
        return len(images) / (time.perf_counter() - start)

    def stop(self) -> None:
        """Ends nothing; the workers end with the program."""


def measure(libraries: dict, job: tuple, rounds: int):
    """Returns images per second, and per second of processor time.

    Args:
        libraries: `Ours` and `Peer` by name.
        job: Side, name and severity.
        rounds: How many rounds to measure.

    Returns:
        Array of shape `(rounds, 2, libraries)`.
    """
    counts = []
    cores = len(os.sched_getaffinity(0))
    for runner in libraries.values():
        rate = runner.rate(*job, 1)  # Warm, too.
        rate = runner.rate(*job, max(1, int(rate * SECONDS / 8)))
        counts.append(min(max(int(rate * SECONDS / cores), 1), 200_000 // job[0]))
    rates = np.empty((rounds, 2, len(counts)))
    for row in rates:
        for place, (runner, count) in enumerate(
            zip(libraries.values(), counts, strict=True)
        ):
            pids = runner.pids()
            start = processor_seconds(pids)
            row[0, place] = runner.rate(*job, count)
            used = processor_seconds(pids) - start
            row[1, place] = count * cores / used
    return rates


def main() -> None:
    """Prints a table for each side, and geometric means."""
    from training.corruptions import CORRUPTIONS

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", default=sys.executable, help="Their Python.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--severity", type=int, default=3)
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 224])
    parser.add_argument("--names", nargs="+", default=list(CORRUPTIONS))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    libraries = {"ours": Ours(cores)}
    libraries |= {library: Peer(library, flags.peers, cores) for library in PEERS}
    print(f"{cores} cores, load {os.getloadavg()[0]:.1f}, severity {flags.severity}")
    for side in flags.sides:
        print(f"\n{side} x {side}, images/s   ours  imagecorruptions       corrupt-tta")
        ratios = []
        for name in flags.names:
            job = side, name, flags.severity
            rates = measure(libraries, job, flags.rounds)
            ours, *theirs = np.median(rates[:, 0], axis=0)
            # Of shape (peers, 2): of the time, of the processors' time.
            ratios.append(np.median(rates[..., :1] / rates[..., 1:], axis=0).T)
            columns = (
                f"{rate:9.1f} {wall:6.2f}x {own:6.2f}x"
                for rate, (wall, own) in zip(theirs, ratios[-1], strict=True)
            )
            print(f"{name:18s} {ours:10.1f} {' '.join(columns)}", flush=True)
        for label, reduce in (
            ("geometric mean", lambda r: np.exp(np.mean(np.log(r), axis=0))),
            ("slowest", lambda r: np.min(r, axis=0)),
        ):
            columns = (f"{'':9s} {a:6.2f}x {b:6.2f}x" for a, b in reduce(ratios))
            print(f"{label:29s} {' '.join(columns)}")
    for runner in libraries.values():
        runner.stop()


if __name__ == "__main__":
    if sys.argv[-1].startswith("--serve="):
        serve(sys.argv[-1].removeprefix("--serve="))
    else:
        main()
