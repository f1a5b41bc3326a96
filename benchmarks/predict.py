r"""Time of Monte Carlo prediction against plain loops, `predict` and PyTorch.

    python -m venv peers
    peers/bin/pip install torch torchvision 'torch-uncertainty[cpu]'
    python -m benchmarks.predict --peers=peers/bin/python

One round measures, one after the other, for the same network and batch of 32x32 images:

    ours      zoo.posterior.MonteCarlo, called
    loop      one compiled pass, `tf.function(model)`, N times
    predict   `model.predict`, N times
    torch     a pass of the same network in PyTorch, N times, `torch.inference_mode`
    wrapper   torch-uncertainty's MC dropout, all passes in one batch of up to 640 rows

Ratios are medians over the rounds of a round's time over that of `ours`; in brackets is
the same for processor time, which other programs disturb less. Loops are measured over
as many passes as make 320 rows, the wrapper over 640, and scaled. All have the same
number of threads. The peers, which are no dependencies of this project, run in the
Python of `--peers`; the numbers of weights are compared. A flipout network there has
the Bayesian layers of torch-uncertainty, which draw one kernel for each pass, as
`estimator="weight_sampling"` does.

`--memory` prints, for each network, batch and number of passes, the peak memory of a
process that predicts with `MonteCarlo` over that of one with the loop, TensorFlow and
weights included.

`--headline` is something else: for packaged backbones the time of a plain loop of the
most passes of `mcdo` that its card has, over that of the fewest passes of `smooth_mcdo`
whose NLL is no worse.
"""

import argparse
import dataclasses
import functools
import os
import pathlib
import resource
import subprocess
import sys

import numpy as np

from benchmarks import headline, rounds
from benchmarks.results import documents
from training.versions import current_commit

MARKS = "<!-- predict -->\n", "<!-- end of predict -->\n"  # Around the table.
ROWS = 320  # Of a measurement of a loop.
BATCHED = 640  # Rows of torch-uncertainty's batch; more would take gigabytes.


def last_stage(parts):
    """MC dropout in the blocks of the last stage alone."""
    import keras

    import layers

    def dropout(name):
        inside = name.startswith("stage4")
        return layers.MCDropout(0.3, name=name) if inside else keras.layers.Identity()

    return dataclasses.replace(parts, dropout=dropout)


@functools.cache
def network(name: str):
    """Returns an untrained network of the zoo, or one with `last_stage`."""
    import zoo
    from zoo import registry
    from zoo.models import methods, parts

    architecture, _, method = name.partition("_")
    made = (methods.METHODS | {"last_stage": last_stage})[method](parts.Parts())
    normalization = registry.default_normalization(3)
    build = zoo.registry.ARCHITECTURES[architecture]
    return build(made, (32, 32, 3), 10, normalization)


def scaled(step, factor: float):
    """Returns a step whose seconds are multiplied by a factor."""
    return lambda count: [factor * seconds for seconds in step(count)]


