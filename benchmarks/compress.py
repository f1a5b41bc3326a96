r"""Size, operations, latency and calibration of compressed networks, as LiteRT files.

    python -m benchmarks.compress --dataset=cifar10 --data_dir=data --calibration=200 \
        --forms float=resnet20_smooth:resnet20_smooth.cifar10 \
        int8=resnet20_smooth:runs/int8 narrow=resnet20_smooth:runs/narrow \
        --post_training float --corrupted_limit=250 --ood cifar100 noise \
        --output=runs/compressed --write=docs/compress.md --figure=docs/compress.png

A form is a label, the name of a model and its weights: a published name, or the folder
of `zoo-compress`. Each becomes a file, in integers where it was trained so, and in
float32 else; those of `--post_training` also one in integers by calibration. Metrics
are those of the files, as `zoo-evaluate --model=file.tflite` has them, on `--limit` of
the test images; the latency is of one image on one thread, the median over rounds that
time all files in turning order, and a speed-up the median of the ratios within a round
to the first form. With `--corrupted_limit` so many images of each of 19 corruptions at
five severities are evaluated, too, and `--ood` adds how well the entropy tells
`--ood_limit` images from as many of each of other data sets. `--output` keeps the files
and these evaluations, which go on from there; without it they are temporary. `--write`
puts the table between the marks of the data set in a page.

The figure has the NLL against the latency. A form is on the frontier where none is as
fast and better.
"""

import argparse
import contextlib
import dataclasses
import datetime
import functools
import os
import pathlib
import tempfile
from urllib import parse

import numpy as np

from benchmarks import methods, rounds
from benchmarks.device import processor

SECONDS = 0.02  # Of a measurement, about.
QUALITY = "accuracy", "nll", "ece"
COLUMNS = (
    *("form", "kB", "weights not zero", "multiply-adds", "passes", "1 thread (ms)"),
    *("speed-up", "images", "accuracy (%)", "NLL (nats)", "ECE (%)"),
)


@dataclasses.dataclass
class Form:
    """A file, and what was measured of it.

    Attributes:
        label: What it is called.
        path: The file.
        passes: How many forward passes a call averages.
        sizes: What `training.compress.command.sizes` says of the network.
        seconds: Median latency of an image.
        speed_up: Of the first form.
        metrics: Accuracy, NLL and ECE.
        more: Cells of the columns that follow, by their heading.
    """

    label: str
    path: pathlib.Path
    passes: int
    sizes: dict
    seconds: float = 0.0
    speed_up: float = 1.0
    metrics: tuple[float, ...] = ()
    more: dict[str, str] = dataclasses.field(default_factory=dict)


def exported(text: str, post_training, calibration, num_samples: int, folder) -> list:
    """Returns the forms that a text describes, exported.

    Args:
        text: Such as `"int8=resnet20:runs/int8"`.
        post_training: Labels of those that are quantized after their training, too.
        calibration: Images for that.
        num_samples: Forward passes of a stochastic model.
        folder: Where to write.
    """
    import zoo
    from training import export
    from training.compress import command
    from zoo import finding, quantization

    label, _, rest = text.partition("=")
    name, _, weights = rest.partition(":")
    if not (label and name and weights):
        raise ValueError(
            "A form is a label, a model and its weights, as in "
            f"'int8=resnet20:runs/int8'. Received: forms={text}"
        )
    is_place = finding.is_place(weights)
    if not is_place and zoo.parse(weights).stem != zoo.parse(name).stem:
        raise ValueError(
            f"The published weights '{weights}' are not those of the model '{name}'. "
            f"Received: forms={text}"
        )
    model = zoo.load(name, weights=weights) if is_place else zoo.load(weights)
    kinds = {label: None}
    if quantization.is_quantized(model):
        kinds = {label: f"int{quantization.weight_bits(model)}"}
    elif label in post_training:
        kinds[f"{label}, int8 after training"] = "int8"
    forms = []
    for key, kind in kinds.items():
        # Labels that differ have files that do.
        path = folder / f"{parse.quote(key, safe='').replace('%', '_')}.tflite"
        is_calibrated = kind == "int8" and not quantization.is_quantized(model)
        extra = {"calibration": calibration} if is_calibrated else {}
        report = export.export_tflite(
            model, path, num_samples, quantization=kind, overwrite=True, **extra
        )
        sizes = command.sizes(model)
        forms.append(Form(key, path, report["num_samples"], sizes))
        print(f"{key}: {path.stat().st_size / 1e3:.1f} kB", flush=True)
    return forms


def time_all(forms: list[Form], image, count: int):
    """Measures the latencies of all files.

    Args:
        forms: The files; they get what was measured.
        image: Array of shape `(1, height, width, channels)`.
        count: How many rounds to measure.
    """
    from training.runtimes import litert

    steps = {
        form.label: rounds.local(
            functools.partial(
                litert.open_network(form.path, num_threads=1).run, image, 0
            )
        )
        for form in forms
    }
    times = rounds.measure(steps, count, SECONDS)
    for form in forms:
        form.seconds = float(np.median(times[form.label][:, 0]))
        form.speed_up = float(rounds.ratio(times, form.label, forms[0].label)[0])


