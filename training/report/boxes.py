"""Box plots over the corruptions, by severity."""

import math
import os
import statistics
from collections.abc import Iterable, Mapping

from training.metrics import display
from training.metrics.table import RANKING
from training.report import curves, figures
from training.report.figures import Chart
from training.report.result_set import Results


def charts(results: Results, base: str) -> list[Chart]:
    """Draws boxes of each metric over the corruptions, by severity and model.

    Args:
        results: The values.
        base: Name of the clean data set, severity 0.

    Reference:
        [Can You Trust Your Model's Uncertainty?](https://arxiv.org/abs/1906.02530)
        (Ovadia et al., 2019), Figure 2.
    """
    found = []
    for metric in _drawn(results):
        boxes = _boxes(results, base, metric)
        if any(boxes.values()):
            is_wide = len(boxes) > _MANY
            figure, axis = figures.new_figure(list(boxes), 3.2, is_wide)
            _draw(axis, boxes, metric)
            figures.legend(figure, axis)
            found.append(_chart(figure, boxes, metric, base))
    return found


def plot_severity(rows: Iterable[Mapping], base: str, path: str | os.PathLike):
    """Draws the boxes of all metrics side by side.

    Args:
        rows: Rows of `training.evaluation.evaluate.evaluate`.
        base: Name of the clean data set, severity 0.
        path: Path of a PNG or an SVG file, which appears whole or not at all.

    Raises:
        ValueError: If there are no corrupted sets, or the path ends otherwise.
    """
    results = Results(rows)
    if not results.corrupted(base):
        raise ValueError(
            f"The figure needs rows of corrupted sets of '{base}'. Received: rows of "
            f"{', '.join(results.datasets)}"
        )
    metrics = _drawn(results)
    figure, axes = figures.wide_figure(len(metrics))
    for axis, metric in zip(axes, metrics, strict=True):
        _draw(axis, _boxes(results, base, metric), metric)
    figure.suptitle(f"{base} over the corruptions, by severity")
    figures.legend(figure, axes[0], wide=True)
    figures.save_figure(figure, path)


def _drawn(results):
    """Returns the metrics to draw; ranking is that of each model's own score."""
    return [*curves.drawn(results), *(RANKING if results.ranks_by else ())]


def _boxes(results, base, metric) -> dict[str, dict[int, list[float]]]:
    """Returns the values by label and severity, in the unit of the axis."""
    sets, boxes = results.corrupted(base), {}
    for model, label in results.labels().items():
        name = results.own(model, metric)
        groups = {0: [results.value(model, base, name)]}
        for data in sets:
            value = results.value(model, str(data), name)
            groups.setdefault(int(data.amount), []).append(value)
        groups = {s: list(filter(math.isfinite, groups[s])) for s in sorted(groups)}
        boxes[label] = {s: display.scaled(metric, g) for s, g in groups.items() if g}
    return boxes


def _draw(axis, boxes, metric):
    width = 0.8 / len(boxes)
    for index, (label, groups) in enumerate(boxes.items()):
        if not groups:  # It is of other data sets.
            continue
        shift = (index - (len(boxes) - 1) / 2) * width
        places = [severity + shift for severity in groups]
        color = figures.color(index)
        thin = {"linewidth": 0.8, "color": color}
        axis.boxplot(
            list(groups.values()),
            positions=places,
            widths=0.85 * width,
            whis=(0, 100),
            patch_artist=True,
            manage_ticks=False,
            medianprops=thin,
            boxprops={"linewidth": 0.8, "edgecolor": color, "facecolor": _pale(color)},
            whiskerprops=thin,
            capprops=thin,
        )
        middles = list(map(statistics.median, groups.values()))
        marks = {**figures.style(index), "linestyle": "none", "markersize": 3.5}
        axis.plot(places, middles, label=label, **marks)
    shown = sorted({severity for groups in boxes.values() for severity in groups})
    axis.set_xticks(shown, ["clean" if s == 0 else str(s) for s in shown])
    axis.set_xlabel("Severity of the corruption")
    axis.set_ylabel(display.heading(metric))
    figures.tidy(axis)
    axis.grid(visible=False, axis="x")


def _chart(figure, boxes, metric, base):
    title = f"{display.heading(metric)} on {base} over the corruptions, by severity"
    ends = []
    for label, groups in boxes.items():
        texts = [f"{statistics.median(g):.4g} at {s}" for s, g in groups.items()]
        if texts:
            ends.append(f"{label} {', '.join(texts)}")
    alt = f"Box plots: {title}. Medians: {'; '.join(ends)}."
    return Chart(title, alt, figures.data_uri(figure), len(boxes) > _MANY)


def _pale(color):
    from matplotlib import colors

    return tuple(0.45 * channel + 0.55 for channel in colors.to_rgb(color))


_MANY = 6  # Models, whose boxes have room on a telephone.
