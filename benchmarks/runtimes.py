r"""One stochastic network in eight forms: each runtime held against Keras.

    python -m benchmarks.runtimes --write=docs/device.md

It exports a model, which draws, to what Keras, TensorFlow, LiteRT and ONNX Runtime run,
and its network without draws to OpenVINO, which runs no other. Then it measures

* the size of the files;
* milliseconds an image takes, alone and in a batch of 32: the median over rounds that
  time all forms one after the other, in turning order, with `--threads` threads;
* accuracy, NLL and ECE of the files themselves, by `zoo-evaluate`;
* the largest difference of a probability from Keras, for the same images and seeds.

`make runtimes` installs all of them in an environment of their own and runs this; a
form whose runtime is missing has no line. `--severities=1,3,5` adds the means over all
corruptions at these severities. What lies in `--folder` from an earlier run is taken as
it is, files and predictions, so an interrupted run goes on. `--write` puts the table
between the marks of a file.
"""

import argparse
import datetime
import functools
import os
import pathlib

import numpy as np

from benchmarks import rounds

MARKS = "<!-- runtimes -->\n", "<!-- end of runtimes -->\n"
BATCHES = (1, 32)
COMPARED = 200  # Images.
BATCH = 100
SECONDS = 0.05  # Of a measurement, about.
KERAS = "Keras"
# By their names in the table, files in the folder, and how they are made.
FORMS = {
    KERAS: ("model.keras", {}),
    "SavedModel": ("saved_model", {"kind": "saved_model"}),
    "LiteRT float32": ("float32.tflite", {"kind": "tflite"}),
    **{
        f"LiteRT {name}": (f"{name}.tflite", {"kind": "tflite", "quantization": name})
        for name in ("dynamic", "int8", "int4")
    },
    "ONNX": ("model.onnx", {"kind": "onnx"}),
    "OpenVINO, without noise": ("openvino", {"kind": "openvino"}),
}
COLUMNS = (
    *("form", "MB", "1 image (ms)", "in 32 (ms)", "passes", "images", "accuracy (%)"),
    *("NLL (nats)", "ECE (%)", "largest difference"),
)
METRICS = {"accuracy": (100, 2), "nll": (1, 4), "ece": (100, 2)}  # Factor and digits.


def without_noise(name: str):
    """Returns the network of a model without what draws, with the same weights.

    Args:
        name: Name of a model with weights and dropout that stays on.
    """
    import zoo
    from zoo import finding

    found = finding.find(name)
    kept = [x for x in found.spec.methods if not x.startswith(("mcdo", "lldo"))]
    plain = "_".join((found.spec.architecture, *kept))
    return zoo.load(plain, weights=str(found.path))


def export_all(flags, folder: pathlib.Path) -> dict:
    """Exports a model in every form.

    Args:
        flags: `model`, `num_samples` and `dataset`.
        folder: Where to write.

    Returns:
        By form, the path and the Keras model that it was made of.
    """
    import zoo
    from training.export import formats

    noisy, plain, made = zoo.load(flags.model), without_noise(flags.model), {}
    for form, (file, options) in FORMS.items():
        path, given = folder / file, dict(options)
        kind = given.pop("kind", None)
        model = plain if kind == "openvino" else noisy
        if kind not in (None, "openvino"):
            given["num_samples"] = flags.num_samples
        if given.get("quantization") == "int8":
            given["calibration"] = flags.dataset
        try:
            if not path.exists() and kind is None:
                model.save(path)
            elif not path.exists():
                report = formats.export_as(kind, model, str(path), given)
                print(formats.describe(report), flush=True)
        except ImportError as error:
            print(f"{form} is left out: {error}", flush=True)
            continue
        made[form] = path, model
    return made


def size(path: pathlib.Path) -> int:
    """Returns the bytes of a file, or of all files in a folder."""
    files = [file for file in (path, *path.rglob("*")) if file.is_file()]
    return sum(file.stat().st_size for file in files)


def function(path: pathlib.Path, model, flags):
    """Returns a function of images and a seed to mean probabilities, an array."""
    from keras import ops

    from training.runtimes import places
    from zoo import predictive
    from zoo.posterior.monte_carlo import as_posterior

    if path.suffix == ".keras":
        posterior = as_posterior(model, flags.num_samples)
        return lambda images, seed: ops.convert_to_numpy(
            predictive.probs(posterior(images, seed=seed))
        )
    network = places.open_network(str(path), flags.num_samples, flags.threads)
    if network.sample is not None:
        return lambda images, seed: network.sample(
            images, seed, flags.num_samples
        ).mean(axis=0)
    return lambda images, seed: network.run(images, seed)["probabilities"]


def differences(runs: dict, made: dict, images, flags) -> dict:
    """Returns the largest difference of a probability from that of Keras, by form."""
    batches = np.split(images, range(BATCH, len(images), BATCH))
    expected, found = {}, {}
    for form, run in runs.items():
        _, model = made[form]
        if model.name not in expected:
            keras = function(pathlib.Path("model.keras"), model, flags)
            expected[model.name] = [
                keras(part, seed) for seed, part in enumerate(batches)
            ]
        found[form] = max(
            float(np.abs(run(part, seed) - probs).max())
            for seed, (part, probs) in enumerate(
                zip(batches, expected[model.name], strict=True)
            )
        )
    return found


