"""The Hessian of what a training minimizes: how sharp the place is that it found."""

import numpy as np

from layers import checks
from training.analysis import base, spectra, training_batches, weight_loss
from training.analysis.base import Finding
from training.analysis.hessian_products import HessianProducts
from training.analysis.kept import Kept

_AT_ONCE = 5  # Vectors of a call.
_QUANTILES = 0.05, 0.25, 0.5, 0.75, 0.95


def hessian(
    model,
    dataset,
    *,
    batch_size: int = 128,
    seed: int = 0,
    progress=None,
    folder=None,
    augmentations=None,
    weight_decay: float = 5e-4,
    batch_statistics: str = "fixed",
    num_batches: int = 4,
    count: int = 5,
    method: str = "lanczos",
    tolerance: float = 1e-3,
    max_iterations: int = 100,
    probes: int = 10,
    steps: int = 30,
    runs: int = 1,
    at_once: int | None = None,
) -> Finding:
    """Measures the Hessian of NLL + L2 of batches of augmented training images.

    The loss is the mean negative log-likelihood of a batch, and half of the weight
    decay times the squared norm of the weights; the Hessian is by all trained weights.
    Of each batch there are the eigenvalues of the largest absolute value with their
    signs, the trace with its standard error, and the density of all eigenvalues.
    Networks that draw have one draw a batch, the same in all products.

    Args:
        model: A functional Keras model.
        dataset: A `training.data.ImageData` of training images.
        batch_size: Images whose mean loss has the Hessian.
        seed: Seed of the order and augmentation of the images, draws, and vectors.
        progress: A `training.progress.Progress`; None for none.
        folder: Where each batch is kept as soon as it is there; None for nowhere.
        augmentations: Those of the training, names in a list or joined by `+`; `"none"`
            for images as they are. There is no default, for a training minimizes the
            loss of augmented images, whose Hessian is another one.
        weight_decay: That of the training, as in `training.recipes.base.Recipe`.
        batch_statistics: `"fixed"`, the moving statistics as in prediction; or
            `"recomputed"`, those of each batch, by which there are derivatives too.
        num_batches: How many batches.
        count: How many eigenvalues; 0 for none.
        method: A key of `spectra.METHODS`: `"lanczos"`; or `"power"`, power iteration
            with deflation, for which it takes some times as long.
        tolerance: Of the eigenvalues, relative to each: of its residual by `"lanczos"`,
            of its last change by `"power"`.
        max_iterations: Most iterations.
        probes: Estimates of the trace; 0 for none.
        steps: Products for the density, each run; 0 for none.
        runs: Of how many first vectors the density is the mean.
        at_once: Images that pass at a time, where a batch takes too much memory.

    Returns:
        Rows of each `batch` with the metrics `eigenvalue`, by `rank`; `trace`, with
        `standard_error`; `nll`, `loss` and `gradient_norm`; and over all batches rows
        `largest_eigenvalue` by `quantile`, and `negative_eigenvalues`, the share of
        batches in which the largest absolute value is of a negative one. Arrays
        `eigenvalues` of shape `(batches, count)`, `trace_samples`, `(batches, probes)`,
        `density_nodes` and `density_weights`, `(batches, runs, steps)`.

    Raises:
        ValueError: If there are no augmentations given, fewer images than the batches
            take, settings out of their range, or a layer without a second derivative.
        FloatingPointError: If a loss or a product is not finite. Batches before it are
            kept in the folder.

    Reference:
        [PyHessian](https://arxiv.org/abs/1912.07145) (Yao et al., 2020); [How Do Vision
        Transformers Work?](https://arxiv.org/abs/2202.06709) (Park and Kim, 2022), of
        which the loss and the augmented images are.
    """
    dataset = base.check(model, dataset, batch_size)
    names = _augmentations(augmentations)
    _check_counts(count=count, probes=probes, steps=steps)
    checks.check_count(runs, "runs")
    checks.check_choice(method, "method", spectra.METHODS)
    loss = weight_loss.WeightLoss(model, weight_decay)
    matrix = HessianProducts(loss, batch_statistics, at_once)
    found = training_batches.augmented(dataset, batch_size, names, num_batches, seed)
    facts = {
        "objective": "nll + l2",
        "batch_size": batch_size,
        "augmentations": training_batches.joined(names),
        "weight_decay": float(weight_decay),
        "batch_statistics": loss.told(batch_statistics),
    }
    settings = {
        "eigenvalues": (method, count, tolerance, max_iterations),
        "trace": probes,
        "density": (steps, runs),
    }
    kept = Kept(folder, [model], dataset, seed=seed, **facts, **settings)
    parts = []
    for number, batch in enumerate(base.counted(found, len(found), progress)):
        own = _Batch(matrix, batch, number, seed, progress)
        said = {**facts, "batch": number}
        parts.append(kept(f"batch_{number:04d}", _of_batch, own, said, **settings))
    rows = [row for part in parts for row in part.rows]
    arrays = {
        name: np.stack([part.arrays[name] for part in parts])
        for name in parts[0].arrays
    }
    if count:
        rows += _summary(arrays["eigenvalues"][:, 0], facts)
    return Finding(rows, arrays)


