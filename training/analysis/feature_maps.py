"""How feature maps vary over space, and over the passes of a stochastic network."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import ops

from layers.checks import check_count
from training.analysis import base, charts
from training.analysis.base import Finding
from training.analysis.network import Network, passes


def features(
    model: keras.Model,
    dataset,
    *,
    batch_size: int = 100,
    seed: int = 0,
    progress=None,
    num_samples: int = 10,
    layers: str | Sequence[str] | None = None,
) -> Finding:
    """Returns the variance of feature maps, block by block.

    `spatial_variance` is that over the points of a map, unbiased, the mean over the
    channels, the images and the passes. `pass_variance` is that over the passes,
    unbiased, the mean over points, channels and images; it is there where something
    draws.

    Args:
        model: Functional Keras model from images in `[0, 255]` to logits.
        dataset: A `training.data.ImageData`.
        batch_size: Images in a batch.
        seed: Seed of the passes.
        progress: A `training.progress.Progress`, or None.
        num_samples: Forward passes of a network that draws, at least 2; others take
            one.
        layers: Where to look: None for the feature maps between the blocks, from the
            normalized images on; `"all"` for those of every layer; or names of layers.

    Returns:
        For each of these a row `spatial_variance`, unless the map is a single point,
        and `pass_variance`, with the `layer`, its `depth`, from 0 on, and `kinds`:
        which of smoothing, attention and subsampling there are since the one before.
        Their `standard_error` is that of the mean over the images. The arrays of both
        names have the values of each image, of shape `(images, maps)`.

    Raises:
        ValueError: If model and data set do not fit together, there are fewer images
            than in a batch, or there is no such layer.
        FloatingPointError: If a value is not finite.

    Reference:
        [How Do Vision Transformers Work?](https://arxiv.org/abs/2202.06709)
        (Park and Kim, 2022), figure 9.
    """
    dataset, network = base.check(model, dataset, batch_size), Network(model)
    points, draws = network.maps(layers), network.draws
    if check_count(num_samples, "num_samples") < 2 and draws:
        raise ValueError(
            "A variance over passes takes two at least. Received: num_samples="
            f"{num_samples}, and '{model.name}' draws"
        )
    num_passes = network.num_passes(num_samples)

    def first(images, seed, offset):
        with passes(seed, 0, offset):
            _, maps = network.values(images, points)
        zeros = [ops.zeros_like(x) for x in maps]
        return [spatial_variance(x) for x in maps], [*maps, *zeros] if draws else []

    def further(images, seed, offset, number, *states):
        """Adds a pass to means and sums of squared differences (Welford, 1962)."""
        with passes(seed, number, offset):
            _, maps = network.values(images, points)
        count, half = ops.cast(number, "float32") + 1.0, len(maps)
        pairs = list(zip(maps, states[:half], strict=True))
        moved = [mean + (x - mean) / count for x, mean in pairs]
        grown = [
            square + (x - mean) * (x - new)
            for (x, mean), new, square in zip(pairs, moved, states[half:], strict=True)
        ]
        return [spatial_variance(x) for x in maps], [*moved, *grown]

    begin, go_on = network.compiled(first), network.compiled(further)
    spatial, over_passes = [], []
    for number, images, _ in base.numbered(dataset, batch_size, progress):
        offset = number * batch_size
        variances, states = begin(images, seed, offset)
        found = [_by_image(variances)]
        for index in range(1, num_passes):
            variances, states = go_on(images, seed, offset, index, *states)
            found.append(_by_image(variances))
        spatial.append(np.mean(found, axis=0))
        if draws:
            means = [ops.mean(x, axis=(1, 2, 3)) for x in states[len(points) :]]
            over_passes.append(_by_image(means) / (num_passes - 1))
    found = {"spatial_variance": spatial, "pass_variance": over_passes}
    arrays = {k: np.concatenate(parts) for k, parts in found.items() if parts}
    rows = [row for name in arrays for row in _rows(name, arrays[name], points)]
    return Finding(rows, arrays)


def spatial_variance(maps):
    """Returns the unbiased variance over the points of maps, the mean over channels.

    Args:
        maps: float32 tensor of shape `(batch, height, width, channels)`.

    Returns:
        Tensor of shape `(batch,)`; zeros for maps of one point, which have none.
    """
    count = maps.shape[1] * maps.shape[2]
    variance = ops.var(maps, axis=(1, 2)) * (count / max(count - 1, 1))
    return ops.mean(variance, axis=-1)


def _by_image(values):
    """Returns vectors of a number for each image as the columns of an array."""
    return np.stack([ops.convert_to_numpy(x) for x in values], axis=1)


def _rows(metric, values, points):
    for index, point in enumerate(points):
        if metric == "spatial_variance" and point.shape[:2] == (1, 1):
            continue
        own = base.check_finite(values[:, index], f"The {metric} of '{point.layer}'")
        error = own.std(ddof=1) / len(own) ** 0.5 if len(own) > 1 else 0.0
        yield {
            "metric": metric,
            **point.facts,
            "value": float(own.mean(dtype="float64")),
            "standard_error": float(error),
        }


def plot_features(findings: Mapping[str, Finding]) -> dict:
    """Draws the variances of models block by block.

    Args:
        findings: What `features` found, by the name of the model.

    Returns:
        Figures by their titles.
    """
    figures = {}
    for metric, (title, label) in _FIGURES.items():
        if any(finding.values(metric) for finding in findings.values()):
            figures[title] = charts.by_depth(findings, metric, label, log=True)
    return figures


_FIGURES = {
    "spatial_variance": (
        "Variance of feature maps over space",
        "Variance over space",
    ),
    "pass_variance": ("Variance of feature maps over passes", "Variance over passes"),
}
