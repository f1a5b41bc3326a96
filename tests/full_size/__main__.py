"""Runs every recipe, documented command and example at the true number of images.

Networks have few filters, images are zeros and noise, and epochs a few updates; the
validation and all other passes over a data set take all of its images.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import time

BACKENDS = ("tensorflow", "jax")
FOLDER = pathlib.Path("runs/full_size")


def parse(arguments):
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser("make full-size", description=__doc__)
    parser.add_argument("--only", default="", help="Runs whose names have this regex.")
    parser.add_argument("--backend", choices=BACKENDS, help="By default both.")
    parser.add_argument("--jobs", type=int, default=2, help="Runs at once.")
    parser.add_argument(
        "--updates", type=int, default=16, help="Of each epoch; 0: all."
    )
    parser.add_argument("--folder", type=pathlib.Path, default=FOLDER, help="Of logs.")
    parser.add_argument("--list", action="store_true", help="Lists the commands.")
    parser.add_argument("--part", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments) -> int:
    """Runs the backends one after the other and prints what came of it."""
    options = parse(arguments)
    if options.part:
        return part(options)
    begin, rows = time.monotonic(), []
    backends = [options.backend] if options.backend else BACKENDS
    command = [sys.executable, "-m"]
    if not options.list:
        print(
            f"Inputs, logs and outcomes lie in {options.folder.resolve()}", flush=True
        )
        made = [*command, "tests.full_size.inputs", str(options.folder / "inputs")]
        subprocess.run(made, env=environment(BACKENDS[0], options.folder), check=True)
    for backend in backends:
        path = options.folder / backend / "outcomes.jsonl"
        path.unlink(missing_ok=True)
        again = [*command, "tests.full_size", *arguments]
        again += ["--part", f"--backend={backend}"]
        subprocess.run(again, env=environment(backend, options.folder), check=True)
        if path.exists():
            rows += map(json.loads, path.read_text().splitlines())
    if options.list:
        return 0
    print()
    for row in rows:
        print_row(row)
    wrong = [row for row in rows if row["problem"]]
    for row in wrong:
        print(f"\n{row['name']} on {row['backend']}: {row['problem']}")
    seconds = time.monotonic() - begin
    used = sum(row["processor"] for row in rows)
    print(f"\n{len(rows)} runs in {seconds / 60:.1f} minutes", end="")
    print(f" ({used / 60:.1f} of processor time), {len(wrong)} not right")
    return int(bool(wrong) or not rows)


def environment(backend: str, folder: pathlib.Path) -> dict[str, str]:
    """Returns the environment of a backend; each process computes in one thread."""
    folder = folder.resolve()
    own = {
        "KERAS_BACKEND": backend,
        "OMP_NUM_THREADS": "1",
        "TFDS_DATA_DIR": str(folder / "inputs" / "tfds"),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "ZOO_CACHE": str(folder / "cache"),
        "ZOO_OFFLINE": "1",
    }
    return {**os.environ, **own}


def print_row(row):
    """Prints one line for a run."""
    figures = ", ".join(f"{k} {v:.6g}" for k, v in row["figures"].items())
    cost = f"{row['seconds']:6.1f} s {row['processor']:6.1f} s of processor"
    cost += f" {row['megabytes']:5d} MB"
    what = f"{row['backend']:10} {row['name']:28} {row['devices']} devices"
    print(f"{what} {cost}  {row['verdict']:7} {figures}", flush=True)


def part(options) -> int:
    """Runs those of one backend, in processes that are forked from this one."""
    from tests.full_size import child, compare, pool
    from tests.full_size.plan import plan

    backend = options.backend
    runs = [run for run in plan(backend) if re.search(options.only, run.name)]
    if options.list:
        for run in runs:
            for step in run.steps:
                print(f"{backend:10} {run.name:32} {' '.join(step.words)}", end="")
                print(f"  [{step.cut}]" if step.cut else "")
        return 0
    child.preload()
    folder = options.folder.resolve() / backend
    settings = {
        "inputs": options.folder.resolve() / "inputs",
        "updates": options.updates or None,
    }
    outcomes = {}
    for outcome in pool.execute(runs, folder, options.jobs, **settings):
        outcomes[outcome.run.name] = outcome
        row = _row(outcome)
        print(f"{len(outcomes):3} of {len(runs)}: ", end="")
        print_row(row)
        if row["problem"]:
            print(f"    {row['problem']}", flush=True)
    validated = [x for x in outcomes.values() if x.run.validated and x.figures]
    results = pool.validate(validated, folder, **settings)
    for name, outcome in outcomes.items():
        compare.judge(outcome, outcomes, results.get(name))
    with open(folder / "outcomes.jsonl", "w") as file:
        for outcome in outcomes.values():
            file.write(json.dumps(_row(outcome)) + "\n")
    return 0


def _row(outcome):
    row = dataclasses.asdict(outcome)
    run = row.pop("run")
    return row | {"name": run["name"], "devices": run["devices"]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
