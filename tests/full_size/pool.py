"""Runs side by side, each command in a forked process."""

import json
import os
import pathlib
import shutil
import signal
import time
from collections.abc import Iterator, Sequence

import keras

from tests.full_size import child
from tests.full_size.job import Outcome, Run, Step

LIMIT = 900  # Seconds of a command.


class _Chain:
    """A run that is going on."""

    def __init__(self, run: Run, folder: pathlib.Path, options: dict):
        self.run, self.folder, self.options = run, folder, options
        self.outcome = Outcome(run, keras.backend.backend())
        self.steps, self.begin = list(run.steps), time.monotonic()
        self.log = folder.with_suffix(".txt")
        self.log.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, target in run.links:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(options["inputs"] / target)
        if run.packaged:
            shutil.copytree(options["inputs"] / "zoo", folder / "packaged")
        self.start()

    def start(self):
        options, self.step = self.options, self.steps.pop(0)
        self.since = time.monotonic()
        self.size = self.log.stat().st_size if self.log.exists() else 0
        self.number = child.start(
            self.step,
            self.folder,
            self.log,
            devices=self.run.devices,
            packaged=self.run.packaged,
            **options,
        )

    def ended(self, status: int, usage) -> bool:
        """Notes the end of a command; returns whether it was the last one."""
        outcome, code = self.outcome, os.waitstatus_to_exitcode(status)
        outcome.processor += usage.ru_utime + usage.ru_stime
        outcome.megabytes = max(outcome.megabytes, usage.ru_maxrss >> 10)
        if code != self.step.exit_status:
            words = " ".join(self.step.words)
            outcome.problem = f"{words} ended with {code}: {self.last_line()}"
            outcome.verdict = "failed"
            self.steps.clear()
        outcome.seconds = time.monotonic() - self.begin
        if self.steps:
            self.start()
            return False
        outcome.figures = read_figures(self.folder)
        return True

    def last_line(self):
        with open(self.log, errors="replace") as file:
            file.seek(self.size)
            lines = [line.strip() for line in file if line.strip()]
        return lines[-1] if lines else "without a word"


def read_figures(folder: pathlib.Path) -> dict:
    """Returns the last row of the metrics of a training, without the time."""
    path = folder / "run" / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    row = json.loads(lines[-1]) if lines else {}
    return {k: v for k, v in row.items() if k not in ("seconds", "epoch")}


def execute(
    runs: Sequence[Run], folder: pathlib.Path, jobs: int, **options
) -> Iterator[Outcome]:
    """Runs all, and yields what came of each when it has ended.

    Args:
        runs: The runs.
        folder: Each has a folder in it, and a log beside that.
        jobs: Maximal number of runs at once.
        **options: See `tests.full_size.child.start`.
    """
    waiting, chains = list(runs), {}
    try:
        while waiting or chains:
            while waiting and len(chains) < jobs:
                run = waiting.pop(0)
                chain = _Chain(run, folder / run.name.replace(" ", "_"), options)
                chains[chain.number] = chain
            time.sleep(0.05)
            for number, chain in list(chains.items()):
                found, status, usage = os.wait4(number, os.WNOHANG)
                if not found:
                    if time.monotonic() - chain.since > LIMIT:
                        os.kill(number, signal.SIGKILL)
                    continue
                del chains[number]
                if chain.ended(status, usage):
                    yield chain.outcome
                else:
                    chains[chain.number] = chain
    finally:
        for number in chains:
            os.kill(number, signal.SIGKILL)
            os.waitpid(number, 0)


def validate(outcomes: Sequence[Outcome], folder: pathlib.Path, **options) -> dict:
    """Returns what `tests.full_size.validation` finds, by the name of the run."""
    results = {}
    for half in (False, True):
        folders = {
            outcome.run.name: folder / outcome.run.name.replace(" ", "_") / "run"
            for outcome in outcomes
            if outcome.run.half == half and outcome.verdict != "failed"
        }
        if not folders:
            continue
        path = folder / "validated.json"
        jobs = {"half": half, "folders": list(map(str, folders.values()))}
        path.write_text(json.dumps(jobs))
        run = Run("validation", (Step(("validate", str(path))),))
        (outcome,) = execute([run], folder, 1, **options)
        for name, place in folders.items():
            found = place / "validation.json"
            results[name] = json.loads(found.read_text()) if found.exists() else {}
        if outcome.problem:
            print(outcome.problem)
    return results