def measured(count: int, batch: int, rows: int) -> int:
    """Returns how many passes are measured: those of at most `rows` rows, or one."""
    return min(count, max(1, rows // batch))


def runners(name: str, batch: int, count: int, peers: dict) -> dict:
    """Returns by column what `rounds.measure` takes; `peers` are processes."""
    from zoo.posterior import MonteCarlo

    model, images = network(name), noise(batch)
    posterior = MonteCarlo(model, count)
    passes = measured(count, batch, ROWS)
    loop = loop_of(model, images, passes)

    def predict():
        run = functools.partial(model.predict, images, batch, verbose=0)
        return np.stack([run() for _ in range(passes)])

    loops = {"loop": rounds.local(loop), "predict": rounds.local(predict)}
    others = {}
    job = {"network": name, "batch": batch, "weights": weights_of(name)}
    if "torch" in peers:
        loops["torch"] = peers["torch"].step("torch", kind="loop", count=passes, **job)
    if "wrapper" in peers and not name.endswith("flipout"):
        batched = measured(count, batch, BATCHED)
        step = peers["wrapper"].step("wrapper", kind="wrapper", count=batched, **job)
        others["wrapper"] = scaled(step, count / batched)
    loops = {k: scaled(step, count / passes) for k, step in loops.items()}
    return {"ours": rounds.local(lambda: posterior(images).numpy()), **loops, **others}


def noise(batch: int):
    """Returns a batch of images."""
    import tensorflow as tf

    images = np.random.default_rng(0).uniform(0, 255, (batch, 32, 32, 3))
    return tf.constant(images, "float32")


def loop_of(model, images, passes: int):
    """Returns a function that makes so many passes, one compiled call each."""
    import tensorflow as tf

    compiled = tf.function(lambda x: model(x, training=False), autograph=False)
    return lambda: tf.stack([compiled(images) for _ in range(passes)]).numpy()


def peak(kind: str, name: str, batch: int, count: int) -> float:
    """Returns the peak memory of this process in MiB after two predictions."""
    from zoo.posterior import MonteCarlo

    model, images = network(name), noise(batch)
    posterior = MonteCarlo(model, count)
    if kind == "loop":
        step = loop_of(model, images, count)
    else:
        step = functools.partial(posterior, images, seed=0)
    step(), step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory_row(name: str, batch: int, count: int, flags) -> str:
    """Returns a line of the table of memory, measured in processes of their own."""
    peaks = {}
    for kind in ("ours", "loop"):
        settings = ["--networks", name, "--batches", batch, "--samples", count]
        command = ["-m", "benchmarks.predict", "--peak", kind, *settings]
        command = [*command, "--threads", flags.threads]
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        peaks[kind] = float(done.stdout.split()[-1])
    ratio = peaks["ours"] / peaks["loop"]
    verdict = "met" if ratio <= MEMORY else "missed"
    cells = f"{peaks['ours']:.0f} | {peaks['loop']:.0f} | {ratio:.2f} | {verdict}"
    return f"| `{name}` | {batch} | {count} | {cells} |\n"


def weights_of(name: str) -> int:
    """Returns how many weights PyTorch's network has: one of Flipout has more."""
    ours = sum(int(np.prod(v.shape)) for v in network(name).trainable_variables)
    return ours + 10 * name.endswith("flipout")  # Deviations of the head's bias.


def row_of(name: str, batch: int, count: int, seconds: dict) -> str:
    """Returns a line of the table."""
    rate = batch * count / np.median(seconds["ours"][:, 0])
    cells, met = [], []
    for column in COLUMNS:
        if column not in seconds:
            cells.append("")
            continue
        wall, used = rounds.ratio(seconds, "ours", column)
        cells.append(f"{wall:.2f} ({used:.2f})")
        target = target_of(name, batch, count, column)
        if target:
            verdict = "met" if wall >= target else "missed"
            met.append(f"{column} >= {target:g}: {verdict}")
    head = f"| `{name}` | {batch} | {count} | {rate:.0f} | "
    return head + " | ".join([*cells, "; ".join(met)]) + " |\n"


def target_of(name: str, batch: int, count: int, column: str) -> float | None:
    """Returns the ratio to reach, if there is one."""
    if column in ("torch", "wrapper"):
        return 1.0
    kind = name.partition("_")[2]
    return TARGETS.get((kind, column, batch)) if count == 50 else None


def versions(flags) -> dict[str, str | None]:
    """Returns the versions of what is compared; None for what is not there."""
    found = {"TensorFlow": rounds.version(sys.executable, "tensorflow")}
    if flags.peers and not flags.headline:
        for name, package in (("PyTorch", "torch"), (WRAPPER, WRAPPER)):
            found[name] = rounds.version(flags.peers, package)
    return found


def tables(flags, found: dict, peers: dict):
    """Yields the table, line after line, or the headline."""
    arguments = [a for a in sys.argv[1:] if not a.startswith(("--peers", "--write"))]
    command = " ".join(["python -m benchmarks.predict", *arguments])
    names = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    yield f"`{command}`: {flags.threads} threads, {flags.rounds} rounds, {names}, "
    yield f"commit `{current_commit()[:10]}`, "
    yield f"load {os.getloadavg()[0]:.1f} at the start.\n\n"
    if flags.headline:
        for backbone, dataset in headline.WEIGHTS:
            yield f"{headline.headline(backbone, dataset, flags.rounds)}\n"
        return
    cells = [
        (name, batch, count)
        for name in flags.networks
        for batch in flags.batches
        for count in flags.samples
    ]
    if flags.memory:
        yield f"| network | batch | N | ours, MiB | loop, MiB | ratio | <= {MEMORY} |\n"
        yield "|---|---:|---:|---:|---:|---:|---|\n"
        yield from (memory_row(*cell, flags) for cell in cells)
        return
    yield f"| network | batch | N | images x N / s | {' | '.join(COLUMNS)} | |\n"
    yield "|---|---:|---:|---:|" + "---:|" * len(COLUMNS) + "---|\n"
    for cell in cells:
        steps = runners(*cell, peers)
        seconds = rounds.measure(steps, flags.rounds, flags.seconds)
        for peer in peers.values():
            peer.clear()
        yield row_of(*cell, seconds)


def main():
    """Prints the table, and writes it into a file if there is one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", help="Python of PyTorch and torch-uncertainty.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="Of each measurement."
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--samples", type=int, nargs="+", default=[10, 50])
    parser.add_argument("--quick", action="store_true", help="One cell, two rounds.")
    parser.add_argument("--headline", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peak", choices=["ours", "loop"], help="Of this process.")
    parser.add_argument("--write", type=pathlib.Path, help="A Markdown file.")
    flags = parser.parse_args()
    if flags.quick:
        flags.networks, flags.batches = flags.networks[:1], flags.batches[:1]
        flags.samples, flags.rounds = flags.samples[:1], 2
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(flags.threads)
    tf.config.threading.set_inter_op_parallelism_threads(flags.threads)
    if flags.peak:
        print(peak(flags.peak, *flags.networks, *flags.batches, *flags.samples))
        return
    found, peers = versions(flags), {}
    for column, package in (("torch", "PyTorch"), ("wrapper", WRAPPER)):
        if found.get(package):
            command = "benchmarks.predict_torch", (str(flags.threads),)
            peers[column] = rounds.Remote(flags.peers, *command)
    text = ""
    for line in tables(flags, found, peers):
        print(line, end="", flush=True)
        text += line
    if flags.write:
        documents.replace(flags.write, f"\n{text}\n", MARKS)
    for peer in peers.values():
        peer.stop()


WRAPPER = "torch-uncertainty"
MEMORY = 1.2  # The largest ratio to accept.
COLUMNS = ("loop", "predict", "torch", "wrapper")
NETWORKS = (
    "resnet18_mcdo",
    "resnet50_mcdo",
    "resnet18_last_stage",
    "resnet18_lldo",
    "resnet18_flipout",
)
# The ratios to reach with 50 samples, by method, column and batch.
TARGETS = {
    ("mcdo", "loop", 1): 2.0,
    ("mcdo", "loop", 8): 1.3,
    ("mcdo", "predict", 1): 10.0,
    ("last_stage", "loop", 1): 8.0,
    ("last_stage", "loop", 8): 5.0,
    ("last_stage", "predict", 1): 45.0,
}

if __name__ == "__main__":
    main()
