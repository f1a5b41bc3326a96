r"""Kills workers of a training at random moments, and compares what comes of it.

    python -m benchmarks.worker_kills --kills=10 --workers=2

Workers on loopback train `resnet20_mcdo` on a few images of Fashion-MNIST, once without
an interruption. Then, again and again, one of them is ended by SIGKILL, in turn some
time after they have met and after they have saved a checkpoint; the others must end,
each with one line, and the same command on all of them goes on. Where a training ends
before the last kill, another one begins. Prints Markdown: which worker was killed when,
how long the others lived on, and how far the rows of `metrics.jsonl` are from those of
the first training.
"""

import argparse
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

MET = "The train set"  # What the chief logs when it has met all others.
SECONDS = 30  # In which the others must have ended.
COMMAND = [
    *(sys.executable, "-m", "training.cli.train", "--distribution=multi_worker"),
    *("--model=resnet20_mcdo", "--recipe=fashion_mnist", "--checkpoint_seconds=2"),
]


def addresses(count: int) -> list[str]:
    """Returns addresses on loopback with ports that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    return found


def start(command, count: int, logs: pathlib.Path):
    """Starts workers; returns their processes and the files of their errors."""
    workers = addresses(count)
    processes, errors = [], []
    for index in range(count):
        config = {
            "cluster": {"worker": workers},
            "task": {"type": "worker", "index": index},
        }
        errors.append(logs / f"{index}.txt")
        with open(errors[-1], "w") as file:
            process = subprocess.Popen(
                command,
                env={**os.environ, "TF_CONFIG": json.dumps(config)},
                stdout=subprocess.DEVNULL,
                stderr=file,
            )
        processes.append(process)
    return processes, errors


def said(path: pathlib.Path) -> list[str]:
    """Returns the lines of a worker but those of its log."""
    lines = path.read_text().splitlines()
    return [line for line in lines if not re.match(r"I\d{4} |E\d{4}.*oneDNN", line)]


def kill_one(command, flags, logs, checkpoint):
    """Runs until one is killed; returns a row, or None if the training ended before.

    Args:
        command: Of each worker.
        flags: Of the command line.
        logs: Folder for what they print.
        checkpoint: File whose first change begins the time until then; without one,
            that is when they have met.
    """
    begin = time.time()

    def has_begun():
        if checkpoint is None:
            return MET in errors[0].read_text()
        return checkpoint.exists() and checkpoint.stat().st_mtime > begin

    processes, errors = start(command, flags.workers, logs)
    while not has_begun():
        if any(process.poll() for process in processes):
            raise SystemExit("\n".join(path.read_text() for path in errors))
        if all(process.poll() == 0 for process in processes):
            return None
        time.sleep(0.1)
    moment, victim = random.uniform(0, flags.longest), random.randrange(flags.workers)
    begin = time.monotonic()
    while time.monotonic() - begin < moment:
        if all(process.poll() is not None for process in processes):
            return None
        time.sleep(0.05)
    processes[victim].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    lived, lines = [], []
    for index, process in enumerate(processes):
        try:
            status = process.wait(timeout=max(0, killed + 90 - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            status = "still there"
        if index != victim:
            lived.append(time.monotonic() - killed)
            lines.append((status, said(errors[index])))
    if all(status == 0 for status, _ in lines):
        return None  # They had no need of it any more.
    good = all(status == 1 and len(own) == 1 for status, own in lines)
    return {
        "after": "they met" if checkpoint is None else "a checkpoint",
        "worker": victim,
        "moment": moment,
        "lived": max(lived),
        "good": good and max(lived) < SECONDS,
        "lines": lines,
    }


def finish(command, flags, logs) -> float:
    """Runs to the end; returns the seconds after the workers have met."""
    processes, errors = start(command, flags.workers, logs)
    begin = None
    while any(process.poll() is None for process in processes):
        if begin is None and MET in errors[0].read_text():
            begin = time.monotonic()
        time.sleep(0.1)
    if any(process.returncode for process in processes):
        raise SystemExit("\n".join(path.read_text() for path in errors))
    return time.monotonic() - begin


def rows(workdir: pathlib.Path) -> list[dict]:
    """Returns the rows of a training without their times."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--images", type=int, default=80)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--longest", type=float, default=30, help="Seconds to a kill.")
    flags = parser.parse_args()
    random.seed(flags.seed)
    command = [
        *COMMAND,
        f"--epochs={flags.epochs}",
        f"--limit={flags.images}",
        f"--set=batch_size={flags.batch}",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        whole = folder / "whole"
        seconds = finish([*command, f"--workdir={whole}"], flags, folder)
        expected = rows(whole)
        print(f"{flags.workers} workers, {seconds:.0f} s without an interruption.\n")
        print("| kill | worker | s | after | others ended after s | one line |")
        print("| ---: | ---: | ---: | --- | ---: | --- |", flush=True)
        kills, trainings, worst = 0, 1, 0.0

        def compare():
            found = rows(folder / str(trainings))
            assert [r.keys() for r in found] == [r.keys() for r in expected]
            return max(
                abs(one[k] - other[k])
                for one, other in zip(found, expected, strict=True)
                for k in other
            )

        while kills < flags.kills:
            own = folder / str(trainings)
            checkpoint = own / "checkpoint.safetensors" if kills % 2 else None
            row = kill_one([*command, f"--workdir={own}"], flags, folder, checkpoint)
            if row is None:
                worst = max(worst, compare())
                trainings += 1
                continue
            kills += 1
            print(
                f"| {kills} | {row['worker']} | {row['moment']:.1f} | {row['after']} | "
                f"{row['lived']:.1f} | {'yes' if row['good'] else row['lines']} |",
                flush=True,
            )
        finish([*command, f"--workdir={folder / str(trainings)}"], flags, folder)
        worst = max(worst, compare())
    print(
        f"\n{trainings} trainings with {kills} kills; all rows of their metrics differ "
        f"from those without an interruption by at most {worst:.1e}."
    )


if __name__ == "__main__":
    main()
