"""Which frequencies feature maps hold, and which ones mislead a network."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import ops

from layers.checks import check_count, check_positive
from training.analysis import base, charts
from training.analysis.base import Finding
from training.analysis.network import Network, passes
from training.report import figures

FLOOR = 1e-6  # Added to amplitudes, so that an empty map has a logarithm.


def fourier(
    model: keras.Model,
    dataset,
    *,
    batch_size: int = 100,
    seed: int = 0,
    progress=None,
    num_samples: int = 5,
    layers: str | Sequence[str] | None = None,
    noise: float = 12.75,
    width: float = 0.1,
) -> Finding:
    """Returns spectra of feature maps, and accuracies under noise by its frequency.

    The amplitude of a map is that of its two-dimensional discrete Fourier transform,
    along the diagonal from the mean to the highest frequency. Of its logarithm the mean
    over channels, images and passes is taken, and that of the mean, frequency zero, is
    subtracted: blocks of other gains and sizes compare. A low pass lowers the curve
    towards its end, a high pass raises it.

    The noise is white and Gaussian, and all but an annulus of its spectrum is taken
    away; what is left is scaled, so that each annulus has the same power. The images
    are neither rounded nor clipped, which would give noise of other frequencies.

    Args:
        model: Functional Keras model from images in `[0, 255]` to logits.
        dataset: A `training.data.ImageData`.
        batch_size: Images in a batch.
        seed: Seed of the noise and of the passes.
        progress: A `training.progress.Progress`, or None.
        num_samples: Forward passes of a network that draws; others take one.
        layers: Where to look, as in `training.analysis.features`.
        noise: Standard deviation of the noise of each annulus, in gray levels of 255.
        width: Width of an annulus, as a part of pi.

    Returns:
        For each map a row `log_amplitude`, that of its highest frequency relative to
        that of its mean, with the `layer`, its `depth`, `kinds`, and that `frequency`
        as a part of pi. Then rows `accuracy`, of the mean prediction: one with `noise`
        0, and one for each annulus that holds a frequency of the images, from the
        radius `low` to below `high`, in parts of pi; `change` is what the noise adds.
        The arrays `frequency/<layer>` and `log_amplitude/<layer>` have the whole
        diagonals, `low`, `high` and `accuracy` the annuli.

    Raises:
        ValueError: If model and data set do not fit together, there are fewer images
            than in a batch, there is no such layer, or a setting is not positive.
        FloatingPointError: If a value is not finite.

    Reference:
        [How Do Vision Transformers Work?](https://arxiv.org/abs/2202.06709)
        (Park and Kim, 2022), figures 2 and 8. The noise there is not scaled.
    """
    dataset, network = base.check(model, dataset, batch_size), Network(model)
    points = network.maps(layers)
    count = network.num_passes(check_count(num_samples, "num_samples"))
    check_positive(noise, "noise")
    if check_positive(width, "width") > 1:
        raise ValueError(f"`width` is a part of pi, at most 1. Received: width={width}")
    rings = annuli(dataset.input_shape[:2], width)

    def amplitudes(images, seed, offset, number):
        with passes(seed, number, offset):
            logits, maps = network.values(images, points)
        curves = [ops.mean(log_amplitudes(x), axis=0) for x in maps]
        places = [frequencies_of(*x.shape[1:3]).astype("float32") for x in maps]
        places = map(ops.convert_to_tensor, places)
        return [ops.softmax(logits, axis=-1), *curves, *places]

    def predictions(images, seed, offset, number):
        with passes(seed, number, offset):
            logits, _ = network.values(images, [])
        return [ops.softmax(logits, axis=-1)]

    def mean(program, *given):
        """Returns the means over the passes."""
        found = [program(*given, number) for number in range(count)]
        values = [list(map(ops.convert_to_numpy, one)) for one in found]
        return [np.mean(x, axis=0, dtype=float) for x in zip(*values, strict=True)]

    look, predict = network.compiled(amplitudes), network.compiled(predictions)
    curves, right = [], []
    for index, images, labels in base.numbered(dataset, batch_size, progress):
        given = seed, index * batch_size
        probs, *found = mean(look, images, *given)
        curves.append(found)
        white = np.random.default_rng((seed, index)).standard_normal(images.shape)
        moved = (images + noise * confined(white, ring.mask) for ring in rings)
        all_probs = [probs, *(mean(predict, x, *given)[0] for x in moved)]
        right.append([base.accuracy(probs, labels) for probs in all_probs])
    means = [np.mean(x, axis=0) for x in zip(*curves, strict=True)]
    rows, arrays = _of_maps(points, means[: len(points)], means[len(points) :])
    clean, *noisy = np.mean(right, axis=0).tolist()
    rows.append({"metric": "accuracy", "noise": 0.0, "value": clean})
    for ring, value in zip(rings, noisy, strict=True):
        facts = {"noise": float(noise), "low": ring.low, "high": ring.high}
        changed = {"value": value, "change": value - clean}
        rows.append({"metric": "accuracy", **facts, **changed})
    arrays["low"] = np.array([ring.low for ring in rings])
    arrays["high"] = np.array([ring.high for ring in rings])
    arrays["accuracy"] = np.array(noisy)
    return Finding(rows, arrays)


def log_amplitudes(maps):
    """Returns log amplitudes along the diagonal, the means over the channels.

    Args:
        maps: float32 tensor of shape `(batch, height, width, channels)`.

    Returns:
        Tensor of shape `(batch, m // 2 + 1)`, `m` the shorter side: entry `k` is that
        of the frequency `2 k / m` pi; of a longer side, of the nearest one.
    """
    height, width = maps.shape[1:3]
    rows, columns = _diagonal(height, width)
    across, down = _waves(columns, width), _waves(rows, height)
    real, imaginary = (ops.einsum("kw,bhwc->bhkc", x, maps) for x in across)

    def along(waves, x):
        return ops.einsum("kh,bhkc->bkc", waves, x)

    cosine, sine = down
    found = (
        along(cosine, real) - along(sine, imaginary),
        along(sine, real) + along(cosine, imaginary),
    )
    amplitudes = ops.sqrt(ops.square(found[0]) + ops.square(found[1]))
    return ops.mean(ops.log(amplitudes + FLOOR), axis=-1)


def frequencies_of(height: int, width: int) -> np.ndarray:
    """Returns the frequencies of `log_amplitudes`, as parts of pi."""
    side = min(height, width)
    return 2 * np.arange(side // 2 + 1) / side


def _diagonal(height, width):
    """Returns the numbers of the frequencies of both axes along the diagonal."""
    fractions = frequencies_of(height, width) / 2
    return tuple(np.rint(fractions * n).astype(int) for n in (height, width))


def _waves(numbers, size):
    """Returns cosines and sines of some frequencies, each of shape `(k, size)`."""
    turns = np.outer(numbers, np.arange(size)) % size / size
    angles = 2 * np.pi * turns
    return np.cos(angles).astype("float32"), np.sin(angles).astype("float32")


@dataclasses.dataclass(frozen=True)
class Annulus:
    """Frequencies of a radius from `low` to below `high`, in parts of pi.

    Attributes:
        low, high: The radii; the last one of all has `high` itself too.
        mask: Where these frequencies are, as `numpy.fft.fft2` orders them, float64 of
            shape `(height, width)`.
    """

    low: float
    high: float
    mask: np.ndarray


def annuli(image_size: Sequence[int], width: float = 0.1) -> list[Annulus]:
    """Returns the annuli up to pi that hold a frequency of images.

    Args:
        image_size: Height and width of the images.
        width: Width of an annulus, as a part of pi.

    Example:

    >>> [round(ring.low, 1) for ring in annuli((8, 8), 0.2)]
    [0.0, 0.2, 0.4, 0.6, 0.8]
    """
    axes = [2 * np.fft.fftfreq(size) for size in image_size]
    radius = np.hypot(*np.meshgrid(*axes, indexing="ij"))
    count = math.ceil(round(1 / width, 9))
    # Sums of fractions miss whole numbers by their last digits.
    number = np.floor(np.round(radius / width, 9))
    number = np.where(np.isclose(radius, 1), count - 1, number)
    number = np.where(radius > 1 + 1e-9, count, number)
    found = []
    for index in range(count):
        mask = (number == index).astype(float)
        if mask.any():
            high = min((index + 1) * width, 1.0)
            found.append(Annulus(round(index * width, 9), round(high, 9), mask))
    return found


def confined(white: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns noise whose spectrum is confined to a mask.

    Args:
        white: White noise of variance 1, of shape `(batch, height, width, channels)`.
        mask: As `Annulus` has it.

    Returns:
        float32 array of that shape, of variance 1.
    """
    spectrum = np.fft.fft2(white, axes=(1, 2)) * mask[..., None]
    noise = np.fft.ifft2(spectrum, axes=(1, 2)).real
    return (noise / np.sqrt(mask.mean())).astype("float32")


def _of_maps(points, curves, frequencies):
    """Returns rows and arrays of spectra."""
    rows, arrays = [], {}
    for point, whole, places in zip(points, curves, frequencies, strict=True):
        base.check_finite(whole, f"The spectrum of '{point.layer}'")
        curve = whole - whole[0]
        arrays[f"frequency/{point.layer}"] = places
        arrays[f"log_amplitude/{point.layer}"] = curve
        if len(curve) > 1:
            facts = {"frequency": float(places[-1]), "value": float(curve[-1])}
            rows.append({"metric": "log_amplitude", **point.facts, **facts})
    return rows, arrays


def plot_fourier(findings: Mapping[str, Finding]) -> dict:
    """Draws spectra of blocks, and accuracies against the frequency of noise.

    Args:
        findings: What `fourier` found, by the name of the model.

    Returns:
        Figures by their titles.
    """
    return {
        "Log amplitude along the diagonal, relative to the mean": _spectra(findings),
        "Log amplitude of the highest frequency, relative to the mean": charts.by_depth(
            findings, "log_amplitude", "Relative log amplitude"
        ),
        "Accuracy under noise of one annulus of frequencies": _under_noise(findings),
    }


def _spectra(findings):
    figure, axes = charts.panels(list(findings))
    for axis, finding in zip(axes, findings.values(), strict=True):
        layers = [r["layer"] for r in finding.rows if r["metric"] == "log_amplitude"]
        colors = charts.colored(len(layers))
        for number, layer in enumerate(layers):
            axis.plot(
                finding.arrays[f"frequency/{layer}"],
                finding.arrays[f"log_amplitude/{layer}"],
                color=colors[number],
                linewidth=1.3,
                label=charts.short(layer) if number in (0, len(layers) - 1) else None,
            )
        axis.set_xlabel("Frequency (parts of π), lighter: earlier blocks")
        axis.set_ylabel("Relative log amplitude")
        axis.legend(frameon=False, fontsize=8)
        figures.tidy(axis)
    return figure


def _under_noise(findings):
    figure, axis = figures.new_figure(list(findings), is_wide=True)
    for index, (name, finding) in enumerate(findings.items()):
        arrays = finding.arrays
        middles = (arrays["low"] + arrays["high"]) / 2
        look = figures.style(index)
        axis.plot(middles, 100 * arrays["accuracy"], label=name, **look)
        (clean,) = finding.values("accuracy", noise=0.0)
        axis.axhline(100 * clean, color=look["color"], linewidth=0.8, alpha=0.6)
    axis.set_xlabel("Frequency of the noise (parts of π); lines: without noise")
    axis.set_ylabel("Accuracy (%)")
    figures.tidy(axis)
    figures.legend(figure, axis)
    return figure
