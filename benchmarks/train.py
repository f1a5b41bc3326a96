r"""Images per second of a training step, against plain Keras, PyTorch and TFP.

    python -m venv peers
    peers/bin/pip install torch timm
    python -m benchmarks.train --peers=peers/bin/python --write=docs/training_speed.md

PyTorch and timm are not dependencies of this project: they live in a virtual
environment of their own, whose Python `--peers` names; without it they are left out.
The Flipout of TensorFlow Probability runs in a process with the Keras 2 that it needs.

Of each comparison a round measures all parts one after the other, in turning order, and
the ratios are medians over the rounds of those within a round: by the clock, and by
processor time, which other programs on the machine disturb less. A step is all of it:
forward, gradients, the update by SGD with Nesterov momentum and weight decay, and in
Keras the accuracy. The networks have the stem for small images.

Prints Markdown; `--write` puts it between the marks of a file too. `--quick` is a small
run that shows that everything works.

`--where` prints something else: where the time of a step goes, by oneDNN's own log, in
ours and in PyTorch's with channels last; see `benchmarks.train_where`.
"""

import argparse
import os
import pathlib
import platform
import sys

import keras
import numpy as np

from benchmarks import rounds, train_ours, train_where
from benchmarks.results import benchmark_page, documents
from training.versions import current_commit

MARKS = "<!-- train -->\n", "<!-- end of train -->\n"
METHODS = "smooth", "mcdo", "flipout", "blurpool", "lldo"


class Bench:
    """Settings, the processes of the others, and what was measured."""

    def __init__(self, flags):
        self.flags, self.lines = flags, []
        self.torch = self.tfp = None
        if flags.peers:
            cores = str(len(os.sched_getaffinity(0)))
            self.torch = rounds.Remote(flags.peers, "benchmarks.train_torch", (cores,))
        self.tfp = rounds.Remote(sys.executable, "benchmarks.train_tfp")

    def measure(self, steps: dict) -> dict:
        """Returns seconds by name, and forgets the steps."""
        times = rounds.measure(steps, self.flags.rounds, self.flags.seconds)
        steps.clear()
        for remote in (self.torch, self.tfp):
            if remote:
                remote.clear()
        keras.utils.clear_session()
        return times

    def stop(self) -> None:
        """Ends the processes."""
        for remote in (self.torch, self.tfp):
            if remote:
                remote.stop()

    def table(self, title: str, heading: list[str], body: list[list[str]]) -> None:
        """Prints a table whose first column is of words."""
        text = f"### {title}\n\n{benchmark_page.markdown(heading, body, 1)}"
        self.lines.append(text)
        print(f"\n{text}", flush=True)


def verdict(ratio: float, goal: float | None, above: bool = True) -> list[str]:
    """Returns the cells of a goal: the number and whether it is met."""
    if goal is None:
        return ["", ""]
    met = ratio >= goal if above else ratio <= goal
    return [f"{'≥' if above else '≤'} {goal:.2f}", "yes" if met else "no"]


def against_others(bench: Bench, network: str, shape: tuple, batch: int) -> None:
    """Adds the table of a network: ours, plain Keras and PyTorch."""
    job = {"shape": shape, "batch": batch}
    ours, local = train_ours.ours, rounds.local
    steps = {
        "ours": local(ours(network, **job)),
        "ours, XLA": local(ours(network, **job, jit_compile=True)),
        "ours, bfloat16": local(ours(network, **job, policy="mixed_bfloat16")),
        "Keras": local(train_ours.plain(network, **job)),
        "ours, mcdo": local(ours(f"{network}_mcdo", **job)),
        "Keras, dropout": local(train_ours.plain(network, **job, dropout=0.3)),
    }
    rows = [  # What; ours; the goal of ours over it.
        ("ours", "ours", None),
        ("ours, XLA", "ours", None),
        ("Keras", "ours", 1.25),
        ("ours, mcdo", "ours, mcdo", None),
        ("Keras, dropout", "ours, mcdo", 1.25),
        ("ours, bfloat16", "ours, bfloat16", None),
    ]
    for bfloat16 in (False, True) if bench.torch else ():
        for last in (False, True):
            name = "PyTorch" + ", channels last" * last + ", bfloat16" * bfloat16
            settings = {"network": network, "channels_last": last, **job}
            steps[name] = bench.torch.step(name, bfloat16=bfloat16, **settings)
            rows.append((name, "ours, bfloat16" if bfloat16 else "ours", 1.1))
    times, body = bench.measure(steps), []
    for name, own, goal in rows:
        wall, processor = rounds.ratio(times, own, name)
        rate = batch / np.median(times[name][:, 0])
        cells = [f"{rate:.1f}", own, f"{wall:.2f}", f"{processor:.2f}"]
        body.append([name, *cells, *verdict(wall, goal)])
    heading = ["step", "images/s", "against", "times as fast", "by processor time"]
    size = " x ".join(map(str, shape))
    title = f"`{network}`, {size}, {batch} images"
    bench.table(title, [*heading, "goal", "met"], body)


