"""From a name, a folder or a URL to weights: their preset, and where their file is."""

import dataclasses
import os
import pathlib
import warnings

from zoo.convert import first_use
from zoo.presets import index, weight_file
from zoo.presets.preset import Preset
from zoo.presets.provenance import CONVERTED, warn_unlike
from zoo.publishing import training_record
from zoo.registry import ModelSpec, default_normalization, parse, split_posterior
from zoo.storage import urls


@dataclasses.dataclass(frozen=True)
class Found:
    """Weights that a name means.

    Attributes:
        spec: What the name means, with the tag of published weights.
        preset: What is known of the weights.
        path: Their file.
        folder: The published folder that has them, a path or a URL; None if it was not
            given.
    """

    spec: ModelSpec
    preset: Preset
    path: pathlib.Path
    folder: str | os.PathLike | None = None


def find(
    name: str,
    weights: str | os.PathLike | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
) -> Found:
    """Finds the weights that a name means, which it may have to download.

    Args:
        name: Name of a model or posterior, or URL of a published folder.
        weights: File, folder or URL of weights in place of published ones.
        input_shape: Shape of the images, `(height, width, channels)`, for a file that
            does not say. `zoo.load` explains all of these, and the errors.
    """
    if isinstance(name, str) and urls.is_url(name):
        url, posterior = split_posterior(name)
        weights = weights or url
        name = index.read_published(weights).name
        name = f"{name}@{posterior}" if posterior else name
    spec = parse(name)
    if weights is not None:
        return _open(spec, weights, input_shape)
    preset = index.find(spec)
    spec = dataclasses.replace(spec, tag=preset.tag)
    path = _locate(preset, spec)
    if preset.stem != spec.stem:
        warn_unlike(str(spec), preset.stem, preset.name)
    return Found(spec, preset, path)


def locate(preset: Preset, folder: str | os.PathLike | None = None) -> pathlib.Path:
    """Returns the path of a preset's weights, which it may have to download.

    Weights of other libraries are converted on their first use.

    Args:
        preset: The preset.
        folder: The published folder, a path or a URL; by default one of
            `zoo.presets.index.folders()`. `zoo.presets.index.locate` has the errors.
    """
    if preset.source:
        return first_use.locate(preset)
    return index.locate(preset, folder)


def class_names(preset: Preset) -> tuple[str, ...]:
    """Returns the class names; numbers, as of converted weights, do not count."""
    numbers = tuple(str(number) for number in range(preset.num_classes))
    is_numbered = preset.recipe == CONVERTED and preset.classes == numbers
    return () if is_numbered else preset.classes


def _locate(preset, spec):
    try:
        return locate(preset)
    except ConnectionError as error:
        fitting = index.fitting(
            dataclasses.replace(spec, tag=None), index.read(results=False)
        )
        here = [other.name for other in fitting if index.is_here(other)]
        if not here:
            raise
        raise ConnectionError(f"{error} On this machine: {', '.join(here)}.") from error


def _open(spec, path, input_shape) -> Found:
    """Finds what a file or folder of the user holds."""
    is_url, folder = urls.is_url(path), None
    path = path if is_url else pathlib.Path(path)
    if is_url or (path / index.PRESET_FILE).is_file():
        preset, folder = index.read_published(path), path
        path = locate(preset, path)
    else:
        path = path / index.WEIGHTS_FILE if path.is_dir() else path
        preset = _read_preset(str(spec.of_model), path, input_shape)
    if preset.stem != spec.stem:
        warnings.warn(
            f"'{path}' holds weights of '{preset.name}'. They load into "
            f"'{spec.of_model}' by the names of the layers, but were not trained in "
            "it: train or evaluate it before you rely on it.",
            stacklevel=4,
        )
    return Found(spec, preset, path, folder)


def _read_preset(name, path, input_shape) -> Preset:
    facts, shapes = weight_file.read_metadata(path), weight_file.read_shapes(path)
    input_shape = facts.get("input_shape", input_shape)
    if input_shape is None:
        raise ValueError(
            f"The weights file '{path}' does not say for which images its weights are; "
            "give `input_shape`. Received: input_shape=None"
        )
    mean, variance = default_normalization(input_shape[-1])
    return Preset(
        name=facts.get("name", name),
        sha256="",
        size=path.stat().st_size,
        input_shape=tuple(input_shape),
        num_classes=shapes.get("head/kernel", (1000,))[-1],
        mean=tuple(facts.get("mean", mean)),
        variance=tuple(facts.get("variance", variance)),
        layers=facts.get("layers", {}),
        classes=tuple(facts.get("classes") or training_record.classes_beside(path)),
    )
