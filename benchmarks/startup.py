r"""Processor time until a command answers, and until weights are loaded.

    python -m benchmarks.startup --before=COMMIT

A command answers to `--help`, and to a typo in a flag or a name; a model is loaded in a
process that has imported Keras. `--before` measures the same in another commit, in a
checkout that is removed afterwards. A round measures every line once, of both. Times
are of processor (user and system), medians over the rounds, as other programs disturb
these less.
"""

import argparse
import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import numpy as np

from benchmarks.rounds import ROOT

_TRAIN = ("train", "--workdir=runs/none")
_NAMES = ("--model=resnet20", "--recipe=fashion_mnist")
COMMANDS = {
    "zoo-train --help": ("train", "--help"),
    "zoo-evaluate --help": ("evaluate", "--help"),
    "zoo-export --help": ("export", "--help"),
    "a flag: zoo-train --modl=...": ("train", "--modl=resnet20"),
    "a model: resnet20_smoth": (*_TRAIN, "--model=resnet20_smoth", _NAMES[1]),
    "a recipe: fashion_minst": (*_TRAIN, _NAMES[0], "--recipe=fashion_minst"),
    "a data set: fashion_mnits": (*_TRAIN, *_NAMES, "--dataset=fashion_mnits"),
    "a corruption: fogg": (*_TRAIN, *_NAMES, "--dataset=fashion_mnist_c/fogg/3"),
}
LOADED = ("resnet20_smooth_mcdo.fashion_mnist", "resnet50_smooth_mcdo.fashion_mnist")
# The first model sets up what all of them need.
_LOAD = """
import time, keras, zoo
zoo.load("resnet20.fashion_mnist")
start = time.process_time()
zoo.load({!r})
print(time.process_time() - start)
"""


def run(root: pathlib.Path, *command: str) -> tuple[float, str]:
    """Returns the processor seconds of Python in a checkout, and what it prints."""
    env = {**os.environ, "PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "2"}
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(
            [sys.executable, *command],
            cwd=root,
            env=env,
            stdout=output,
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        return used.ru_utime + used.ru_stime, output.read().decode()


def measure(root: pathlib.Path) -> dict[str, float]:
    """Returns processor seconds by line, of a checkout."""
    seconds = {
        line: run(root, "-m", f"training.cli.{command}", *flags)[0]
        for line, (command, *flags) in COMMANDS.items()
    }
    for name in LOADED:
        _, printed = run(root, "-c", _LOAD.format(name))
        seconds[f'zoo.load("{name}")'] = float(printed or "nan")
    return seconds


@contextlib.contextmanager
def checkout(commit: str) -> Iterator[pathlib.Path]:
    """Makes a checkout of a commit, and removes it."""
    git = ("git", "-C", str(ROOT), "worktree")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "before"
        subprocess.run([*git, "add", "--detach", path, commit], check=True)
        try:
            yield path
        finally:
            subprocess.run([*git, "remove", "--force", path], check=True)


def table(places: dict[str, pathlib.Path], rounds: int) -> str:
    """Returns the medians as Markdown, one column for each checkout."""
    times = {name: [] for name in places}
    for index in range(rounds + 1):
        for name, root in places.items():
            seconds = measure(root)
            if index:  # The first one compiles sources and fills caches of files.
                times[name].append(list(seconds.values()))
    medians = {name: np.median(rows, axis=0) for name, rows in times.items()}
    lines = [f"| processor seconds | {' | '.join(places)} |"]
    lines += ["| --- |" + " --- |" * len(places)]
    for i, line in enumerate(seconds):
        cells = [f"{medians[name][i]:.2f}" for name in places]
        lines.append(f"| {line} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--before", help="commit to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    if flags.before is None:
        print(table({"now": ROOT}, flags.rounds))
        return
    with checkout(flags.before) as before:
        print(table({"before": before, "now": ROOT}, flags.rounds))


if __name__ == "__main__":
    main()