def methods(bench: Bench, network: str, shape: tuple, batch: int) -> None:
    """Adds the table of what each method costs."""
    names = [network, *(f"{network}_{method}" for method in METHODS)]
    steps = {n: rounds.local(train_ours.ours(n, shape, batch)) for n in names}
    times, body = bench.measure(steps), []
    for name in names:
        wall, processor = rounds.ratio(times, network, name)
        goal = 1.05 if name == "resnet50_smooth" else None
        cells = [f"{wall:.3f}", f"{processor:.3f}", *verdict(wall, goal, False)]
        body.append(
            [f"`{name}`", f"{batch / np.median(times[name][:, 0]):.1f}", *cells]
        )
    heading = ["network", "images/s", "time over the plain one's", "by processor time"]
    size = " x ".join(map(str, shape))
    title = f"What methods cost, {size}, {batch} images"
    bench.table(title, [*heading, "goal", "met"], body)


def flipout(bench: Bench, shape: tuple, batch: int) -> None:
    """Adds the table of convolutions with Gaussian weights."""
    body = []
    for training in (False, True):
        job = {"shape": shape, "filters": shape[-1], "batch": batch}
        job["training"] = training
        kinds = "flipout", "one draw", "convolution", "two convolutions"
        steps = {k: rounds.local(train_ours.convolution(k, **job)) for k in kinds}
        steps["TFP"] = bench.tfp.step("TFP", **job)
        times = bench.measure(steps)
        for name, other, goal in (
            ("flipout", "TFP", 1.0),
            ("flipout", "two convolutions", 1.05),
            ("one draw", "convolution", 1.1),
        ):
            wall, processor = rounds.ratio(times, other, name)
            cells = [f"{1e3 * np.median(times[n][:, 0]):.2f}" for n in (name, other)]
            cells += [f"{wall:.2f}", f"{processor:.2f}", *verdict(wall, goal, False)]
            step = "forward and gradients" if training else "forward"
            body.append([f"{name} over {other}, {step}", *cells])
    heading = ["time of, over that of", "ms", "ms", "ratio", "by processor time"]
    size = " x ".join(map(str, shape))
    title = f"3x3 convolutions, {size} to {shape[-1]} channels, {batch} examples"
    bench.table(title, [*heading, "goal", "met"], body)


def where(flags) -> None:
    """Prints where the time of a step of each network goes, in both precisions."""
    size = " x ".join(map(str, (flags.side, flags.side, 3)))
    for network in flags.networks:
        for bfloat16 in (False, True):
            job = {
                "network": network,
                "shape": (flags.side, flags.side, 3),
                "batch": flags.batch,
                "bfloat16": bfloat16,
                "threads": len(os.sched_getaffinity(0)),
            }
            ours = train_where.measure(sys.executable, "ours", flags.rounds, **job)
            torch = None
            if flags.peers:
                torch = train_where.measure(flags.peers, "torch", flags.rounds, **job)
            kind = "bfloat16" if bfloat16 else "float32"
            print(f"\n### `{network}`, {size}, {flags.batch} images, {kind}\n")
            print(benchmark_page.markdown(*train_where.table(ours, torch), 1))
            for name, side in (("Ours", ours), ("PyTorch", torch)):
                if side:
                    print(f"\n* {name}, by {side.version}, ms of implementations: ")
                    print(f"  {train_where.implementations(side)}.")
                    print(f"  Not in oneDNN: {train_where.outside(side)}.")


def conditions(flags) -> str:
    """Returns a line on commit, versions and machine."""
    import tensorflow as tf

    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    versions = f"TensorFlow {tf.__version__}, Keras {keras.__version__}"
    rules = f"medians of {flags.rounds} rounds of at least {flags.seconds:g} s"
    rules = f"means of {flags.rounds} steps" if flags.where else rules
    machine = f"{cores} cores ({platform.machine()}), load before it {load:.1f}"
    return f"Commit `{current_commit()[:10]}`; {machine}; {versions}; {rules}.\n"


def main() -> None:
    """Prints all tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", help="A Python that has torch and timm.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--side", type=int, default=32, help="Pixels of a side.")
    networks = {"nargs": "*", "default": ["resnet18", "resnet50"]}
    parser.add_argument("--networks", **networks, help="None for layers alone.")
    parser.add_argument("--quick", action="store_true", help="Two small rounds.")
    parser.add_argument("--where", action="store_true", help="By oneDNN's log.")
    parser.add_argument("--write", type=pathlib.Path, help="A file with the marks.")
    flags = parser.parse_args()
    if flags.write:
        documents.split(flags.write, MARKS)
    if flags.quick:
        flags.rounds, flags.seconds, flags.batch, flags.side = 2, 0.1, 8, 16
    about = conditions(flags)
    print(about)
    if flags.where:
        where(flags)
        return
    bench, shape = Bench(flags), (flags.side, flags.side, 3)
    for network in flags.networks:
        against_others(bench, network, shape, flags.batch)
        methods(bench, network, shape, flags.batch)
    for inputs in ((flags.side, flags.side, 64), (flags.side // 4,) * 2 + (256,)):
        flipout(bench, inputs, flags.batch)
    bench.stop()
    if flags.write:
        documents.replace(flags.write, "\n".join(["", about, *bench.lines, ""]), MARKS)


if __name__ == "__main__":
    main()
