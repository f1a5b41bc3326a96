r"""Time of Monte Carlo prediction against plain loops, `predict` and PyTorch.

    python -m venv peers
    peers/bin/pip install torch torchvision torch-uncertainty
    python -m benchmarks.predict --peers=peers/bin/python

One round measures, one after the other, for the same network and batch of 32x32 images:

    ours      zoo.posterior.MonteCarlo, called
    loop      one compiled pass, `tf.function(model)`, N times
    predict   `model.predict`, N times
    torch     a pass of the same network in PyTorch, N times, `torch.inference_mode`
    wrapper   torch-uncertainty's MC dropout, all passes in one batch of up to 640 rows

Ratios are medians over the rounds of a round's time over that of `ours`; in brackets is
the same for processor time, which other programs disturb less. Loops are measured over
as many passes as make 640 rows and scaled. All have the same number of threads. The
peers, which are no dependencies of this project, run in the Python of `--peers`; the
numbers of weights are compared. A flipout network there has the Bayesian layers of
torch-uncertainty, which draw one kernel for each pass, as `prediction="weights"` does.

`--headline` has another table: the time of a plain loop of 50 passes of the packaged
`resnet20_mcdo` over that of the fewest passes of `resnet20_smooth_mcdo` whose NLL is
no worse, as the model cards say.
"""

import argparse
import dataclasses
import functools
import os
import pathlib
import sys

import numpy as np

from benchmarks._headline import headline
from benchmarks._timing import Peer, measure, timed
from training import readme

MARKS = "<!-- predict -->\n", "<!-- end of predict -->\n"  # Around the table.
ROWS = 640  # Of a measurement of a loop.


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
    from zoo import methods, parts, registry

    architecture, _, method = name.partition("_")
    made = (methods.METHODS | {"last_stage": last_stage})[method](parts.Parts())
    normalization = registry.default_normalization(3)
    build = zoo.registry.ARCHITECTURES[architecture]
    return build(made, (32, 32, 3), 10, normalization)


def loop_of(run, batch: int, count: int):
    """Returns a measurement of a loop of `run(passes)`, scaled to `count` passes."""
    passes = min(count, max(1, ROWS // batch))
    return lambda: [seconds * count / passes for seconds in run(passes)]


def runners(name: str, batch: int, count: int, peers: Peer | None) -> dict:
    """Returns a function for each column that gives seconds of wall and processor."""
    import tensorflow as tf

    from zoo.posterior import MonteCarlo

    model = network(name)
    images = np.random.default_rng(0).uniform(0, 255, (batch, 32, 32, 3))
    images = tf.constant(images, "float32")
    posterior = MonteCarlo(model, count)
    compiled = tf.function(lambda x: model(x, training=False), autograph=False)

    def loop(passes):
        return timed(lambda: tf.stack([compiled(images) for _ in range(passes)]))

    def predict(passes):
        run = functools.partial(model.predict, images, batch, verbose=0)
        return timed(lambda: np.stack([run() for _ in range(passes)]))

    found = {
        "ours": lambda: timed(lambda: posterior(images).numpy()),
        "loop": loop_of(loop, batch, count),
        "predict": loop_of(predict, batch, count),
    }
    if peers is not None:
        check_weights(name, peers.ask(name, "loop", 1, 1)[2])

        def torch_loop(passes):
            return peers.ask(name, "loop", batch, passes)[:2]

        found["torch"] = loop_of(torch_loop, batch, count)
        if peers.about["wrapper"] and not name.endswith("flipout"):
            found["wrapper"] = lambda: peers.ask(name, "wrapper", batch, count)[:2]
    return found


def check_weights(name: str, theirs: int):
    """Raises a ValueError if PyTorch has another network."""
    ours = sum(int(np.prod(v.shape)) for v in network(name).trainable_variables)
    spread = 10 if name.endswith("flipout") else 0  # Theirs is of the bias too.
    if ours != theirs - spread:
        raise ValueError(
            f"The networks called '{name}' differ. Received: {ours} weights, and "
            f"{theirs} in PyTorch."
        )


def row_of(name: str, batch: int, count: int, seconds: dict) -> str:
    """Returns a line of the table."""
    rate = batch * count / np.median(seconds["ours"][:, 0])
    cells, met = [], []
    for column in COLUMNS:
        if column not in seconds:
            cells.append("")
            continue
        wall, used = np.median(seconds[column] / seconds["ours"], axis=0)
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


def tables(flags, peers: Peer | None):
    """Yields the table, line after line, or the headline."""
    import tensorflow as tf

    versions = f"TensorFlow {tf.__version__}"
    if peers is not None:
        versions += f", PyTorch {peers.about['torch']}"
    arguments = [a for a in sys.argv[1:] if not a.startswith(("--peers", "--write"))]
    command = " ".join(["python -m benchmarks.predict", *arguments])
    yield f"`{command}`: {flags.threads} threads, {flags.rounds} rounds, {versions}, "
    yield f"load {os.getloadavg()[0]:.1f} at the start.\n\n"
    if flags.headline:
        yield headline(flags.rounds)
        return
    yield f"| network | batch | N | images x N / s | {' | '.join(COLUMNS)} | |\n"
    yield "|---|---:|---:|---:|" + "---:|" * len(COLUMNS) + "---|\n"
    for name in flags.networks:
        for batch in flags.batches:
            for count in flags.samples:
                seconds = measure(runners(name, batch, count, peers), flags.rounds)
                yield row_of(name, batch, count, seconds)


def main():
    """Prints the table, and writes it into a file if there is one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", help="Python of PyTorch and torch-uncertainty.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--samples", type=int, nargs="+", default=[10, 50])
    parser.add_argument("--quick", action="store_true", help="One cell, two rounds.")
    parser.add_argument("--headline", action="store_true")
    parser.add_argument("--write", type=pathlib.Path, help="A Markdown file.")
    flags = parser.parse_args()
    if flags.quick:
        flags.networks, flags.batches = flags.networks[:1], flags.batches[:1]
        flags.samples, flags.rounds = flags.samples[:1], 2
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(flags.threads)
    tf.config.threading.set_inter_op_parallelism_threads(flags.threads)
    peers = None
    if flags.peers:
        peers = Peer(flags.peers, "_torch_networks.py", flags.threads)
    text = ""
    for line in tables(flags, peers):
        print(line, end="", flush=True)
        text += line
    if flags.write:
        readme.replace(flags.write, f"\n{text}\n", MARKS)
    if peers is not None:
        peers.stop()


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
