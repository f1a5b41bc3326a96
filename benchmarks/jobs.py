r"""Measures how evaluations gain from several processes on one machine.

    python -m benchmarks.jobs --model=resnet18_smooth_mcdo --num_samples=5

Passes images of noise through a model, stores the predictions and computes metrics, as
`zoo-evaluate` does: in this process with all cores, by one process with one core, and
by a process on each core, in turn. What is compiled first does not count. Prints the
medians as Markdown: passes a second, and passes a second of processor time, of all
processes together, which other programs on the machine change less. `--pause` is a
command that is run before each measurement, and `--go_on` after it.
"""

import argparse
import functools
import os
import pathlib
import resource
import statistics
import subprocess
import tempfile
import time

import numpy as np

import zoo
from training import processor
from training.data import fingerprint
from training.data.image_data import ImageData, Numbers
from training.evaluation import evaluate, predictions, slices
from training.evaluation.sampling import Passes
from training.parallel import local
from training.parallel.workers import Workers
from training.progress import Progress


def noise(count: int, shape, name: str) -> ImageData:
    """Returns images of noise with labels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *shape), "uint8")
    return ImageData(name, images, rng.integers(0, 10, count), Numbers(10))


def run(passes, datasets, workers, folder):
    """Evaluates a model on data sets."""
    progress = Progress("", 0, lambda _: None)
    jobs = (
        slices.Job(
            passes,
            dataset,
            pathlib.Path(folder, dataset.name),
            fingerprint.of_posterior(passes.posterior),
        )
        for dataset in datasets
    )
    ahead = slices.Ahead(jobs, workers, progress)
    for job in ahead:
        batches = functools.partial(ahead.batches, job)
        stored = predictions.write(job.meta, job.dataset.labels, batches, job.folder)
        evaluate.rows(stored)


def used(pids) -> float:
    """Returns the seconds of processor time of this process and of others."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    ticks = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
        ticks += sum(map(int, fields.split()[11:13]))
    return own.ru_utime + own.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


class Kept(local.Processes):
    """Processes whose numbers are known."""

    def __init__(self, *given):
        super().__init__(*given)
        self.pids = []

    def start(self, number):
        worker = super().start(number)
        self.pids.append(worker.name.rpartition(" ")[2])
        return worker


class Kind:
    """One way to share the work."""

    def __init__(self, engine, passes):
        self.engine, self.passes = engine, passes
        self.workers = Workers(engine and (lambda: engine))
        self.found = []

    def warm_up(self, dataset):
        """Compiles the model in all processes."""
        with tempfile.TemporaryDirectory() as folder:
            count = 1 if self.engine is None else 3 * self.engine.num_workers
            sets = (
                noise(len(dataset), dataset.input_shape, str(i)) for i in range(count)
            )
            run(self.passes, sets, self.workers, folder)

    def measure(self, datasets):
        """Adds passes a second and passes a processor second."""
        pids = self.engine.pids if self.engine else ()
        with tempfile.TemporaryDirectory() as folder:
            begin, before = time.perf_counter(), used(pids)
            run(self.passes, datasets, self.workers, folder)
            wall, seconds = time.perf_counter() - begin, used(pids) - before
        count = sum(map(len, datasets)) * self.passes.per_image
        self.found.append((count / wall, count / seconds))


def main():
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet18_smooth_mcdo")
    parser.add_argument("--num_samples", type=int, default=5)
    parser.add_argument("--count", type=int, default=800, help="images of a set")
    parser.add_argument("--sets", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pause", default="true")
    parser.add_argument("--go_on", default="true")
    flags = parser.parse_args()
    shape, cores = (32, 32, 3), processor.num_cores()
    model = zoo.build(flags.model, shape, 10)

    def passes():
        return Passes(model, (1, flags.num_samples))

    kinds = {
        "this process": Kind(None, passes()),
        "one process, one core": Kind(Kept(1, 1), passes()),
        f"{cores} processes": Kind(Kept(cores, 1), passes()),
    }
    datasets = [noise(flags.count, shape, f"set{i}") for i in range(flags.sets)]
    for kind in kinds.values():
        kind.warm_up(noise(200, shape, "warm"))
    for _ in range(flags.rounds):
        for kind in kinds.values():
            subprocess.run(flags.pause, shell=True, check=False)
            try:
                kind.measure(datasets)
            finally:
                subprocess.run(flags.go_on, shell=True, check=False)
    print(
        f"`{flags.model}`, N = {flags.num_samples}, {len(datasets)} x {flags.count}\n"
    )
    print("| | passes/s | passes/s of processor time |\n|---|---:|---:|")
    for name, kind in kinds.items():
        wall, seconds = (statistics.median(x) for x in zip(*kind.found, strict=True))
        print(f"| {name} | {wall:.0f} | {seconds:.0f} |")
    for kind in kinds.values():
        kind.workers.__exit__(None, None, None)


if __name__ == "__main__":
    main()
