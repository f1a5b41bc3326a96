r"""One stochastic network in every form: each runtime held against Keras.

    python -m benchmarks.runtimes --write=docs/device.md

It exports a model, which draws, to what Keras, TensorFlow, LiteRT and ONNX Runtime run,
and its network without draws to OpenVINO, which runs no other. Then it measures

* the size of the files;
* milliseconds an image takes, alone and in a batch of 32: the median over rounds that
  time all forms one after the other, in turning order, with `--threads` threads; and
  the median of how many times as long LiteRT in float32 takes in the same round;
* accuracy, NLL and ECE of the files themselves, by `zoo-evaluate`;
* the largest difference of a probability from Keras, for the same images and seeds.

`make runtimes` installs all of them in an environment of their own and runs this; a
form whose runtime is missing has no line. `--server=grpc://localhost:8500/NAME` adds
a server that has the model by `zoo-export --format=serving`. `--severities=1,3,5` adds
the means over all corruptions at these severities. What lies in `--folder` from an
earlier run is taken as it is, files and predictions, so an interrupted run goes on.
`--write` puts the table between the marks of a file.
"""

import argparse
import contextlib
import dataclasses
import datetime
import functools
import os
import pathlib
from collections.abc import Callable

import numpy as np

from benchmarks import rounds

MARKS = "<!-- runtimes -->\n", "<!-- end of runtimes -->\n"
BATCHES = (1, 32)
COMPARED = 200  # Images.
BATCH = 100
SECONDS = 0.05  # Of a measurement, about.
BASE = "LiteRT float32"  # What speed-ups are against.
SERVER = "server"
# Metrics and their headings here.
METRICS = {"accuracy": "accuracy (%)", "nll": "NLL (nats)", "ece": "ECE (%)"}
COLUMNS = (
    *("form", "MB", "1 image (ms)", "speed-up", "in 32 (ms)", "speed-up", "passes"),
    *("images", *METRICS.values(), "largest difference"),
)


@dataclasses.dataclass(frozen=True)
class Form:
    """What a network is exported as.

    Attributes:
        file: Name of the file or folder.
        kind: Of `training.export.formats`; None for what is made otherwise.
        options: Of that format.
        source: The form whose file it is made of.
        make: From the path of that file to the file.
    """

    file: str
    kind: str | None = None
    options: dict = dataclasses.field(default_factory=dict)
    source: str | None = None
    make: Callable | None = None

    @property
    def draws(self) -> bool:
        """Whether the form has the draws of the model."""
        return self.kind != "openvino"


@dataclasses.dataclass(frozen=True)
class Made:
    """A form that is there: its path or address, and the Keras model that it is of."""

    place: str
    model: object
    passes: int

    @property
    def is_keras(self) -> bool:
        """Whether Keras itself runs it."""
        return self.place.endswith(".keras")


def eight_bits(source: str, target: str):
    """Writes a LiteRT file whose weights ai-edge-quantizer keeps in 8 bits."""
    from ai_edge_quantizer import quantizer, recipe

    from training.runtimes import litert

    with contextlib.redirect_stdout(None):  # It prints what it does.
        made = quantizer.Quantizer(source)
        made.load_quantization_recipe(recipe.dynamic_wi8_afp32())
        pathlib.Path(target).write_bytes(bytes(made.quantize().quantized_model))
    litert.copy_attached(source, target)


def dynamic_onnx(source: str, target: str):
    """Writes an ONNX file whose weights ONNX Runtime keeps in 8 bits."""
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(source, target)


FORMS = {
    "Keras": Form("model.keras"),
    "SavedModel": Form("saved_model", "saved_model"),
    BASE: Form("float32.tflite", "tflite"),
    **{
        f"LiteRT {name}": Form(f"{name}.tflite", "tflite", {"quantization": name})
        for name in ("dynamic", "int8", "weight_only", "int4", "weight_only_int4")
    },
    "LiteRT int8, by ai-edge-quantizer": Form(
        "ai_edge.tflite", source=BASE, make=eight_bits
    ),
    "ONNX": Form("model.onnx", "onnx"),
    "ONNX, by `quantize_dynamic`": Form(
        "dynamic.onnx", source="ONNX", make=dynamic_onnx
    ),
    "OpenVINO, without noise": Form("openvino", "openvino"),
}


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


def export_all(flags, folder: pathlib.Path) -> dict[str, Made]:
    """Exports a model in every form.

    Args:
        flags: `model`, `num_samples`, `dataset` and `server`.
        folder: Where to write.

    Returns:
        What was made, by form.
    """
    import layers
    import zoo
    from training.export import formats

    noisy, plain, made = zoo.load(flags.model), without_noise(flags.model), {}
    for name, form in FORMS.items():
        path, options = str(folder / form.file), dict(form.options)
        model = noisy if form.draws else plain
        if form.kind and form.draws:
            options["num_samples"] = flags.num_samples
        if options.get("quantization") == "int8":
            options["calibration"] = flags.dataset
        try:
            if os.path.exists(path):
                pass
            elif form.make and form.source in made:
                form.make(made[form.source].place, path)
            elif form.kind:
                report = formats.export_as(form.kind, model, path, options)
                print(formats.describe(report), flush=True)
            elif not form.make:
                model.save(path)
        except ImportError as error:
            print(f"{name} is left out: {error}", flush=True)
        if os.path.exists(path):
            draws = layers.is_stochastic(model)
            made[name] = Made(path, model, flags.num_samples if draws else 1)
    if flags.server:
        made[SERVER] = Made(flags.server, noisy, made["Keras"].passes)
    return made