def latencies(runs: dict, images, count: int) -> dict:
    """Returns milliseconds an image takes, by form, for each size of a batch."""
    found = {form: [] for form in runs}
    for batch in BATCHES:
        part = images[:batch]
        steps = {
            form: rounds.local(functools.partial(run, part, 0))
            for form, run in runs.items()
        }
        times = rounds.measure(steps, count, SECONDS)
        for form in runs:
            found[form].append(1e3 * np.median(times[form][:, 0]) / len(part))
    return found


def evaluated(made: dict, flags, folder: pathlib.Path) -> dict:
    """Returns the number of images and the metrics by form, clean and corrupted."""
    from training.evaluation import command
    from training.runtimes import places

    def rows(name, patterns, limit):
        settings = command.Settings(
            model=[str(path) for path, _ in made.values()],
            dataset=patterns,
            num_samples=(flags.num_samples,),
            limit=limit,
            batch_size=BATCH,
            data_dir=flags.data_dir,
            output=str(folder / name),
        )
        return command.run(settings).rows

    parts = [rows("evaluation", [flags.dataset], flags.limit)]
    if flags.severities:
        corrupted = [f"{flags.dataset}_c/*/{x}" for x in flags.severities.split(",")]
        parts.append(rows("corrupted", corrupted, flags.corrupted_limit))
    found = {}
    for form, (path, model) in made.items():
        is_keras = path.suffix == ".keras"
        name = model.name if is_keras else places.name_of(str(path))
        cells, counts = [], []
        for part in parts:
            own = [row for row in part if row["model"] == name]
            own = [row for row in own if "*" not in row["dataset"]]
            counts.append(own[0]["num_examples"])
            for metric, (factor, digits) in METRICS.items():
                values = [row["value"] for row in own if row["metric"] == metric]
                cells.append(f"{factor * np.mean(values):.{digits}f}")
        found[form] = counts[0], cells
    return found


def table(made: dict, flags, folder: pathlib.Path) -> list[str]:
    """Measures all forms, and returns the lines of the table."""
    from training import data

    images = data.load(flags.dataset, "test", flags.data_dir).images[:COMPARED]
    images = np.asarray(images).astype("float32")
    runs = {form: function(*of, flags) for form, of in made.items()}
    apart = differences(runs, made, images, flags)
    times = latencies(runs, images, flags.rounds)
    quality = evaluated(made, flags, folder)
    lines = []
    for form, (path, _) in made.items():
        count, cells = quality[form]
        passes = 1 if FORMS[form][1].get("kind") == "openvino" else flags.num_samples
        clean, corrupted = cells[: len(METRICS)], cells[len(METRICS) :]
        alone, together = times[form]
        texts = [form, f"{size(path) / 1e6:.2f}", f"{alone:.2f}", f"{together:.2f}"]
        texts += [str(passes), f"{count:,}", *clean, f"{apart[form]:.1e}", *corrupted]
        lines.append(f"| {' | '.join(texts)} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Prints the table, and writes it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="resnet20_smooth_mcdo.fashion_mnist")
    parser.add_argument("--dataset", default="fashion_mnist")
    parser.add_argument("--data_dir")
    parser.add_argument("--num_samples", type=int, default=10)
    parser.add_argument("--limit", type=int, help="Test images; default: all of them.")
    parser.add_argument("--severities", help="Of the corruptions, e.g. 1,3,5.")
    parser.add_argument("--corrupted_limit", type=int, help="Images of each of them.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--folder", type=pathlib.Path, default="runs/runtimes")
    parser.add_argument("--write", type=pathlib.Path, help="A file with the marks.")
    flags = parser.parse_args()

    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(flags.threads)
    tf.config.threading.set_inter_op_parallelism_threads(flags.threads)
    from benchmarks.device import processor
    from benchmarks.results import documents
    from training.versions import current_commit

    load = os.getloadavg()[0]
    flags.folder.mkdir(parents=True, exist_ok=True)
    made = export_all(flags, flags.folder)
    lines = table(made, flags, flags.folder)
    columns = list(COLUMNS)
    if flags.severities:
        columns += [f"corrupted: {x}" for x in COLUMNS[6:9]]
    text = (
        f"\n`{flags.model}`, commit `{current_commit()[:10]}`, "
        f"{datetime.date.today()}, {processor()}, {flags.threads} of "
        f"{os.cpu_count()} cores, load {load:.1f} at the start.\n\n"
        f"| {' | '.join(columns)} |\n|---|{'---:|' * (len(columns) - 1)}\n"
        + "\n".join(lines)
        + "\n\n"
    )
    print(text)
    if flags.write:
        documents.replace(flags.write, text, MARKS)


if __name__ == "__main__":
    main()
