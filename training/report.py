"""What becomes of rows: JSON lines, tables and figures."""

import json
import math
import os
import pathlib
import statistics
from collections.abc import Iterable, Mapping

from zoo import files


def write_rows(rows: Iterable[Mapping], path: str | os.PathLike):
    """Writes rows as JSON lines; the file appears whole or not at all.

    JSON has no NaN, so a metric without a value is `null`.

    Args:
        rows: As `training.evaluate.evaluate` returns them.
        path: Of the file.
    """
    lines = []
    for row in rows:
        value = None if math.isnan(row["value"]) else row["value"]
        lines.append(json.dumps({**row, "value": value}, allow_nan=False) + "\n")
    _write_text("".join(lines), path)


def read_rows(path: str | os.PathLike) -> list[dict]:
    """Returns the rows of a file of JSON lines, with NaN for `null`."""
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            empty = row["value"] is None
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"Line {number} of '{path}' is not a row of an evaluation, a JSON "
                f"object with a value. Received: {line[:80]}"
            ) from error
        rows.append({**row, "value": math.nan} if empty else row)
    return rows


def write_table(rows: Iterable[Mapping], path: str | os.PathLike):
    """Writes rows as a Markdown table; the file appears whole or not at all."""
    _write_text(markdown(rows), path)


def _write_text(text, path):
    with files.replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def table(rows: Iterable[Mapping]) -> list[list[str]]:
    """Returns a heading and a line for each data set, model and ensemble size.

    Where there are values of several seeds, a cell has their mean and standard
    deviation. The column of data sets is left out if there is only one.

    Args:
        rows: As `training.evaluate.evaluate` returns them.

    Returns:
        Lists of equal length.

    Example:

    >>> row = {"model": "m", "dataset": "d", "num_samples": 2, "metric": "accuracy"}
    >>> table([{**row, "value": 0.9325}])
    [['Model', 'N', 'Accuracy (%)'], ['m', '2', '93.25']]
    """
    rows = list(rows)
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    several = len({row["dataset"] for row in rows}) > 1
    heading = ["Dataset"] * several + ["Model", "N", *map(_heading, metrics)]
    lines = [heading]
    for (dataset, model, size), values in _by_line(rows).items():
        cells = [_cell(metric, values.get(metric, [])) for metric in metrics]
        lines.append([dataset] * several + [model, str(size), *cells])
    return lines


def markdown(rows: Iterable[Mapping]) -> str:
    """Returns rows as a Markdown table, one line per model and ensemble size."""
    heading, *lines = table(rows)
    words = heading.index("N")
    rule = ["---"] * words + ["---:"] * (len(heading) - words)
    return "".join(f"| {' | '.join(line)} |\n" for line in (heading, rule, *lines))


def rich_table(rows: Iterable[Mapping]):
    """Returns rows for the terminal, to be printed by `rich`.

    Each model and data set has a table of its own, which fits into 80 columns; long
    names would not leave room for numbers beside them.

    Args:
        rows: As `training.evaluate.evaluate` returns them.
    """
    from rich import box, console
    from rich import table as rich_tables

    groups = {}
    for row in rows:
        name = f"{row['model']} on {row['dataset']}"
        groups.setdefault(name, []).append(row)
    tables = []
    for name, members in groups.items():
        (_, *heading), *lines = table(members)
        result = rich_tables.Table(
            title=name, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1)
        )
        for text in heading:
            words = text.replace(" (", "\n(")
            result.add_column(words, justify="right", no_wrap=True)
        for _, *line in lines:
            result.add_row(*line)
        tables.append(result)
    return console.Group(*tables)


