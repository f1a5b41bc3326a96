"""What figures share: their looks, how they are saved; the ensemble-size curves."""

import base64
import dataclasses
import io
import math
import os
import pathlib
import statistics
from collections.abc import Iterable, Mapping, Sequence

from training.metrics import display
from training.metrics.table import DRAWN
from training.report.result_set import Results
from zoo import registry
from zoo.storage import files


@dataclasses.dataclass(frozen=True)
class Chart:
    """A figure of a page.

    Attributes:
        title: What it shows, in a line.
        alt: The same for those who do not see it, with the main values.
        uri: The SVG or PNG image, inside a `data:` URI.
        is_wide: Whether it takes the width of a page.
    """

    title: str
    alt: str
    uri: str
    is_wide: bool = False


def plot_ensemble_size(rows: Iterable[Mapping], path: str | os.PathLike):
    """Draws NLL, accuracy and ECE against the ensemble size, a line for each model.

    Trainings that differ in the seed, such as `resnet20.cifar10` and
    `resnet20.cifar10_seed1`, are one line, their mean, in a band that is one standard
    deviation wide on both sides.

    Args:
        rows: Rows of `training.evaluation.evaluate.evaluate`, of one data set.
            Values of several seeds of the passes are averaged.
        path: Path of a PNG or an SVG file, which appears whole or not at all.

    Raises:
        ValueError: If there are several data sets or none, or the path ends otherwise.

    Reference:
        [Blurs Behave Like Ensembles](https://arxiv.org/abs/2105.12639)
        (Park and Kim, 2022).
    """
    results = Results(rows)
    datasets = sorted(results.datasets)
    if len(datasets) != 1:
        raise ValueError(
            f"The figure needs rows of one data set. Received: datasets={datasets}"
        )
    drawn = [name for name in DRAWN if name in results.metrics]
    metrics = sorted(drawn, key=lambda name: name != "nll")  # In the order there.
    figure, axes = wide_figure(len(metrics))
    for axis, metric in zip(axes, metrics, strict=True):
        for index, (model, trainings) in enumerate(_trainings(results).items()):
            curves = [results.by_size(one, datasets[0], metric) for one in trainings]
            _draw_band(axis, model, curves, metric, style(index))
        size_axis(axis, sorted({row["num_samples"] for row in results.rows}))
        axis.set_ylabel(display.heading(metric))
        tidy(axis)
    figure.suptitle(f"Mean of N predictions on {datasets[0]}")
    legend(figure, axes[0], wide=True)
    save_figure(figure, path)


def _trainings(results) -> dict[str, list[str]]:
    """Returns the models by the name that trainings with other seeds share."""
    found = {}
    for model in results.models:
        found.setdefault(registry.split_seed(model)[0], []).append(model)
    return found


def _draw_band(axis, label, curves, metric, looks):
    """Draws the mean of curves, and one standard deviation on both sides of it."""
    curves = [curve for curve in curves if curve]
    sizes = sorted(set.intersection(*map(set, curves))) if curves else []
    columns = [[curve[size] for curve in curves] for size in sizes]
    means = display.scaled(metric, map(statistics.fmean, columns))
    axis.plot(sizes, means, label=label, **looks)
    if len(curves) > 1:
        spread = display.scaled(metric, map(statistics.stdev, columns))
        pairs = list(zip(means, spread, strict=True))
        axis.fill_between(
            sizes,
            [mean - deviation for mean, deviation in pairs],
            [mean + deviation for mean, deviation in pairs],
            color=looks["color"],
            alpha=0.15,
            linewidth=0,
        )


def wide_figure(count: int):
    """Returns a figure for a document and its axes, side by side."""
    from matplotlib import figure as figures

    figure = figures.Figure(figsize=(10, 3.8), layout="constrained")
    return figure, figure.subplots(1, count, squeeze=False)[0]


