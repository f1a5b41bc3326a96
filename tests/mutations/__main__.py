"""Puts deliberate bugs in, one at a time, and checks that the tests see each of them.

    python -m tests.mutations [number, test or file ...]

A test is trusted once it was seen to fail. Bugs are chosen by their number, or by a
part of the name of the test that sees them, of its path or of the path of the file that
they are in.
"""

import os
import pathlib
import signal
import sys
import tempfile
from concurrent import futures

from tests.helpers import copies, processes
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


# A test that ends so has seen a bug, such as a race in a library that a lock prevents.
CRASHES = (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS)


def survives(path: str, old: str, new: str, file: str, test: str) -> bool:
    """Returns whether a test passes although the bug is in a copy of the code."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder, "copy")
        copies.copy(ROOT, copy, ".*", "runs", "demo", "build")
        text = (copy / path).read_text()
        if text.count(old) != 1:
            raise ValueError(f"{path} has {text.count(old)} times the code {old!r}")
        (copy / path).write_text(text.replace(old, new))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", ""]
        command.append(f"{file}::{test}")
        paths = [str(copy), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        result = processes.run(command, cwd=copy, env=env)
    if result.returncode not in (0, 1, *CRASHES):
        raise RuntimeError(f"{result.stdout}{result.stderr}"[-2000:])
    return result.returncode == 0


def chosen(words: list[str]) -> list[int]:
    """Returns the numbers of the bugs that are meant, from 1; of all without a word.

    Raises:
        ValueError: If a word means none.
    """
    numbers = {}
    for word in words or [""]:
        found = [n for n in range(1, len(MUTATIONS) + 1) if _is_meant(word, n)]
        if not found:
            raise ValueError(
                f"No bug has this number (1 to {len(MUTATIONS)}), or this in the path "
                f"of its file or the name of its test. Received: {word}"
            )
        numbers.update(dict.fromkeys(found))
    return list(numbers)


def _is_meant(word, number) -> bool:
    _, path, *_, file, test = MUTATIONS[number - 1]
    if word.isdigit():
        return word == str(number)
    return word in path or word in f"{file}::{test}"


def main(words: list[str]):
    """Prints a line for each bug and ends with code 1 if one was not seen."""
    numbers, survivors = chosen(words), 0
    mutations = [MUTATIONS[number - 1] for number in numbers]
    with futures.ThreadPoolExecutor(JOBS) as pool:
        found = pool.map(_outcome, mutations)
        for number, (bug, *_), outcome in zip(numbers, mutations, found, strict=True):
            survivors += outcome != "caught"
            print(f"{number:3d} of {len(MUTATIONS)} {outcome:8} {bug}", flush=True)
    print(f"{len(numbers) - survivors} of {len(numbers)} caught")
    sys.exit(bool(survivors))


def _outcome(mutation) -> str:
    try:
        return "SURVIVED" if survives(*mutation[1:]) else "caught"
    except (RuntimeError, ValueError) as error:
        return f"ERROR {error}\n"


if __name__ == "__main__":
    main(sys.argv[1:])