def plot_ensemble_size(rows: Iterable[Mapping], path: str | os.PathLike):
    """Draws NLL, accuracy and ECE against the ensemble size, a line for each model.

    Args:
        rows: As `training.evaluate.evaluate` returns them, of one data set. Values of
            several seeds are averaged.
        path: Of a PNG or an SVG file, which appears whole or not at all.

    Raises:
        ValueError: If there are several data sets or none, or the path ends otherwise.

    Reference:
        [Blurs Behave Like Ensembles](https://arxiv.org/abs/2105.12639)
        (Park and Kim, 2022).
    """
    from matplotlib import figure as figures
    from matplotlib import ticker

    rows = list(rows)
    datasets = sorted({row["dataset"] for row in rows})
    if len(datasets) != 1:
        raise ValueError(
            f"The figure needs rows of one data set. Received: datasets={datasets}"
        )
    sizes = sorted({row["num_samples"] for row in rows})
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure = figures.Figure(figsize=(10, 3.8), layout="constrained")
    axes = figure.subplots(1, 3)
    for axis, metric in zip(axes, ("nll", "accuracy", "ece"), strict=True):
        for index, model in enumerate(models):
            sizes_and_values = _curve(rows, model, metric)
            axis.plot(*sizes_and_values, label=model, **_style(index))
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(ticker.FixedLocator(sizes))
        axis.xaxis.set_major_formatter(ticker.FormatStrFormatter("%d"))
        axis.xaxis.set_minor_locator(ticker.NullLocator())
        axis.set_xlabel("Ensemble size N (forward passes)")
        axis.set_ylabel(_heading(metric))
        axis.grid(color="0.85", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"Mean of N predictions on {datasets[0]}")
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2 if len(models) < 5 else 3,
        handlelength=4,
        frameon=False,
    )
    save_figure(figure, path)


def save_figure(figure, path: str | os.PathLike):
    """Saves a Matplotlib figure as PNG or SVG; it appears whole or not at all."""
    kind = pathlib.Path(path).suffix
    if kind not in (".png", ".svg"):
        raise ValueError(f"A figure is a .png or a .svg file. Received: path={path}")
    import matplotlib

    # Equal figures are equal files: without dates, with identifiers that are no dice.
    metadata = {"Date": None} if kind == ".svg" else None
    settings = matplotlib.rc_context({"svg.hashsalt": "smoothzoo"})
    with files.replacing(path) as temporary, settings:
        figure.savefig(temporary, format=kind[1:], dpi=150, metadata=metadata)


def _by_line(rows):
    lines = {}
    for row in rows:
        line = lines.setdefault((row["dataset"], row["model"], row["num_samples"]), {})
        line.setdefault(row["metric"], []).append(row["value"])
    return lines


def _curve(rows, model, metric):
    """Returns the sizes and the values, in the unit of the metric, of a model."""
    values = {
        size: _scaled(metric, line[metric])
        for (_, name, size), line in _by_line(rows).items()
        if name == model and metric in line
    }
    sizes = sorted(values)
    return sizes, [statistics.fmean(values[size]) for size in sizes]


def _style(index):
    """Returns how the line of a model looks; 49 of them differ."""
    color, marker = _COLORS[index % 7], _MARKERS[(index + index // 7) % 7]
    return {"color": color, "marker": marker, "linestyle": _LINES[index % 7]}


def _heading(metric):
    return _COLUMNS[metric][0] if metric in _COLUMNS else metric


def _scaled(metric, values):
    factor = _COLUMNS[metric][1] if metric in _COLUMNS else 1
    return [factor * value for value in values]


def _cell(metric, values):
    values = [v for v in _scaled(metric, values) if not math.isnan(v)]
    if not values:
        return "-"
    digits = _COLUMNS[metric][2] if metric in _COLUMNS else 4
    text = f"{statistics.fmean(values):.{digits}f}"
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return text + spread


# Heading, factor and decimals of a metric.
_COLUMNS = {
    "accuracy": ("Accuracy (%)", 100, 2),
    "nll": ("NLL (nats)", 1, 4),
    "brier": ("Brier", 1, 4),
    "ece": ("ECE (%)", 100, 2),
    "acc_90": ("Acc-90 (%)", 100, 2),
    "unc_90": ("Unc-90 (%)", 100, 2),
    "freq_90": ("Freq-90 (%)", 100, 2),
    "entropy": ("Entropy (nats)", 1, 4),
}
# Colors that the color-blind tell apart (Okabe and Ito, 2008); marker and line do so in
# black and white.
_COLORS = "#0072B2", "#D55E00", "#009E73", "#000000", "#CC79A7", "#E69F00", "#56B4E9"
_MARKERS = "os^DvPX"
_LINES = "-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1))