def save_figure(figure, path: str | os.PathLike):
    """Saves a Matplotlib figure as PNG or SVG; it appears whole or not at all."""
    kind = pathlib.Path(path).suffix
    if kind not in (".png", ".svg"):
        raise ValueError(f"A figure is a .png or a .svg file. Received: path={path}")
    with files.replacing(path) as temporary, _reproducible():
        figure.savefig(temporary, format=kind[1:], dpi=150, metadata=_undated(kind))


def _reproducible(**settings):
    """Makes equal figures equal files, by deterministic identifiers."""
    import matplotlib

    return matplotlib.rc_context({"svg.hashsalt": "smoothzoo", **settings})


def _undated(kind):
    return {"Date": None} if kind == ".svg" else None


def new_figure(labels: Sequence[str], height: float = 2.9, is_wide: bool = False):
    """Returns a figure and its axis for a page, 4.6 inches wide.

    Narrow enough for its letters to be read on a telephone, where it fills the screen.

    Args:
        labels: The entries of the legend, for which there is room below.
        height: Height of the rest, in inches.
        is_wide: Whether it has twice that width.
    """
    from matplotlib import figure as figures

    width = 2 * _WIDTH if is_wide else _WIDTH
    height += 0.21 * math.ceil(len(labels) / _legend_columns(labels, width))
    figure = figures.Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def legend(figure, axis, wide: bool = False):
    """Puts the legend of an axis below a figure.

    Args:
        figure: The figure to put the legend on.
        axis: One that has all labels.
        wide: Whether the figure is a `wide_figure`.
    """
    handles, labels = axis.get_legend_handles_labels()
    if wide:
        looks = {"ncols": 2 if len(labels) < 5 else 3, "handlelength": 4}
    else:
        columns = _legend_columns(labels, figure.get_figwidth())
        looks = {"ncols": columns, "handlelength": 3.2}
        looks |= {"fontsize": 9.5, "columnspacing": 1.2}
    place = {"loc": "outside lower center", "frameon": False}
    figure.legend(handles, labels, **place, **looks)


def _legend_columns(labels, width):
    columns = 1 if max(map(len, labels)) > 22 else 2
    return columns * round(width / _WIDTH)


def tidy(axis):
    """Gives an axis a light grid and no frame."""
    axis.grid(color="0.85", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def size_axis(axis, sizes: Sequence[int]):
    """Makes the x-axis one of ensemble sizes."""
    from matplotlib import ticker

    axis.set_xscale("log")
    axis.xaxis.set_major_locator(ticker.FixedLocator(sizes))
    axis.xaxis.set_major_formatter(ticker.FormatStrFormatter("%d"))
    axis.xaxis.set_minor_locator(ticker.NullLocator())
    axis.set_xlabel("Ensemble size N (forward passes)")


def data_uri(figure) -> str:
    """Returns a Matplotlib figure as an SVG image inside a `data:` URI.

    Its letters stay letters: that is small, and sharp at every size.
    """
    target = io.BytesIO()
    with _reproducible(**{"svg.fonttype": "none"}):
        figure.savefig(target, format="svg", metadata=_undated(".svg"))
    return f"data:image/svg+xml;base64,{base64.b64encode(target.getvalue()).decode()}"


def style(index: int) -> dict:
    """Returns how the line of a model looks; 49 of them differ."""
    marker = _MARKERS[(index + index // 7) % 7]
    return {"color": color(index), "marker": marker, "linestyle": _LINES[index % 7]}


def color(index: int) -> str:
    """Returns the color of a model."""
    return _COLORS[index % 7]


# Colors that the color-blind tell apart (Okabe and Ito, 2008); marker and line do so in
# black and white.
_COLORS = "#0072B2", "#D55E00", "#009E73", "#000000", "#CC79A7", "#E69F00", "#56B4E9"
_MARKERS = "os^DvPX"
_LINES = "-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1))
_WIDTH = 4.6  # Inches.
