"""Puts deliberate bugs in, one at a time, and checks that the tests see each of them.

    python -m tests.mutations [number ...]

A test is trusted once it was seen to fail.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile
from concurrent import futures

from tests.mutations import benchmarks as benchmarks_bugs
from tests.mutations import layers as layers_bugs
from tests.mutations import tests as tests_bugs
from tests.mutations import training as training_bugs
from tests.mutations import zoo as zoo_bugs

ROOT = pathlib.Path(__file__).parents[2]
JOBS = 2  # How many bugs are looked at side by side.


MUTATIONS = [
    *benchmarks_bugs.MUTATIONS,
    *layers_bugs.MUTATIONS,
    *tests_bugs.MUTATIONS,
    *training_bugs.MUTATIONS,
    *zoo_bugs.MUTATIONS,
]


def survives(path: str, old: str, new: str, tests: str) -> bool:
    """Returns whether the tests pass although the bug is in a copy of the code."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder, "copy")
        ignored = shutil.ignore_patterns(".*", "runs", "demo", "build")
        shutil.copytree(ROOT, copy, ignore=ignored, copy_function=_copy)
        text = (copy / path).read_text()
        if text.count(old) != 1:
            raise ValueError(f"{path} has {text.count(old)} times the code {old!r}")
        (copy / path).write_text(text.replace(old, new))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "", tests]
        result = subprocess.run(command, cwd=copy, capture_output=True, check=False)
    if result.returncode not in (0, 1):
        raise RuntimeError(result.stdout.decode()[-2000:])
    return result.returncode == 0


def _copy(source, target):
    """Copies a file, but weights, which are many and large, by a link."""
    if source.endswith(".safetensors"):
        pathlib.Path(target).symlink_to(source)
    else:
        shutil.copy2(source, target)


def main(numbers: list[int]):
    """Prints a line for each bug and ends with code 1 if one was not seen."""
    chosen = numbers or range(1, len(MUTATIONS) + 1)
    mutations = [MUTATIONS[number - 1] for number in chosen]
    survivors = 0
    with futures.ThreadPoolExecutor(JOBS) as pool:
        found = pool.map(lambda mutation: survives(*mutation[1:]), mutations)
        for number, (bug, *_), survived in zip(chosen, mutations, found, strict=True):
            survivors += survived
            verdict = "SURVIVED" if survived else "caught  "
            print(f"{number:2d} {verdict} {bug}", flush=True)
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]])
