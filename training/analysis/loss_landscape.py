"""The loss around a network, along random directions of its weights."""

import numpy as np

from layers import checks, random
from training.analysis import base, directions, training_batches
from training.analysis.base import Finding
from training.analysis.kept import Kept
from training.analysis.weight_loss import METRICS, Evaluation, WeightLoss

DRAWS = "fixed", "fresh"


def landscape(
    model,
    dataset,
    *,
    batch_size: int = 200,
    seed: int = 0,
    progress=None,
    folder=None,
    num_images: int = 2000,
    dimensions: int = 2,
    points: int = 21,
    extent: float = 1.0,
    batch_statistics: str = "fixed",
    draws: str = "fixed",
    augmentations="none",
    weight_decay: float = 5e-4,
) -> Finding:
    """Measures NLL + L2 and the error on a line or a plane through the weights.

    Directions are Gaussian, each filter as long as that of the model, and leave biases
    and normalizations where they are; see `directions.filter_normalized`. Models of
    equal shapes are moved along the same ones with the same seed.

    Args:
        model: A functional Keras model.
        dataset: A `training.data.ImageData`.
        batch_size: Images that pass at a time.
        seed: Seed of directions, draws, and order and augmentation of the images.
        progress: A `training.progress.Progress`; None for none.
        folder: Where each line of the grid is kept as soon as it is there; None for
            nowhere.
        num_images: How many images, all of them of fewer; what does not fill a batch is
            left out.
        dimensions: 1 for a line, 2 for a plane.
        points: Points along each direction, of which that in the middle is the model if
            the number is odd.
        extent: The largest step, as a share of the filters' own length.
        batch_statistics: `"fixed"`, those of the model at all points; or
            `"recomputed"`, at each point those of the images.
        draws: Of networks that draw, `"fixed"` has the same masks at all points, which
            is a smooth surface, and `"fresh"` others at each.
        augmentations: Names of augmentations, as `hessian` takes them.
        weight_decay: As in `hessian`.

    Returns:
        Rows of each point with its `x` and, in two dimensions, `y`, and the metrics
        `loss`, `nll` and `error`. Arrays `x`, `y`, and by metric `loss`, `nll` and
        `error` of shape `(points,)` or, `y` first, `(points, points)`.

    Raises:
        ValueError: If settings are out of their range, or there are fewer images than
            in a batch.
        FloatingPointError: If a loss is not finite; the point is named, and lines
            before it are kept in the folder.

    Reference:
        [Visualizing the Loss Landscape of Neural Nets](
        https://arxiv.org/abs/1712.09913) (Li et al., 2018).
    """
    dataset = base.check(model, dataset, batch_size)
    checks.check_choice(dimensions, "dimensions", (1, 2))
    checks.check_choice(draws, "draws", DRAWS)
    checks.check_positive(extent, "extent")
    checks.check_count(num_images, "num_images")
    if checks.check_count(points, "points") < 2:
        raise ValueError(f"A line has two points at least. Received: points={points}")
    names = training_batches.read_augmentations(augmentations)
    dataset = dataset.sample(num_images)
    base.check(model, dataset, batch_size)
    found = training_batches.augmented(dataset, batch_size, names, seed=seed)
    loss = WeightLoss(model, weight_decay)
    evaluate = Evaluation(loss, found, batch_statistics)
    axes = [directions.filter_normalized(model, seed, i) for i in range(dimensions)]
    line = np.linspace(-extent, extent, points)
    facts = {
        "images": len(found) * batch_size,
        "augmentations": training_batches.joined(names),
        "weight_decay": float(weight_decay),
        "batch_statistics": loss.told(batch_statistics),
        "draws": draws,
    }
    kept = Kept(
        *(folder, [model], dataset),
        **{"seed": seed, "batch_size": batch_size, **facts},
        line=line.tolist(),
        dimensions=dimensions,
    )
    parts = []
    if progress is not None:
        progress.expect(points**dimensions)

    def of_line(number, fixed):
        for place, x in enumerate(line):
            key = seed
            if draws == "fresh":
                key = int(random.fold(seed, number * points + place))
            steps = (x, *fixed)
            told = ", ".join(f"{a}={s:g}" for a, s in zip("xy", steps, strict=False))
            yield directions.moved(loss.weights, steps, axes), key, f"at {told}"

    def measured(*where):
        return Finding([], evaluate.along(of_line(*where), progress))

    rest = [()] if dimensions == 1 else [(y,) for y in line]
    for number, fixed in enumerate(rest):
        parts.append(kept(f"line_{number:04d}", measured, number, fixed))
    arrays = {name: np.stack([part.arrays[name] for part in parts]) for name in METRICS}
    rows = [
        {
            "metric": name,
            "value": float(arrays[name][i, j]),
            "x": float(x),
            **({"y": float(rest[i][0])} if rest[i] else {}),
            **facts,
        }
        for i in range(len(rest))
        for j, x in enumerate(line)
        for name in METRICS
    ]
    if dimensions == 1:
        arrays = {name: values[0] for name, values in arrays.items()}
        return Finding(rows, {"x": line, **arrays})
    return Finding(rows, {"x": line, "y": line, **arrays})
