"""Eigenvalues, trace and density of matrices that are known."""

import numpy as np
import pytest

from tests.helpers.checks import assert_mean_close
from training.analysis import spectra

VALUES = [-9.0, 7.0, 5.0, -4.0, 2.0]


def symmetric(size, values=(), seed=0):
    """Returns a matrix with some eigenvalues, and others in [-1, 1]."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(size, size)))
    diagonal = rng.uniform(-1, 1, size)
    diagonal[: len(values)] = values
    return basis * diagonal @ basis.T


def of(matrix):
    return lambda vectors: (vectors.astype("float64") @ matrix).astype(vectors.dtype)


@pytest.mark.parametrize("method", spectra.METHODS)
@pytest.mark.parametrize("size", [8, 90])
def test_eigenvalues_have_their_signs_and_are_in_order(method, size):
    matrix = symmetric(size, VALUES)
    find = spectra.METHODS[method]
    found = find(of(matrix), size, 4, tolerance=1e-9, dtype="float64")
    np.testing.assert_allclose(found.values, VALUES[:4], rtol=1e-6)
    assert found.converged
    for value, vector, residual in zip(
        found.values, found.vectors, found.residuals, strict=True
    ):
        missed = np.linalg.norm(matrix @ vector - value * vector) / abs(value)
        lengths = residual, np.linalg.norm(vector)
        np.testing.assert_allclose(lengths, [missed, 1], atol=1e-9)
    coarse = find(of(matrix), size, 4, tolerance=0.1, dtype="float64")
    assert coarse.num_products <= found.num_products
    again = find(of(matrix), size, 4, tolerance=1e-9, dtype="float64")
    np.testing.assert_array_equal(again.values, found.values)


def test_what_does_not_converge_says_so():
    matrix = symmetric(90, [3.0, -3.0])
    found = spectra.power_iteration(of(matrix), 90, 1, 1e-9, 5, dtype="float64")
    assert not found.converged
    assert found.num_products == 5
    close = symmetric(400, np.linspace(1.0, 1.001, 300))
    found = spectra.lanczos(of(close), 400, 5, 1e-12, 1, dtype="float64")
    assert not found.converged
    nothing = spectra.power_iteration(lambda v: 0 * v, 90, 3)
    np.testing.assert_array_equal(nothing.values, 0)
    assert nothing.converged


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"count": 0}, "count=0"),
        ({"tolerance": 0.0}, "tolerance=0.0"),
        ({"max_iterations": 0}, "max_iterations=0"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    for find in spectra.METHODS.values():
        with pytest.raises(ValueError, match=message):
            find(of(np.eye(3)), 3, **changes)


def test_one_probe_gives_the_trace_of_a_diagonal_matrix():
    diagonal = np.random.default_rng(0).normal(size=50)
    found = spectra.trace_samples(of(np.diag(diagonal)), 50, 3, dtype="float64")
    np.testing.assert_allclose(found, 3 * [diagonal.sum()])


def test_estimates_of_the_trace_have_its_mean_and_their_variance():
    matrix = symmetric(30)
    found = spectra.trace_samples(of(matrix), 30, 4000, at_once=7, dtype="float64")
    assert found.shape == (4000,)
    assert_mean_close(found, np.trace(matrix))
    variance = 2 * (np.sum(matrix**2) - np.sum(np.diag(matrix) ** 2))
    assert_mean_close((found - np.trace(matrix)) ** 2, variance)


def test_as_many_steps_as_rows_see_the_whole_matrix():
    size, runs = 12, 3
    matrix = symmetric(size)
    seen = []

    def products(vectors):
        seen.append(vectors)
        return of(matrix)(vectors)

    nodes, weights = spectra.lanczos_density(
        products, size, size, runs, dtype="float64"
    )
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    values = np.linalg.eigvalsh(matrix)
    for run in range(runs):
        start = seen[0][run]
        np.testing.assert_allclose(np.abs(start), size**-0.5)
        np.testing.assert_allclose(np.sort(nodes[run]), values, atol=1e-9)
        for power in range(6):
            wanted = start @ np.linalg.matrix_power(matrix, power) @ start
            found = np.sum(weights[run] * nodes[run] ** power)
            np.testing.assert_allclose(found, wanted, atol=1e-9)
    # Few steps know the first moments exactly.
    few = spectra.lanczos_density(of(matrix), size, 3, runs, dtype="float64")
    for power in range(6):
        moments = [(w * n**power).sum(axis=1) for n, w in ((nodes, weights), few)]
        np.testing.assert_allclose(*moments, atol=1e-9)


def test_a_run_ends_where_there_is_nothing_more():
    matrix = np.diag([2.0, 2.0, 2.0, 5.0, 5.0, 5.0, 5.0])
    nodes, weights = spectra.lanczos_density(of(matrix), 7, 5, dtype="float64")
    assert nodes.shape == (1, 5)
    np.testing.assert_allclose(nodes[0], [2, 5, 0, 0, 0], atol=1e-9)
    np.testing.assert_allclose(weights[0], [3 / 7, 4 / 7, 0, 0, 0], atol=1e-9)


def test_runs_that_take_much_memory_are_made_one_by_one(monkeypatch):
    matrix, sizes = symmetric(9), []

    def products(vectors):
        sizes.append(len(vectors))
        return of(matrix)(vectors)

    whole = spectra.lanczos_density(products, 9, 4, 3, dtype="float64")
    assert set(sizes) == {3}
    monkeypatch.setattr(spectra, "_MOST", 1)
    parts = spectra.lanczos_density(products, 9, 4, 3, dtype="float64")
    assert sizes[-1] == 1
    np.testing.assert_allclose(whole, parts, atol=1e-9)


def test_a_density_has_the_integral_and_the_mean_of_its_nodes():
    nodes, weights = np.array([[-1.0, 2.0], [0.0, 1.0]]), np.array([[0.25, 0.75]] * 2)
    points = np.linspace(-4, 5, 2001)
    found = spectra.density(nodes, weights, points, 0.1)
    step = points[1] - points[0]
    np.testing.assert_allclose(found.sum() * step, 1, rtol=1e-6)
    np.testing.assert_allclose((points * found).sum() * step, 1.0, rtol=1e-6)
    with pytest.raises(ValueError, match="width=0"):
        spectra.density(nodes, weights, points, 0)
