"""Figures of findings that are known."""

import numpy as np

from training.analysis import Finding, weight_figures
from training.report import figures


def drawn(found):
    """Returns titles; each figure must become an image as a page has it."""
    for figure in found.values():
        assert figures.data_uri(figure).startswith("data:image/svg+xml")
    return list(found)


def test_a_hessian_has_points_of_each_batch_and_a_density_of_all():
    arrays = {
        "eigenvalues": np.array([[9.0, -3.0], [5.0, np.nan], [7.0, 1.0]]),
        "density_nodes": np.array([[[0.0, 9.0]]] * 3),
        "density_weights": np.array([[[0.9, 0.1]]] * 3),
    }
    found = weight_figures.plot_hessian({"a": Finding([], arrays)})
    assert len(drawn(found)) == 2
    points = found["Largest eigenvalues of the Hessian, by batch"].axes[0].lines
    np.testing.assert_array_equal(points[0].get_ydata(), [9.0, -3.0])
    curve = found["Density of the eigenvalues of the Hessian"].axes[0].lines[0]
    x, y = curve.get_data()
    assert abs(x[np.argmax(y)]) < 0.05  # Nine tenths of them lie there.
    assert weight_figures.plot_hessian({"a": Finding([])}) == {}


def test_landscapes_share_their_levels():
    steps = np.linspace(-1, 1, 5)
    bowl = 0.1 + np.add.outer(steps**2, steps**2)
    found = weight_figures.plot_landscape(
        {
            "flat": Finding([], {"x": steps, "y": steps, "loss": bowl}),
            "sharp": Finding([], {"x": steps, "y": steps, "loss": 9 * bowl}),
            "line": Finding([], {"x": steps, "loss": bowl[2]}),
        }
    )
    titles = ["Loss along a direction", "Contours of the loss", "Surface of the loss"]
    assert drawn(found) == titles
    levels = [axis.collections[0].levels for axis in found[titles[1]].axes[:2]]
    np.testing.assert_array_equal(*levels)
    np.testing.assert_allclose([levels[0][0], levels[0][-1]], [0.1, 9 * 2.1])


def test_both_paths_between_two_networks_are_drawn():
    t = np.linspace(0, 1, 3)
    errors = {"line": np.array([0.1, 0.9, 0.1]), "curve": np.array([0.1, 0.2, 0.1])}
    arrays = {"t": t}
    for path, error in errors.items():
        arrays |= {f"{path}/error": error, f"{path}/loss": 2 * error}
    found = weight_figures.plot_connectivity({"a and b": Finding([], arrays)})
    assert drawn(found) == ["Loss between two trainings", "Error between them"]
    lines = found["Error between them"].axes[0].lines
    for line, error in zip(lines, errors.values(), strict=True):
        np.testing.assert_allclose(line.get_ydata(), 100 * error)
