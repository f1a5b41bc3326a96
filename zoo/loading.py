"""Pretrained models and posteriors by name, from the package, a folder or a URL."""

import dataclasses
import os
import pathlib
import warnings

import keras

from zoo import presets
from zoo.convert import first_use
from zoo.models.blocks import is_small
from zoo.posterior import Posterior
from zoo.presets import index, posterior_file, weight_file
from zoo.presets.model_config import check_layers
from zoo.presets.provenance import CONVERTED, warn_unlike
from zoo.publishing import training_record
from zoo.registry import (
    ModelSpec,
    build,
    default_normalization,
    parse,
    split_posterior,
)
from zoo.storage import urls


def load(
    name: str,
    input_shape: tuple[int | None, int | None, int] | None = None,
    num_classes: int | None = None,
    weights: str | os.PathLike | None = None,
    **settings,
) -> keras.Model | Posterior:
    """Loads a pretrained model, or a posterior of it.

    Args:
        name: `architecture[_method...][.tag][@posterior]`; without a tag, the first
            weights in `presets.json` for that name or, converted from another library,
            for its architecture, with a warning that they were trained without the
            methods; offline, the first that are here. Or the URL of a published
            folder: `hf://owner/name`, `gs://bucket/folder` or `https://...`, with the
            posterior behind it. Posteriors are those of `zoo.posterior.POSTERIORS`.
        input_shape: `(height, width, channels)`, by default that of the training. The
            channels must be the same, and so must be the kind of the stem.
        num_classes: The number of logits. Another than in the training puts a new head
            on the pretrained body.
        weights: A safetensors file, or a folder that `zoo-train` or `zoo-publish`
            wrote, in place of published weights; a published one may be a URL.
        **settings: Arguments of the posterior, such as `num_samples`, the forward
            passes of a model that draws.

    Returns:
        A functional model from images in `[0, 255]` to logits. It is called by its full
        name, or without the tag if its head is new; if not, it has the names of its
        `classes`. With a posterior in its name, a `zoo.posterior.Posterior`: where what
        it has learned is published with the weights it knows that, else call its
        `adapt`.

    Raises:
        ValueError: If there are no weights for that name, or they do not fit.
        FileNotFoundError: If the weights file is not there.
        ConnectionError: If it cannot be downloaded.
    """
    spec, preset, path, where = _find(name, weights, input_shape)
    if settings and not spec.posterior:
        raise ValueError(
            "These are settings of a posterior, and the name has none, such as "
            f"'{spec}@mc'. Received: name={name}, "
            f"{', '.join(f'{key}={value}' for key, value in settings.items())}"
        )
    shape = tuple(preset.input_shape if input_shape is None else input_shape)
    if shape[-1] != preset.input_shape[-1]:
        raise ValueError(
            f"'{preset.name}' was trained on images with {preset.input_shape[-1]} "
            f"channel(s). Received: input_shape={shape}"
        )
    new_head = num_classes not in (None, preset.num_classes)
    model = build(
        dataclasses.replace(spec.of_model, tag=None) if new_head else spec.of_model,
        shape,
        num_classes if new_head else preset.num_classes,
        (preset.mean, preset.variance),
        () if new_head else class_names(preset),
    )
    if spec.stem == preset.stem:
        check_layers(model, preset.layers, preset.name)
    _load_into(model, path, preset, ("head",) if new_head else ())
    if spec.posterior is None:
        return model
    published = None if new_head else preset.posteriors.get(spec.posterior)
    return posterior_file.restore(model, spec, preset, published, where, settings)


def find(
    name: str, weights: str | os.PathLike | None = None
) -> tuple[ModelSpec, presets.Preset]:
    """Returns what a name means, with its tag, and the preset of its weights.

    Args:
        name: As `load` takes it.
        weights: As `load` takes it.
    """
    return _find(name, weights, None)[:2]


def _find(name, weights, input_shape):
    """Returns what a name means, its preset, the path of the weights, their folder."""
    if isinstance(name, str) and urls.is_url(name):
        url, posterior = split_posterior(name)
        weights = weights or url
        name = index.read_published(weights).name
        name = f"{name}@{posterior}" if posterior else name
    spec = parse(name)
    if weights is not None:
        preset, path, where = _open(spec, weights, input_shape)
        return spec, preset, path, where
    preset = index.find(spec)
    spec = dataclasses.replace(spec, tag=preset.tag)
    path = _locate(preset, spec)
    if preset.stem != spec.stem:
        warn_unlike(str(spec), preset.stem, preset.name)
    return spec, preset, path, None


def locate(
    preset: presets.Preset, folder: str | os.PathLike | None = None
) -> pathlib.Path:
    """Returns the path of a preset's weights, which it may have to download.

    Weights of other libraries are converted on their first use.

    Args:
        preset: The preset.
        folder: See `zoo.presets.index.locate`, as for the errors.
    """
    if preset.source:
        return first_use.locate(preset)
    return index.locate(preset, folder)


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


def _open(spec, path, input_shape):
    """Returns what a file or folder of the user holds, its weights, and its place."""
    is_url, where = urls.is_url(path), None
    path = path if is_url else pathlib.Path(path)
    if is_url or (path / index.PRESET_FILE).is_file():
        preset, where = index.read_published(path), path
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
    return preset, path, where


def _read_preset(name, path, input_shape) -> presets.Preset:
    facts, shapes = weight_file.read_metadata(path), weight_file.read_shapes(path)
    input_shape = facts.get("input_shape", input_shape)
    if input_shape is None:
        raise ValueError(
            f"The weights file '{path}' does not say for which images its weights are; "
            "give `input_shape`. Received: input_shape=None"
        )
    mean, variance = default_normalization(input_shape[-1])
    return presets.Preset(
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


def class_names(preset: presets.Preset) -> tuple[str, ...]:
    """Returns the class names; numbers, as of converted weights, do not count."""
    numbers = tuple(str(number) for number in range(preset.num_classes))
    is_numbered = preset.recipe == CONVERTED and preset.classes == numbers
    return () if is_numbered else preset.classes


def _load_into(model, path, preset, skip):
    try:
        # Converted weights were checked when they were located.
        sha256 = None if preset.source else preset.sha256 or None
        weight_file.load_weights(model, path, sha256, skip)
    except ValueError as error:
        small = is_small(preset.input_shape)
        if is_small(model.input_shape[1:]) == small:
            raise
        sides = "all sides of 64 or more" if not small else "a side below 64"
        raise ValueError(
            f"'{preset.name}' was trained on images of shape {preset.input_shape}, "
            f"whose stem fits images with {sides} alone. Received: "
            f"input_shape={model.input_shape[1:]}. {error}"
        ) from error