def size(place: str) -> str:
    """Returns the megabytes of a file, or of all files in a folder."""
    from zoo.storage import files

    total = files.size(place)
    return f"{total / 1e6:.2f}" if total else ""


def keras_function(model, num_samples: int):
    """Returns what Keras computes, as `function` does."""
    from keras import ops

    from zoo import predictive
    from zoo.posterior.monte_carlo import as_posterior

    posterior = as_posterior(model, num_samples)
    return lambda images, seed: ops.convert_to_numpy(
        predictive.probs(posterior(images, seed=seed))
    )


def function(made: Made, flags):
    """Returns a function of images and a seed to mean probabilities, an array."""
    from training.runtimes import places

    if made.is_keras:
        return keras_function(made.model, made.passes)
    if os.path.exists(os.path.join(made.place, "saved_model.pb")) and made.passes == 1:
        import tensorflow as tf

        loaded = tf.saved_model.load(made.place)  # A signature does not keep it.

        def default(images, seed):
            found = loaded.signatures["serving_default"](images=tf.constant(images))
            return found["probabilities"].numpy()

        return default
    network = places.open_network(made.place, flags.num_samples, flags.threads)
    if network.sample is not None:
        return lambda images, seed: network.sample(images, seed, made.passes).mean(
            axis=0
        )
    return lambda images, seed: network.run(images, seed)["probabilities"]


def differences(runs: dict, made: dict[str, Made], images) -> dict:
    """Returns the largest difference of a probability from that of Keras, by form."""
    batches = np.split(images, range(BATCH, len(images), BATCH))
    expected, found = {}, {}
    for form, run in runs.items():
        of = made[form]
        if of.model.name not in expected:
            keras = keras_function(of.model, of.passes)
            expected[of.model.name] = [
                keras(part, seed) for seed, part in enumerate(batches)
            ]
        found[form] = max(
            float(np.abs(run(part, seed) - probs).max())
            for seed, (part, probs) in enumerate(
                zip(batches, expected[of.model.name], strict=True)
            )
        )
    return found


def latencies(runs: dict, images, count: int) -> dict:
    """Returns milliseconds an image takes and the speed-up, as text, by form.

    Of each form and size of a batch there are two texts, one after the other.
    """
    found = {form: [] for form in runs}
    for batch in BATCHES:
        part = images[:batch]
        steps = {
            form: rounds.local(functools.partial(run, part, 0))
            for form, run in runs.items()
        }
        times = rounds.measure(steps, count, SECONDS)
        for form in runs:
            wall = 1e3 * np.median(times[form][:, 0]) / len(part)
            faster = rounds.ratio(times, form, BASE) if BASE in runs else None
            found[form] += [f"{wall:.2f}", "" if faster is None else f"{faster[0]:.2f}"]
            if faster is not None:
                print(
                    f"{form}, batch of {batch}: {faster[0]:.2f} times the speed of "
                    f"{BASE}, {faster[1]:.2f} in processor time",
                    flush=True,
                )
    return found


def evaluated(made: dict[str, Made], flags, folder: pathlib.Path) -> dict:
    """Returns the number of images and the metrics by form, clean and corrupted."""
    from training import metrics
    from training.evaluation import command
    from training.runtimes import places

    def rows(name, patterns, limit):
        settings = command.Settings(
            model=[of.place for of in made.values()],
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
    for form, of in made.items():
        name = of.model.name if of.is_keras else places.name_of(of.place)
        cells, counts = [], []
        for part in parts:
            own = [row for row in part if row["model"] == name]
            own = [row for row in own if "*" not in row["dataset"]]
            counts.append(own[0]["num_examples"])
            for metric in METRICS:
                values = [row["value"] for row in own if row["metric"] == metric]
                shown = metrics.METRICS[metric]
                cells.append(f"{shown.factor * np.mean(values):.{shown.digits}f}")
        found[form] = counts[0], cells
    return found


def table(made: dict[str, Made], flags, folder: pathlib.Path) -> list[str]:
    """Measures all forms, and returns the lines of the table."""
    from training import data

    images = data.load(flags.dataset, "test", flags.data_dir).images[:COMPARED]
    images = np.asarray(images).astype("float32")
    runs = {form: function(of, flags) for form, of in made.items()}
    apart = differences(runs, made, images)
    times = latencies(runs, images, flags.rounds)
    quality = evaluated(made, flags, folder)
    lines = []
    for form, of in made.items():
        count, cells = quality[form]
        clean, corrupted = cells[: len(METRICS)], cells[len(METRICS) :]
        texts = [form, size(of.place), *times[form], str(of.passes), f"{count:,}"]
        texts += [*clean, f"{apart[form]:.1e}", *corrupted]
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
    parser.add_argument("--server", help="Address of a model on a server.")
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
        columns += [f"corrupted: {heading}" for heading in METRICS.values()]
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
