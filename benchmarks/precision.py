r"""Time and results of evaluations in float32 and bfloat16, folded and not.

    python -m benchmarks.precision --data_dir=data --write=docs/prediction.md

One round measures, one after the other, a batch of test images through a network of the
zoo as `zoo-evaluate` passes it:

    float32           the network as it is, the default
    mixed_bfloat16    the network built under Keras' policy of that name
    folded            with its normalizations in its convolutions, in float32
    bfloat16          the same in bfloat16, as `--precision=bfloat16` has it

Ratios are medians over the rounds of the time of `float32` over that of a column; in
brackets is the same for processor time, which other programs disturb less.

`--accuracy` passes all test images in float32 and by `--precision=bfloat16`, and prints
the differences of NLL and accuracy. Weights that are not installed are looked for in
the folder `ZOO_WEIGHTS`.

`--kinds` prints instead, for each column, the milliseconds of a batch by kind of
operation, as TensorFlow's profiler tells them of one thread.
"""

import argparse
import collections
import os
import pathlib
import sys
import tempfile

import numpy as np

from benchmarks import rounds
from benchmarks.results import documents
from training.versions import current_commit

MARKS = "<!-- precision -->\n", "<!-- end of precision -->\n"  # Around the table.
MODELS = (
    "resnet18_mcdo.fashion_mnist",
    "resnet18_smooth.cifar100",
    "resnet18_smooth_mcdo.cifar100",
    "resnet50_smooth_mcdo.fashion_mnist",
)
COLUMNS = ("float32", "mixed_bfloat16", "folded", "bfloat16")
TARGET = 2.2  # Of the last column.


def variants(name: str) -> dict:
    """Returns by column a model or posterior, and the precision to pass it in."""
    import zoo
    from benchmarks.train_ours import dtype_policy
    from zoo import folding

    model = zoo.load(name)
    with dtype_policy("mixed_bfloat16"):
        mixed = zoo.load(name)
    return {
        "float32": (model, "float32"),
        "mixed_bfloat16": (mixed, "float32"),
        "folded": (folding.fold(model), "float32"),
        "bfloat16": (model, "bfloat16"),
    }


def test_set(name: str, model, data_dir: str | None):
    """Returns the test images of the data set that a preset is of, in its size."""
    from training import data

    dataset, side = name.partition(".")[2], model.input_shape[1]
    found = data.load(dataset, "test", data_dir)
    if found.images.shape[1] != side:
        found = data.load(f"{dataset}_size/{side}", "test", data_dir)
    return found


def step_of(model, precision: str, count: int, images):
    """Returns a step that passes a batch `count` times, as evaluations do."""
    from training.evaluation.sampling import Passes

    passes = Passes(model, [count], batch_size=len(images), precision=precision)
    return lambda: [values for _, values in passes.batches(images)]


def row_of(name: str, count: int, flags) -> str:
    """Returns a line of the table of times."""
    made = variants(name)
    images = test_set(name, made["float32"][0], flags.data_dir).images[: flags.batch]
    steps = {
        column: rounds.local(step_of(*made[column], count, images))
        for column in COLUMNS
    }
    times = rounds.measure(steps, flags.rounds, flags.seconds)
    cells = [f"{1000 * np.median(times['float32'][:, 0]):.0f}"]
    for column in COLUMNS[1:]:
        wall, used = rounds.ratio(times, column, "float32")
        cells.append(f"{wall:.2f} ({used:.2f})")
    verdict = "met" if wall >= TARGET else "missed"
    return f"| `{name}` | {count} | {' | '.join(cells)} | {verdict} |\n"


def differences(name: str, count: int, flags) -> str:
    """Returns a line of NLL and accuracy of all test images, by precision."""
    from training import metrics
    from training.evaluation import sampling

    model = variants(name)["float32"][0]
    dataset = test_set(name, model, flags.data_dir)
    found = []
    for precision in ("float32", "bfloat16"):
        passes = sampling.Passes(model, [count], precision=precision)
        parts = [values["probs"][0] for _, values in passes.batches(dataset.images)]
        probs = np.concatenate(parts)
        found.append(
            [
                metrics.METRICS[metric].function(probs, dataset.labels)
                for metric in ("nll", "accuracy")
            ]
        )
    (nll, accuracy), (half_nll, half_accuracy) = found
    return (
        f"| `{name}` | {count} | {nll:.4f} | {half_nll - nll:+.5f} | "
        f"{100 * accuracy:.2f} | {100 * (half_accuracy - accuracy):+.2f} |\n"
    )


