"""Figures of what lies around the weights of networks."""

from collections.abc import Mapping

import numpy as np

from training.analysis import charts, spectra
from training.analysis.base import Finding
from training.analysis.phase_diagram import REGIONS
from training.report import figures

_POINTS = 600  # Of a density.
_WIDTH = 0.005  # Of its Gaussian, over the range of the eigenvalues.
_MANY_TIMES = 30  # The smallest eigenvalue, from where on the axis is logarithmic.
_LEVELS = 12  # Of contours.
_COLORS = "#D55E00", "#E69F00", "#CC79A7", "#56B4E9", "#009E73"


def plot_hessian(findings: Mapping[str, Finding]) -> dict:
    """Draws the largest eigenvalues of batches, and the density of all eigenvalues.

    Args:
        findings: By the name of the model.

    Returns:
        Figures by their titles.
    """
    found = {}
    largest = _with(findings, "eigenvalues")
    if largest:
        found["Largest eigenvalues of the Hessian, by batch"] = _largest(largest)
    dense = _with(findings, "density_nodes")
    if dense:
        found["Density of the eigenvalues of the Hessian"] = _density(dense)
    return found


def _with(findings, name):
    return {k: f.arrays for k, f in findings.items() if name in f.arrays}


def _largest(arrays):
    figure, axis = figures.new_figure(["batch", "median"], height=3.2, is_wide=True)
    for place, own in enumerate(arrays.values()):
        values = own["eigenvalues"]
        for batch in values:
            ranks = np.linspace(-0.3, 0.3, len(batch))
            axis.plot(place + ranks, batch, "o", color=figures.color(place), alpha=0.45)
        middle = np.nanmedian(values[:, 0])
        axis.hlines(middle, place - 0.4, place + 0.4, color="black", linewidth=1.2)
    axis.plot([], [], "o", color="0.5", label="eigenvalue, by rank from left to right")
    axis.plot([], [], color="black", label="median of the largest over the batches")
    axis.set_xticks(range(len(arrays)), list(arrays))
    values = np.abs(np.concatenate([own["eigenvalues"] for own in arrays.values()]))
    if np.nanmax(values) > _MANY_TIMES * np.nanmin(values):
        axis.set_yscale("symlog", linthresh=1)
    else:
        axis.axhline(0, color="0.4", linewidth=0.8)
    axis.set_ylabel("Eigenvalue")
    figures.tidy(axis)
    figures.legend(figure, axis)
    return figure


def _density(arrays):
    figure, axis = figures.new_figure(list(arrays), height=3.2, is_wide=True)
    nodes = np.concatenate([own["density_nodes"].ravel() for own in arrays.values()])
    span = max(np.ptp(nodes), np.finfo("float32").eps)
    points = np.linspace(nodes.min() - 0.05 * span, nodes.max() + 0.05 * span, _POINTS)
    for place, (name, own) in enumerate(arrays.items()):
        values = spectra.density(
            own["density_nodes"], own["density_weights"], points, _WIDTH * span
        )
        look = {**figures.style(place), "marker": None}
        axis.plot(points, np.maximum(values, 1e-12), label=name, **look)
    axis.set_yscale("log")
    top = axis.get_ylim()[1]
    axis.set_ylim(top * 1e-9, top)
    axis.set_xlabel("Eigenvalue")
    axis.set_ylabel("Density")
    figures.tidy(axis)
    figures.legend(figure, axis)
    return figure


def plot_landscape(findings: Mapping[str, Finding]) -> dict:
    """Draws the loss along a line, or its contours and its surface on a plane.

    Args:
        findings: By the name of the model.

    Returns:
        Figures by their titles.
    """
    lines = {k: f.arrays for k, f in findings.items() if f.arrays["loss"].ndim == 1}
    planes = {k: f.arrays for k, f in findings.items() if f.arrays["loss"].ndim == 2}
    found = {}
    if lines:
        found["Loss along a direction"] = _line(lines)
    if planes:
        found["Contours of the loss"] = _contours(planes)
        found["Surface of the loss"] = _surface(planes)
    return found


def _line(arrays):
    figure, axis = figures.new_figure(list(arrays), height=3.2, is_wide=True)
    for place, (name, own) in enumerate(arrays.items()):
        look = {**figures.style(place), "markersize": 4}
        axis.plot(own["x"], own["loss"], label=name, **look)
    axis.set_xlabel("Step, in lengths of the filters")
    axis.set_ylabel("NLL + L2 (nats)")
    figures.tidy(axis)
    figures.legend(figure, axis)
    return figure


def _levels(arrays):
    """Returns levels that all planes share, closer where the loss is low."""
    low = min(own["loss"].min() for own in arrays.values())
    high = max(own["loss"].max() for own in arrays.values())
    low, high = max(low, 1e-6), max(high, 1.001 * max(low, 1e-6))
    return np.geomspace(low, high, _LEVELS)


