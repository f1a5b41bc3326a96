"""Charts of rows: against the ensemble size, and against the amount of a shift."""

import math

from training.metrics import display
from training.metrics.table import DRAWN
from training.report import figures
from training.report.figures import Chart
from training.report.result_set import Results


def drawn(results: Results) -> list[str]:
    """Returns the metrics to draw, of those which the rows have."""
    return [metric for metric in DRAWN if metric in results.metrics]


def ensemble_size(results: Results, dataset: str) -> list[Chart]:
    """Draws each metric against the ensemble size, if there are two sizes or more.

    Args:
        results: The values.
        dataset: Name of the data set.
    """
    charts = []
    for metric in drawn(results):
        lines = {
            label: results.by_size(model, dataset, metric)
            for model, label in results.labels().items()
        }
        sizes = sorted({size for line in lines.values() for size in line})
        if len(sizes) > 1:
            figure, axis = _lines(lines, metric)
            figures.size_axis(axis, sizes)
            title = f"{display.heading(metric)} on {dataset} by ensemble size"
            charts.append(_finish(figure, axis, title, lines, metric, "N="))
    return charts


def shift(results: Results, kind: str, base: str) -> list[Chart]:
    """Draws each metric against the degrees of rotation or the pixels of translation.

    Args:
        results: The values.
        kind: `"rotation"` or `"translation"`.
        base: Name of the clean data set, which stands at zero.
    """
    amounts = {str(s): s.amount for s in results.of_kind(kind, base)}
    unit = {"rotation": "degrees", "translation": "pixels"}[kind]
    words = f"{kind.capitalize()} ({unit})"
    return _by_amount(results, base, amounts, words, kind, f"{unit} ")


def _by_amount(results, base, amounts, words, kind, unit):
    """Draws each metric against amounts, by data set; the clean one stands at zero."""
    if base in results.datasets:
        amounts = {base: 0.0, **amounts}
    names = sorted(amounts, key=amounts.get)
    charts = []
    for metric in drawn(results):
        lines = {
            label: {amounts[n]: results.value(model, n, metric) for n in names}
            for model, label in results.labels().items()
        }
        lines = {label: _present(line) for label, line in lines.items()}
        if max(map(len, lines.values())) > 1:
            figure, axis = _lines(lines, metric)
            axis.set_xlabel(words)
            title = f"{display.heading(metric)} on {base} by {kind}"
            charts.append(_finish(figure, axis, title, lines, metric, unit))
    return charts


def attack(results: Results, change: str, base: str) -> list[Chart]:
    """Draws each metric against the radius of an attack.

    Args:
        results: The values.
        change: The attack and its norm, `"pgd linf"`.
        base: Name of the clean data set, which stands at zero.
    """
    found = [d for d in results.of_kind("attack", base) if d.change == change]
    amounts = {str(data): data.amount for data in found}
    name, norm = change.split()
    words = f"{name.upper()} radius ({_NORMS[norm]}, gray levels of 255)"
    return _by_amount(results, base, amounts, words, "radius", "radius ")


_NORMS = {"linf": "largest change", "l2": "Euclidean"}


def _lines(lines, metric):
    figure, axis = figures.new_figure(list(lines))
    for index, (label, line) in enumerate(lines.items()):
        values = display.scaled(metric, line.values())
        axis.plot(list(line), values, label=label, markersize=5, **figures.style(index))
    axis.set_ylabel(display.heading(metric))
    figures.tidy(axis)
    return figure, axis


def _finish(figure, axis, title, lines, metric, unit):
    figures.legend(figure, axis)
    ends = []
    for label, line in lines.items():
        if line:
            places = dict.fromkeys((min(line), max(line)))
            texts = [
                f"{display.number(metric, line[p])} at {unit}{p:g}" for p in places
            ]
            ends.append(f"{label} {', '.join(texts)}")
    alt = f"Line chart: {title}. {'; '.join(ends)}."
    return Chart(title, alt, figures.data_uri(figure))


def _present(line):
    return {place: value for place, value in line.items() if math.isfinite(value)}
