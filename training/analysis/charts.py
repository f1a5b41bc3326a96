"""What the figures of analyses share: axes of blocks, panels, and lines of models."""

import math
import re
from collections.abc import Mapping, Sequence

from training.analysis.base import Finding
from training.report import figures

_COLUMNS = 2  # Panels side by side, which on a page are as wide as it.
# Ends of names of layers that belong to the block before.
_ENDS = re.compile(r"_(add|relu|norm|conv|activation|dropout|out)$")
_MARKS = {
    "smoothing": {"color": "0.86", "hatch": None},
    "attention": {"color": "#F6E3C8", "hatch": None},
}


def by_depth(
    findings: Mapping[str, Finding],
    metric: str,
    label: str,
    log: bool = False,
    scale: float = 1.0,
    levels: Mapping[str, float] | None = None,
):
    """Draws a metric against the layers of networks, a line for each.

    Layers of one name stand at one place. Where the names of the networks have little
    in common, they stand at their numbers.

    Args:
        findings: By the name of the network, with rows that have a `layer` and `kinds`;
            one without such rows has no line, and keeps its color to itself.
        metric: Which rows to draw.
        label: What the y-axis says.
        log: Whether that is logarithmic.
        scale: What values are multiplied by.
        levels: A value for each network that is drawn as a horizontal line.

    Returns:
        The figure.
    """
    lines = {
        name: [row for row in finding.rows if row["metric"] == metric]
        for name, finding in findings.items()
    }
    named = [[row["layer"] for row in rows] for rows in lines.values() if rows]
    layers = aligned(named)
    figure, axis = figures.new_figure(list(lines), height=3.6, is_wide=True)
    for index, (name, rows) in enumerate(lines.items()):
        if not rows:
            continue
        drawn = {
            layers.index(row["layer"]) if layers else number: scale * row["value"]
            for number, row in enumerate(rows)
            if row["value"] > 0 or not log
        }
        look = figures.style(index)
        axis.plot(list(drawn), list(drawn.values()), label=name, markersize=5, **look)
        if levels:
            level = scale * levels[name]
            axis.axhline(level, color=figures.color(index), linewidth=0.8, alpha=0.6)
    _mark(axis, lines, layers)
    axis.set_ylabel(label)
    if log:
        axis.set_yscale("log")
    count = len(layers) or max(map(len, lines.values()))
    names = [short(layer) for layer in layers] or list(map(str, range(count)))
    axis.set_xticks(range(count), names, rotation=60, ha="right", fontsize=8)
    if not layers:
        axis.set_xlabel("Number of the block")
    figures.tidy(axis)
    figures.legend(figure, axis)
    return figure


def aligned(names: Sequence[Sequence[str]]) -> list[str]:
    """Returns layers of several networks in one order; empty if they have none.

    Args:
        names: The layers of each, in order.

    Example:

    >>> aligned([["stem", "a", "b"], ["stem", "a", "smooth", "b"]])
    ['stem', 'a', 'smooth', 'b']
    """
    merged = list(max(names, key=len))
    for layers in names:
        if len({*layers} & {*merged}) < min(len(layers), len(merged)) / 2:
            return []
        place = -1
        for layer in layers:
            if layer in merged:
                place = merged.index(layer)
            else:
                place += 1
                merged.insert(place, layer)
    return merged


def short(layer: str) -> str:
    """Returns the name of a block from that of the layer that it ends with.

    Example:

    >>> short("stage1_block2_relu")
    'stage1_block2'
    """
    return _ENDS.sub("", layer)


def _mark(axis, lines, layers):
    """Marks the places of smoothing, attention and subsampling."""
    kinds = {}
    for rows in lines.values():
        for number, row in enumerate(rows):
            place = layers.index(row["layer"]) if layers else number
            kinds.setdefault(place, set()).update(row.get("kinds", ()))
    said = set()
    for place, found in sorted(kinds.items()):
        for kind, looks in _MARKS.items():
            if kind in found:
                own = None if kind in said else kind
                axis.axvspan(place - 0.5, place + 0.5, label=own, zorder=0, **looks)
                said.add(kind)
        if "subsampling" in found:
            own = None if "subsampling" in said else "subsampling"
            axis.axvline(place - 0.5, color="0.4", linestyle=":", zorder=0, label=own)
            said.add("subsampling")


def panels(titles: Sequence[str], height: float = 3.0, share: bool = True):
    """Returns a figure with a panel for each title, side by side, and its axes.

    Args:
        titles: What each panel is called.
        height: Of a row of panels, in inches.
        share: Whether all have one y-axis.
    """
    from matplotlib import figure as figs

    columns = min(_COLUMNS, len(titles))
    rows = math.ceil(len(titles) / columns)
    size = (4.6 * columns, height * rows)
    figure = figs.Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=share).ravel()
    for axis, title in zip(axes, titles, strict=False):
        axis.set_title(title, fontsize=10)
    for axis in axes[len(titles) :]:
        axis.set_axis_off()
    return figure, axes[: len(titles)]


def colored(count: int) -> list:
    """Returns colors from light to dark, which blocks get by their depth."""
    import matplotlib

    chosen = matplotlib.colormaps["viridis_r"]
    return [chosen(0.08 + 0.92 * i / max(count - 1, 1)) for i in range(count)]
