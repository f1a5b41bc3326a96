"""Eigenvalues, trace and density of a symmetric matrix that is known by its products.

A matrix is a function `products` of vectors, the rows of an array of shape `(vectors,
size)`, to an array of that shape with its product with each. Several at once may cost
less than one after the other.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from layers import checks

_MOST = 2**31  # Bytes of vectors that are kept at a time.
_SMALL = 64  # Up to this size, a matrix is made of its products with unit vectors.
_KRYLOV = 20  # Vectors that ARPACK keeps, at least.


@dataclasses.dataclass(frozen=True)
class Eigenvalues:
    """The eigenvalues of the largest absolute value.

    Attributes:
        values: float64 array of shape `(count,)`, with their signs, the largest
            absolute value first.
        vectors: Array of shape `(count, size)`, of length 1 each.
        residuals: Length of `H v - value v` for each vector, over the absolute value.
        num_products: Products that were computed.
        converged: Whether all are within the tolerance.
    """

    values: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray
    num_products: int
    converged: bool


def power_iteration(
    products: Callable,
    size: int,
    count: int = 5,
    tolerance: float = 1e-3,
    max_iterations: int = 100,
    seed: int = 0,
    dtype: str = "float32",
) -> Eigenvalues:
    """Returns the eigenvalues of the largest absolute value, by power iteration.

    All vectors are multiplied together, and each is made orthogonal to those before it,
    by which these are deflated. In the space of all of them the matrix is small, and
    its eigenvalues are the estimates. It ends when none of them changes by more than
    the tolerance, relative to itself.

    Args:
        products: The matrix; see the module.
        size: Its rows.
        count: How many eigenvalues.
        tolerance: Largest relative change of an eigenvalue in the last iteration.
        max_iterations: Most products of each vector.
        seed: Seed of the first vectors.
        dtype: Type of vectors.

    Reference:
        [Matrix Computations](https://doi.org/10.56021/9781421407944) (Golub and Van
        Loan, 2013), section 8.2.4, orthogonal iteration.
    """
    count = _check(size, count, tolerance, max_iterations)
    if size <= _SMALL:
        return _dense(products, size, count, dtype)
    rng = np.random.default_rng(seed)
    vectors = _orthonormal(rng.normal(size=(count, size)).astype(dtype))
    values = np.full(count, np.inf)
    for iteration in range(1, max_iterations + 1):
        images = products(vectors)
        before, (values, turn) = values, _small_eigen(vectors, images)
        turn = turn.T.astype(dtype)
        vectors, images = turn @ vectors, turn @ images
        if np.all(np.abs(values - before) <= tolerance * np.abs(values)):
            return _found(values, vectors, images, iteration * count, True)
        if iteration < max_iterations:
            vectors = _orthonormal(images)
    return _found(values, vectors, images, max_iterations * count, False)


def lanczos(
    products: Callable,
    size: int,
    count: int = 5,
    tolerance: float = 1e-3,
    max_iterations: int = 100,
    seed: int = 0,
    dtype: str = "float32",
) -> Eigenvalues:
    """Returns what `power_iteration` does, of fewer products, by Lanczos' method.

    It is ARPACK's, with implicit restarts. The tolerance is that of the eigenvalues
    themselves, by the residuals, relative to each. The arguments are those of
    `power_iteration`; iterations are restarts.

    Reference:
        [ARPACK Users' Guide](https://doi.org/10.1137/1.9780898719628) (Lehoucq,
        Sorensen and Yang, 1998).
    """
    from scipy.sparse import linalg

    count = _check(size, count, tolerance, max_iterations)
    kept = max(2 * count + 1, _KRYLOV)
    if size <= max(_SMALL, kept):
        return _dense(products, size, count, dtype)
    calls = 0

    def product(vector):
        nonlocal calls
        calls += 1
        return products(np.reshape(vector, (1, size)).astype(dtype))[0]

    start = np.random.default_rng(seed).normal(size=size).astype(dtype)
    converged = True
    try:
        values, columns = linalg.eigsh(
            linalg.LinearOperator((size, size), product, dtype=np.dtype(dtype)),
            count,
            which="LM",
            v0=start,
            ncv=kept,
            tol=tolerance,
            maxiter=max_iterations,
        )
    except linalg.ArpackNoConvergence as error:
        values, columns, converged = error.eigenvalues, error.eigenvectors, False
    order = np.argsort(-np.abs(values), kind="stable")
    vectors = np.ascontiguousarray(columns.T[order])
    # A last product of all together, for what they miss.
    images = products(vectors) if len(vectors) else vectors
    values = np.asarray(values, "float64")[order]
    return _found(values, vectors, images, calls + len(vectors), converged)


# By the value of `method`.
METHODS = {"lanczos": lanczos, "power": power_iteration}


def trace_samples(
    products: Callable,
    size: int,
    probes: int,
    at_once: int = 5,
    seed: int = 0,
    dtype: str = "float32",
) -> np.ndarray:
    """Returns independent estimates of the trace, of which the mean is unbiased.

    Each is `v^T H v` with signs `v`, which of a diagonal matrix is the trace itself.

    Args:
        products: The matrix; see the module.
        size: Its rows.
        probes: How many estimates.
        at_once: Vectors of a call of `products`.
        seed: Seed of the signs.
        dtype: Type of vectors.

    Returns:
        float64 array of shape `(probes,)`. Its standard deviation over the root of the
        number is the standard error of the mean.

    Reference:
        [A Stochastic Estimator of the Trace of the Influence Matrix](
        https://doi.org/10.1080/03610919008812866) (Hutchinson, 1990).
    """
    found = []
    for start in range(0, probes, at_once):
        numbers = range(start, min(start + at_once, probes))
        signs = _signs(seed, numbers, size, dtype)
        found.append(_dot(signs, products(signs)))
    return np.concatenate(found)


def lanczos_density(
    products: Callable,
    size: int,
    steps: int,
    runs: int = 1,
    seed: int = 0,
    dtype: str = "float32",
) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the eigenvalues lie, by stochastic Lanczos quadrature.

    A run begins with a vector of signs and makes a tridiagonal matrix of `steps` rows,
    each vector made orthogonal to all before it. Its eigenvalues are the nodes, and the
    squares of the first entries of its eigenvectors the weights, of a quadrature: the
    mean over all eigenvalues of any smooth function is about the weighted sum over the
    nodes, and of as many steps as rows exactly what the run sees of it.

    Args:
        products: The matrix; see the module.
        size: Its rows.
        steps: Products of a run; at most `size` are made.
        runs: How many first vectors.
        seed: Seed of these.
        dtype: Type of vectors.

    Returns:
        Nodes and weights, float64 arrays of shape `(runs, steps)`. The weights of a run
        sum to 1; a run that ends early has zeros behind.

    Reference:
        [Fast Estimation of tr(f(A)) via Stochastic Lanczos Quadrature](
        https://doi.org/10.1137/16M1104974) (Ubaru, Chen and Saad, 2017); [An
        Investigation into Neural Net Optimization via Hessian Eigenvalue Density](
        https://arxiv.org/abs/1901.10159) (Ghorbani, Krishnan and Xiao, 2019).
    """
    steps = min(steps, size)
    of_run = max(1, steps * size * np.dtype(dtype).itemsize)
    together = int(max(1, min(runs, _MOST // of_run)))
    pairs = [
        pair
        for start in range(0, runs, together)
        for pair in _runs(
            products,
            _signs(seed, range(start, min(start + together, runs)), size, dtype),
            steps,
        )
    ]
    nodes, weights = (np.stack(part) for part in zip(*pairs, strict=True))
    return nodes, weights


def density(nodes, weights, points, width: float) -> np.ndarray:
    """Returns the density of eigenvalues, smoothed by a Gaussian.

    Args:
        nodes: Array of shape `(..., runs, steps)`; means are over all runs.
        weights: Array of that shape.
        points: Where, an array of shape `(points,)`.
        width: Standard deviation of the Gaussian.

    Returns:
        Array of shape `(points,)`, whose integral is 1.
    """
    checks.check_positive(width, "width")
    nodes, weights = (np.reshape(x, (-1, np.shape(x)[-1])) for x in (nodes, weights))
    distance = (np.asarray(points)[:, None, None] - nodes) / width
    bells = np.exp(-(distance**2) / 2) / (width * np.sqrt(2 * np.pi))
    return np.sum(weights * bells, axis=-1).mean(axis=-1)


def _runs(products, vectors, steps):
    """Returns nodes and weights of runs side by side."""
    count, size = vectors.shape
    basis = np.empty((count, steps, size), vectors.dtype)
    diagonal, beside = np.zeros((2, count, steps))
    lengths = np.full(count, steps)  # Of the matrix of each run.
    scale = np.zeros(count)
    vectors = vectors / np.sqrt(vectors.dtype.type(size))
    for step in range(steps):
        basis[:, step] = vectors
        images = products(vectors)
        diagonal[:, step] = _dot(vectors, images)
        for _ in range(2):  # The second time takes out what rounding left.
            for run in range(count):
                known = basis[run, : step + 1]
                images[run] -= known.T @ (known @ images[run])
        norms = np.sqrt(_dot(images, images))
        beside[:, step] = norms
        scale = np.maximum(scale, np.abs(diagonal[:, step]) + norms)
        ended = norms <= 10 * np.finfo(vectors.dtype).eps * scale
        lengths = np.where(ended, np.minimum(lengths, step + 1), lengths)
        if np.all(lengths <= step + 1):
            break
        vectors = images / np.where(ended, 1, norms)[:, None].astype(vectors.dtype)
    return [
        _quadrature(diagonal[run], beside[run], lengths[run], steps)
        for run in range(count)
    ]


def _quadrature(diagonal, beside, length, steps):
    from scipy.linalg import eigh_tridiagonal

    nodes, weights = np.zeros((2, steps))
    values, columns = eigh_tridiagonal(diagonal[:length], beside[: length - 1])
    nodes[:length], weights[:length] = values, columns[0] ** 2
    return nodes, weights


def _check(size, count, tolerance, max_iterations) -> int:
    checks.check_positive(tolerance, "tolerance")
    checks.check_count(max_iterations, "max_iterations")
    return min(checks.check_count(count, "count"), size)


def _dense(products, size, count, dtype):
    matrix = np.asarray(products(np.eye(size, dtype=dtype)), "float64")
    values, columns = np.linalg.eigh((matrix + matrix.T) / 2)
    order = np.argsort(-np.abs(values), kind="stable")[:count]
    vectors = columns.T[order]
    return _found(values[order], vectors, vectors @ matrix, size, True)


def _found(values, vectors, images, num_products, converged):
    missed = images - values[:, None].astype(images.dtype) * vectors
    lengths = np.sqrt(_dot(missed, missed))
    scale = np.maximum(np.abs(values), np.finfo("float64").tiny)
    return Eigenvalues(values, vectors, lengths / scale, num_products, converged)


def _small_eigen(vectors, images):
    """Returns the eigenvalues in the space of vectors, and how these turn."""
    small = np.einsum("in,jn->ij", vectors, images, dtype="float64", optimize=False)
    values, columns = np.linalg.eigh((small + small.T) / 2)
    order = np.argsort(-np.abs(values), kind="stable")
    return values[order], columns[:, order]


def _orthonormal(vectors):
    """Returns vectors of length 1, each orthogonal to those before it."""
    found = np.empty_like(vectors)
    for number in range(len(vectors)):
        vector, known = vectors[number], found[:number]
        for _ in range(2):
            vector = vector - known.T @ (known @ vector)
        norm = np.sqrt(_dot(vector, vector))
        # A vector of zeros stays one: the matrix has no further eigenvalue.
        found[number] = vector / norm if norm else vector
    return found


def _dot(a, b):
    """Returns the products of rows, summed in float64."""
    return np.einsum("...n,...n->...", a, b, dtype="float64")


def _signs(seed, numbers, size, dtype):
    """Returns vectors of signs by their numbers, the same however many are made."""
    drawn = [
        np.random.default_rng((seed, number)).integers(0, 2, size, "int8")
        for number in numbers
    ]
    return (2 * np.stack(drawn) - 1).astype(dtype)