class _Batch:
    """The Hessian of a batch, as functions of `spectra` take it."""

    def __init__(self, matrix, batch, number, seed, progress):
        self.matrix, self.batch, self.number = matrix, batch, number
        self.seed, self.progress, self.done = seed + number, progress, 0
        self.shape = {"size": matrix.size, "seed": self.seed, "dtype": matrix.dtype}

    def loss(self):
        value, gradient = self.matrix.gradient(*self.batch, self.seed)
        base.check_finite(value, f"The loss of batch {self.number}")
        base.check_finite(gradient, f"The gradient of batch {self.number}")
        return value, float(np.linalg.norm(gradient.astype("float64")))

    def products(self, vectors):
        parts = [
            self.matrix.products(vectors[i : i + _AT_ONCE], *self.batch, self.seed)
            for i in range(0, len(vectors), _AT_ONCE)
        ]
        self.done += len(vectors)
        if self.progress is not None:
            self.progress.describe(f"batch {self.number}, product {self.done}")
            self.progress(0)
        return np.concatenate(parts)


def _of_batch(batch, facts, eigenvalues, trace, density) -> Finding:
    value, norm = batch.loss()
    penalty = float(batch.matrix.loss.penalty(batch.matrix.loss.weights))
    rows = [
        {"metric": "loss", "value": value, **facts},
        {"metric": "nll", "value": value - penalty, **facts},
        {"metric": "gradient_norm", "value": norm, **facts},
    ]
    arrays = {}
    method, count, tolerance, max_iterations = eigenvalues
    if count:
        found = spectra.METHODS[method](
            batch.products,
            count=count,
            tolerance=tolerance,
            max_iterations=max_iterations,
            **batch.shape,
        )
        rows += _eigenvalue_rows(found, {**facts, "method": method})
        arrays["eigenvalues"] = np.full(count, np.nan)
        arrays["eigenvalues"][: len(found.values)] = found.values
    if trace:
        samples = spectra.trace_samples(
            batch.products, probes=trace, at_once=_AT_ONCE, **batch.shape
        )
        error = float(samples.std(ddof=1) / np.sqrt(trace)) if trace > 1 else None
        rows.append(
            {
                "metric": "trace",
                "value": float(samples.mean()),
                "standard_error": error,
                "probes": trace,
                **facts,
            }
        )
        arrays["trace_samples"] = samples
    steps, runs = density
    if steps:
        nodes, weights = spectra.lanczos_density(
            batch.products, steps=steps, runs=runs, **batch.shape
        )
        arrays["density_nodes"], arrays["density_weights"] = nodes, weights
    return Finding(rows, arrays)


def _eigenvalue_rows(found, facts):
    return [
        {
            "metric": "eigenvalue",
            "value": float(value),
            "rank": rank,
            "residual": float(residual),
            "converged": found.converged,
            "products": found.num_products,
            **facts,
        }
        for rank, (value, residual) in enumerate(
            zip(found.values, found.residuals, strict=True), 1
        )
    ]


def _summary(largest, facts):
    largest = largest[np.isfinite(largest)]
    if not len(largest):
        return []
    rows = [
        {
            "metric": "largest_eigenvalue",
            "value": float(np.quantile(largest, quantile)),
            "quantile": quantile,
            "batches": len(largest),
            **facts,
        }
        for quantile in _QUANTILES
    ]
    share = float(np.mean(largest < 0))
    return [*rows, {"metric": "negative_eigenvalues", "value": share, **facts}]


def _augmentations(value):
    if value is None:
        raise ValueError(
            "No augmentation is given: the Hessian is that of the images of the "
            "training as it augments them. Name them, such as "
            '`augmentations="flip+crop4"` (`--set=hessian:augmentations=flip+crop4`), '
            'or take the images as they are by `augmentations="none"`. Received: '
            "augmentations=None"
        )
    return training_batches.read_augmentations(value)


def _check_counts(**counts):
    for name, value in counts.items():
        if value != 0:
            checks.check_count(value, name)
