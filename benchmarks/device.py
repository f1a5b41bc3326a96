r"""Size, latency, accuracy, NLL and ECE of the packaged models in every LiteRT format.

    python -m benchmarks.device --write=docs/device.md

It exports each model in each format, and runs the files in the LiteRT interpreter: for
the metrics all test images in batches of 100, for the latencies one image at a time
with one thread and with two. The stochastic models have five passes in their files, and
fewer images, since the masks cost several times what the rest does.

A round times all formats of a model one after the other, in turning order. A latency is
the median over the rounds, and a speed-up the median of the ratios within a round,
which other programs on the machine disturb less. `--write` replaces the tables in the
file.
"""

import argparse
import datetime
import functools
import os
import pathlib
import platform
import tempfile

import numpy as np

from benchmarks import rounds

FORMATS = {
    "float32": {},
    "float16": {"quantization": "float16"},
    "dynamic": {"quantization": "dynamic"},
    "int8": {"quantization": "int8", "input_dtype": "uint8"},
}
THREADS = (1, 2)
BATCH = 100
SECONDS = 0.02  # Of a measurement, about.
CALIBRATION = 200
COLUMNS = (
    *("format", "kB", "of float32 (%)", "images", "accuracy (%)", "NLL (nats)"),
    *("ECE (%)", "1 thread (ms)", "speed-up", "2 threads (ms)", "speed-up"),
)


def export_all(name: str, num_samples: int, folder: pathlib.Path) -> dict:
    """Exports a model in every format.

    Args:
        name: Name of a model with weights.
        num_samples: Forward passes of a stochastic model.
        folder: Where to write.

    Returns:
        Paths by format, and the number of passes.
    """
    import zoo
    from training import export
    from training.export import litert

    model, paths, report = zoo.load(name), {}, {}
    images = litert.calibration_images("fashion_mnist", CALIBRATION)
    for label, options in FORMATS.items():
        extra = {"calibration": images} if "int8" in options.values() else {}
        paths[label] = folder / f"{name}.{label}.tflite"
        report = export.export_tflite(
            model, paths[label], num_samples, **options, **extra
        )
        print(f"{report['path']}: {report['seconds']} s", flush=True)
    return paths, report["num_samples"]


def quality(path: pathlib.Path, images, labels) -> list[float]:
    """Returns accuracy, NLL and ECE; every batch has a seed of its own."""
    from training import metrics
    from training.runtimes import litert

    run = litert.open_network(path, num_threads=max(THREADS)).run
    parts = [run(images[i : i + BATCH], i) for i in range(0, len(images), BATCH)]
    probs = np.concatenate([part["probabilities"] for part in parts])
    return [f(probs, labels) for f in (metrics.accuracy, metrics.nll, metrics.ece)]


def latencies(paths: dict, image, count: int) -> dict:
    """Returns the median latency and the median speed-up over float32, by threads.

    Args:
        paths: By format.
        image: Array of shape `(1, height, width, channels)`.
        count: How many rounds to measure.

    Returns:
        By format, a list of seconds and speed-up for each number of threads.
    """
    from training.runtimes import litert

    def opened(path, threads):
        return litert.open_network(path, num_threads=threads).run

    found = {label: [] for label in paths}
    for threads in THREADS:
        runs = {k: opened(path, threads) for k, path in paths.items()}
        steps = {
            k: rounds.local(functools.partial(r, image, 0)) for k, r in runs.items()
        }
        times = rounds.measure(steps, count, SECONDS)
        for label in paths:
            wall, _ = rounds.ratio(times, label, "float32")
            found[label] += [np.median(times[label][:, 0]), wall]
    return found


def rows(name: str, flags, folder: pathlib.Path) -> list[list[str]]:
    """Measures a model, and returns its number of passes and the lines of its table."""
    from training import data

    test = data.load("fashion_mnist", "test")
    paths, passes = export_all(name, flags.num_samples, folder)
    limit = flags.stochastic_limit if passes > 1 else flags.limit
    images, labels = test.images[:limit], test.labels[:limit]
    times = latencies(paths, images[:1], flags.rounds)
    base, lines = os.path.getsize(paths["float32"]), []
    for label, path in paths.items():
        size = os.path.getsize(path)
        accuracy, nll, ece = quality(path, images, labels)
        one, one_up, two, two_up = times[label]
        lines.append(
            f"| {label} | {size / 1e3:.1f} | {100 * size / base:.1f} | {len(images)} | "
            f"{100 * accuracy:.2f} | {nll:.4f} | {100 * ece:.2f} | {1e3 * one:.2f} | "
            f"{one_up:.2f} | {1e3 * two:.2f} | {two_up:.2f} |"
        )
        print(lines[-1], flush=True)
    return passes, lines


def processor() -> str:
    """Returns the name of the processor, as far as it is known."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return (names or [platform.machine()])[0].strip()


def main() -> None:
    """Prints a table for each model."""
    from benchmarks.results import documents
    from training.cli import demo_tour
    from training.versions import current_commit

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    models = [f"{name}.fashion_mnist" for name in demo_tour.MODELS]
    parser.add_argument("--models", nargs="+", default=models)
    parser.add_argument("--num_samples", type=int, default=5)
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--stochastic_limit", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=51)
    parser.add_argument("--write", type=pathlib.Path, help="A Markdown file.")
    flags = parser.parse_args()
    load = os.getloadavg()[0]
    text = (
        f"\nCommit `{current_commit()[:10]}`, {datetime.date.today()}, {processor()}, "
        f"{os.cpu_count()} cores, load {load:.1f} at the start.\n"
    )
    header = f"| {' | '.join(COLUMNS)} |\n|---|{'---:|' * (len(COLUMNS) - 1)}\n"
    for name in flags.models:
        with tempfile.TemporaryDirectory() as folder:
            passes, lines = rows(name, flags, pathlib.Path(folder))
        what = "1 pass" if passes == 1 else f"the mean of {passes} passes"
        text += f"\n`{name}`, {what}:\n\n{header}" + "\n".join(lines) + "\n"
    print(text)
    if flags.write:
        documents.replace(flags.write, text + "\n")


if __name__ == "__main__":
    main()