def evaluate(forms: list[Form], folder: pathlib.Path, flags):
    """Gives forms their metrics, and the cells of corrupted sets and of detection."""
    from training.evaluation import command
    from training.metrics import display
    from training.runtimes import places

    def rows(kind, limit, selection="first", **more):
        settings = command.Settings(
            model=[str(form.path) for form in forms],
            num_samples=(1,),
            limit=limit,
            selection=selection,
            data_dir=flags.data_dir,
            output=str(folder / kind),
            **more,
        )
        return command.run(settings).rows

    found = []
    if flags.corrupted_limit:
        sets = [f"{flags.dataset}_c/*/*"]
        found = rows("corrupted", flags.corrupted_limit, dataset=sets)
    if flags.ood:
        found += rows("far", flags.ood_limit, dataset=[flags.dataset], ood=flags.ood)
    # Behind the rows of fewer images.
    found += rows("clean", flags.limit, None, dataset=[flags.dataset])
    values = {
        (row["model"], row["dataset"], row["metric"]): row["value"] for row in found
    }
    values |= methods.corrupted_means(values, f"{flags.dataset}_c")
    for form in forms:
        name = places.name_of(str(form.path))
        form.metrics = tuple(values[name, flags.dataset, x] for x in QUALITY)
        for metric in QUALITY if flags.corrupted_limit else ():
            heading = f"{display.heading(metric)}, corrupted"
            value = values[name, methods.MEAN, metric]
            form.more[heading] = display.number(metric, value)
        for other in flags.ood:
            value = values[name, f"{flags.dataset} vs {other}", methods.AUROC]
            form.more[f"AUROC, {other} (%)"] = display.number(methods.AUROC, value)


def is_on_frontier(form: Form, forms: list[Form]) -> bool:
    """Returns whether no other form is as fast and has as low an NLL."""
    return not any(
        other is not form
        and other.seconds <= form.seconds
        and other.metrics[1] <= form.metrics[1]
        for other in forms
    )


def line(form: Form, num_images: int) -> str:
    """Returns the line of the table."""
    accuracy, nll, ece = form.metrics
    adds = form.sizes["multiply_adds"]
    cells = [
        form.label,
        f"{form.path.stat().st_size / 1e3:.1f}",
        f"{form.sizes['not_zero']:,}",
        "" if adds is None else f"{adds:,}",
        str(form.passes),
        f"{1e3 * form.seconds:.2f}",
        f"{form.speed_up:.2f}",
        str(num_images),
        f"{100 * accuracy:.2f}",
        f"{nll:.4f}",
        f"{100 * ece:.2f}",
        *form.more.values(),
    ]
    return f"| {' | '.join(cells)} |"


def draw(forms: list[Form], path: pathlib.Path):
    """Draws the NLL against the latency; the frontier is a line of framed points."""
    from matplotlib import ticker
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 4.2), layout="constrained")
    axes = figure.subplots()
    best = sorted(
        (form for form in forms if is_on_frontier(form, forms)),
        key=lambda form: form.seconds,
    )
    axes.plot(
        [1e3 * form.seconds for form in best],
        [form.metrics[1] for form in best],
        color="0.7",
        zorder=1,
    )
    for number, form in enumerate(forms):
        place = 1e3 * form.seconds, form.metrics[1]
        size, edge = (70, "black") if form in best else (35, "none")
        marker, color = "osD^vP"[number // 10], f"C{number % 10}"
        look = {"s": size, "marker": marker, "color": color, "edgecolors": edge}
        axes.scatter(*place, label=form.label, zorder=2, **look)
    axes.set(xlabel="one image on one thread (ms)", ylabel="NLL (nats)", xscale="log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    figure.legend(loc="outside right center", fontsize=8, frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Prints the table, and draws the figure."""
    from benchmarks.results import documents
    from training import data
    from training.export import litert
    from training.versions import current_commit

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--forms", nargs="+", required=True)
    parser.add_argument("--post_training", nargs="*", default=[])
    parser.add_argument("--dataset", default="fashion_mnist")
    parser.add_argument("--data_dir")
    parser.add_argument("--calibration", type=int, default=200)
    parser.add_argument("--num_samples", type=int, default=5)
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--corrupted_limit", type=int, default=0, help="Of each set.")
    parser.add_argument("--ood", nargs="*", default=[], help="Other data sets.")
    parser.add_argument("--ood_limit", type=int, default=2_000, help="Of each of them.")
    parser.add_argument("--rounds", type=int, default=51)
    parser.add_argument("--output", type=pathlib.Path, help="Keeps files here.")
    parser.add_argument("--write", type=pathlib.Path, help="A Markdown file.")
    parser.add_argument("--figure", type=pathlib.Path, help="A PNG file.")
    flags = parser.parse_args()
    load = os.getloadavg()[0]
    test = data.load(flags.dataset, "test", flags.data_dir)
    count = min(flags.limit, len(test))
    calibration = None
    if flags.post_training:
        calibration = litert.calibration_images(
            flags.dataset, flags.calibration, data_dir=flags.data_dir
        )
    with contextlib.ExitStack() as stack:
        folder = flags.output
        if folder is None:
            place = stack.enter_context(tempfile.TemporaryDirectory())
            folder = pathlib.Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        forms = []
        for text in flags.forms:
            forms += exported(
                text, flags.post_training, calibration, flags.num_samples, folder
            )
        time_all(forms, np.asarray(test.images[:1], "float32"), flags.rounds)
        evaluate(forms, folder, flags)
        lines = [line(form, count) for form in forms]
    columns = (*COLUMNS, *forms[0].more)
    header = f"| {' | '.join(columns)} |\n|---|{'---:|' * (len(columns) - 1)}\n"
    text = (
        f"\nCommit `{current_commit()[:10]}`, {datetime.date.today()}, {processor()}, "
        f"{os.cpu_count()} cores, load {load:.1f} at the start; `{flags.dataset}`, one "
        f"thread:\n\n{header}" + "\n".join(lines) + "\n"
    )
    print(text)
    if flags.figure:
        draw(forms, flags.figure)
    if flags.write:
        marks = f"<!-- {flags.dataset} -->\n", f"<!-- end of {flags.dataset} -->\n"
        documents.replace(flags.write, text + "\n", marks)


if __name__ == "__main__":
    main()