def _contours(arrays):
    from matplotlib import colors

    levels = _levels(arrays)
    figure, axes = charts.panels(list(arrays), height=3.6)
    norm = colors.LogNorm(levels[0], levels[-1])
    for axis, own in zip(axes, arrays.values(), strict=True):
        given = own["x"], own["y"], np.maximum(own["loss"], levels[0])
        axis.contourf(*given, levels, norm=norm, cmap="viridis_r")
        lines = axis.contour(*given, levels, colors="black", linewidths=0.5)
        axis.clabel(lines, fontsize=6, fmt="%.3g")
        axis.set_aspect("equal")
        axis.set_xlabel("First direction")
    axes[0].set_ylabel("Second direction")
    return figure


def _surface(arrays):
    from matplotlib import colors
    from matplotlib import figure as figs

    levels, columns = _levels(arrays), min(2, len(arrays))
    rows = -(-len(arrays) // columns)
    figure = figs.Figure(figsize=(4.6 * columns, 3.8 * rows), layout="constrained")
    norm = colors.LogNorm(levels[0], levels[-1])
    for number, (name, own) in enumerate(arrays.items(), 1):
        axis = figure.add_subplot(rows, columns, number, projection="3d")
        x, y = np.meshgrid(own["x"], own["y"])
        values = np.maximum(own["loss"], levels[0])
        axis.plot_surface(
            x,
            y,
            np.log10(values),
            facecolors=_shades(norm(values)),
            rstride=1,
            cstride=1,
            shade=False,
        )
        axis.set_zlim(*np.log10(levels[[0, -1]]))
        axis.set_zlabel("log10 of the loss")
        axis.set_title(name, fontsize=10)
    return figure


def _shades(values):
    import matplotlib

    return matplotlib.colormaps["viridis_r"](np.asarray(values))


def plot_connectivity(findings: Mapping[str, Finding]) -> dict:
    """Draws loss and error along the paths between two networks.

    Args:
        findings: By the name of the pair.

    Returns:
        Figures by their titles.
    """
    looks = {"line": ":", "curve": "-"}
    labels = {"loss": "NLL + L2 (nats)", "error": "Error (%)"}
    titles = {"loss": "Loss between two trainings", "error": "Error between them"}
    found = {}
    for metric, label in labels.items():
        names = [f"{pair}, {path}" for pair in findings for path in looks]
        figure, axis = figures.new_figure(names, height=3.2, is_wide=True)
        for place, (pair, finding) in enumerate(findings.items()):
            for path, style in looks.items():
                values = finding.arrays.get(f"{path}/{metric}")
                if values is not None:
                    values = values * (100 if metric == "error" else 1)
                    axis.plot(
                        finding.arrays["t"],
                        values,
                        label=f"{pair}, {path}",
                        linestyle=style,
                        marker="o" if path == "curve" else None,
                        markersize=4,
                        color=figures.color(place),
                    )
        axis.set_xlabel("Place on the path, from the first to the second")
        axis.set_ylabel(label)
        figures.tidy(axis)
        figures.legend(figure, axis)
        found[titles[metric]] = figure
    return found


def plot_phases(findings: Mapping[str, Finding]) -> dict:
    """Draws the phases of a grid of trainings, and what they were found by.

    Args:
        findings: By the name of the sweep.

    Returns:
        Figures by their titles.
    """
    found = {}
    for name, finding in findings.items():
        found[f"Phases of {name}"] = _regions(finding.arrays)
        found[f"What the phases of {name} are found by"] = _measures(finding.arrays)
    return found


def _regions(arrays):
    from matplotlib import colors, patches

    names = [f"{key}: {text}" for key, text in REGIONS.items()]
    figure, axis = figures.new_figure([*names, "diverged"], height=3.6, is_wide=True)
    shades = colors.ListedColormap(["white", *_COLORS])
    axis.imshow(arrays["region"], cmap=shades, vmin=-1, vmax=4, origin="lower")
    for (i, j), number in np.ndenumerate(arrays["region"]):
        accuracy = arrays["accuracy"][i, j]
        text = [*REGIONS][int(number)] if number >= 0 else "diverged"
        if np.isfinite(accuracy):
            text += f"\n{100 * accuracy:.1f} %"
        axis.text(j, i, text, ha="center", va="center", fontsize=8)
    for color, name in zip(_COLORS, names, strict=True):
        axis.add_patch(patches.Rectangle((0, 0), 0, 0, color=color, label=name))
    _ticks(axis, arrays)
    figures.legend(figure, axis)
    return figure


def _measures(arrays):
    shown = {
        "sharpness": ("Largest eigenvalue", "magma_r", "log"),
        "connectivity": ("Mode connectivity (points)", "cividis", None),
        "similarity": ("CKA of probabilities", "cividis", None),
        "train_error": ("Training error", "magma_r", None),
    }
    figure, axes = charts.panels([title for title, *_ in shown.values()], share=False)
    for axis, (name, (_, colors, norm)) in zip(axes, shown.items(), strict=True):
        drawn = axis.imshow(arrays[name], cmap=colors, norm=norm, origin="lower")
        figure.colorbar(drawn, ax=axis, shrink=0.8)
        _ticks(axis, arrays)
    return figure


def _ticks(axis, arrays):
    load, temperature = arrays["settings"]
    axis.set_xticks(range(len(arrays["temperatures"])), arrays["temperatures"])
    axis.set_yticks(range(len(arrays["loads"])), arrays["loads"])
    axis.set_xlabel(f"Temperature: {temperature}")
    axis.set_ylabel(f"Load: {load}")
