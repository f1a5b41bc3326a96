"""Measures functions against each other, also in processes of other environments."""

import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

ROOT = pathlib.Path(__file__).parent.parent


def clock(step: Callable, count: int) -> tuple[float, float]:
    """Returns seconds and processor seconds of one of `count` calls."""
    start, used = time.perf_counter(), time.process_time()
    for _ in range(count):
        step()
    wall, used = time.perf_counter() - start, time.process_time() - used
    return wall / count, used / count


def serve(make: Callable) -> None:
    """Answers the lines of a `Remote` until standard input ends.

    Args:
        make: From the job's arguments to a function without arguments.
    """
    steps = {}
    for line in sys.stdin:
        name, job, count = json.loads(line)
        if job is not None:
            steps = {} if name is None else {**steps, name: make(**job)}
            if steps and count == 0:
                steps[name]()  # Compiles it.
        print(json.dumps(clock(steps[name], count) if count else None), flush=True)


class Remote:
    """A process of another environment that measures there."""

    def __init__(self, python: str, module: str, arguments: tuple[str, ...] = ()):
        command = [python, "-m", module, *arguments]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, cwd=ROOT, **pipes)

    def _ask(self, *words):
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"'{' '.join(self._process.args)}' ended.")
        return json.loads(line)

    def step(self, name: str, warm: bool = True, **job) -> Callable:
        """Makes a step there; returns a function from a count to its seconds.

        Args:
            name: What it is called.
            warm: Whether to take it once, which compiles it.
            **job: Arguments of what makes it.
        """
        self._ask(name, job, 0 if warm else None)
        return lambda count: self._ask(name, None, count)

    def clear(self) -> None:
        """Forgets all steps."""
        self._ask(None, {}, 0)

    def stop(self) -> None:
        """Ends the process."""
        self._process.communicate()


def version(python: str, package: str) -> str | None:
    """Returns the version of a package that a Python has; None if it has not."""
    code = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"
    done = subprocess.run(
        [python, "-c", code, package], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or None


def local(step: Callable) -> Callable:
    """Warms a step of this process; returns a function from a count to its seconds."""
    step()
    return lambda count: clock(step, count)


def measure(steps: dict[str, Callable], rounds: int, seconds: float) -> dict:
    """Measures all steps in each round, one after the other, in turning order.

    Args:
        steps: By name, functions from a count of calls to seconds of one of them.
        rounds: How many rounds to measure.
        seconds: What a measurement takes at least, about; 0 for that of a single call.

    Returns:
        By name, array of shape `(rounds, 2)`: seconds, and processor seconds.
    """
    counts = dict.fromkeys(steps, 1)
    if seconds:
        counts = {n: max(1, round(seconds / step(1)[0])) for n, step in steps.items()}
    names = list(steps)
    times = {name: np.empty((rounds, 2)) for name in names}
    for index in range(rounds):
        turn = index % len(names)
        for name in names[turn:] + names[:turn]:
            times[name][index] = steps[name](counts[name])
    return times


def ratio(times: dict, name: str, other: str) -> np.ndarray:
    """Returns how many times as long `other` takes as `name`: by both clocks."""
    return np.median(times[other] / times[name], axis=0)