def kinds(step, shown: int = 8) -> str:
    """Returns the milliseconds of a step by kind of operation, largest first."""
    step(), step()
    used = rounds.clock(step, 3)[1]
    found = own_times(step)
    whole = sum(found.values())
    parts = [f"{k} {1000 * used * v / whole:.1f}" for k, v in found.most_common(shown)]
    return f"{1000 * used:.0f} ms: {', '.join(parts)}"


def own_times(step) -> collections.Counter:
    """Returns the picoseconds of kernels, and of what XLA has fused, by kind."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        step()
        tf.profiler.experimental.stop()
        (path,) = pathlib.Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
    times = collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            _add_own_times(times, plane, line)
    kernels = {k: v for k, v in times.items() if k[:1] in "_" or k[:1].isupper()}
    kernels = {k: v for k, v in kernels.items() if k not in _AROUND}
    fused = {k: v for k, v in times.items() if k.endswith("fusion")}
    return collections.Counter({**kernels, **fused})


# Events of the profiler around kernels.
_AROUND = ("Run", "Process", "FunctionRun", "Start", "Execute", "ExecuteAsyncOnStream")


def _add_own_times(times, plane, line):
    """Adds what events of a thread take beside those inside of them."""
    events = sorted(
        (e.offset_ps, -e.duration_ps, plane.event_metadata[e.metadata_id].name)
        for e in line.events
    )
    around = []
    for start, negative, name in events:
        kind = name.rpartition(":")[2]
        while around and around[-1][0] <= start:
            around.pop()
        if around:
            times[around[-1][1]] += negative
        times[kind] -= negative
        around.append((start - negative, kind))


def tables(flags):
    """Yields the lines of a table."""
    arguments = [a for a in sys.argv[1:] if not a.startswith(("--write", "--data_dir"))]
    command = " ".join(["python -m benchmarks.precision", *arguments])
    yield f"`{command}`: batch {flags.batch}, {flags.threads} threads, {flags.rounds} "
    yield f"rounds, TensorFlow {rounds.version(sys.executable, 'tensorflow')}, commit "
    yield f"`{current_commit()[:10]}`, load {os.getloadavg()[0]:.1f} at the start.\n\n"
    pairs = [(name, count) for name in flags.models for count in flags.samples]
    if flags.kinds:
        for name, count in pairs:
            made = variants(name)
            dataset = test_set(name, made["float32"][0], flags.data_dir)
            images = dataset.images[: flags.batch]
            for column in COLUMNS:
                text = kinds(step_of(*made[column], count, images))
                yield f"* `{name}`, N = {count}, {column}: {text}\n"
        return
    if flags.accuracy:
        yield "| model | N | NLL | in bfloat16 | accuracy (%) | in bfloat16 |\n"
        yield "|---|---:|---:|---:|---:|---:|\n"
        yield from (differences(*pair, flags) for pair in pairs)
        return
    yield f"| model | N | float32, ms | {' | '.join(COLUMNS[1:])} | >= {TARGET} |\n"
    yield f"|---|---:|---:|{'---:|' * len(COLUMNS[1:])}---|\n"
    yield from (row_of(*pair, flags) for pair in pairs)


def main():
    """Prints the table, and writes it into a file if there is one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data_dir")
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--kinds", action="store_true")
    parser.add_argument("--write", type=pathlib.Path, help="A Markdown file.")
    flags = parser.parse_args()
    import tensorflow as tf

    threads = 1 if flags.kinds else flags.threads
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    text = ""
    for line in tables(flags):
        print(line, end="", flush=True)
        text += line
    if flags.write:
        documents.replace(flags.write, f"\n{text}\n", MARKS)


if __name__ == "__main__":
    main()
