"""What there is by name: pretrained models, a list, a description."""

import fnmatch
import os
import pathlib
import warnings

import keras

from zoo import presets, records, remote
from zoo import weights as weight_files
from zoo.blocks import is_small
from zoo.facts import check_layers
from zoo.methods import METHODS
from zoo.origin import CONVERTED, warn_unlike
from zoo.registry import ARCHITECTURES, build, default_normalization, parse

# What `list_models` offers of each architecture besides single methods; any other
# combination can be built too.
COMBINATIONS = ("smooth_mcdo", "smooth_flipout", "blurpool_mcdo")


def load(
    name: str,
    input_shape: tuple[int | None, int | None, int] | None = None,
    num_classes: int | None = None,
    weights: str | os.PathLike | None = None,
) -> keras.Model:
    """Loads a pretrained model.

    Args:
        name: `architecture[_method...][.tag]`; without a tag, the first weights
            in `presets.json` for that name or, converted from another library, for
            its architecture, with a warning that they were trained without the
            methods; offline, the first that are here. Or the URL of a published
            folder: `hf://owner/name`, `gs://bucket/folder` or `https://...`.
        input_shape: `(height, width, channels)`, by default that of the training. The
            channels must be the same, and so must be the kind of the stem.
        num_classes: The number of logits. Another than in the training puts a new head
            on the pretrained body.
        weights: A safetensors file, or a folder that `zoo-train` or `zoo-publish`
            wrote, in place of published weights; a published one may be a URL.

    Returns:
        A functional model from images in `[0, 255]` to logits. It is called by its full
        name, or without the tag if its head is new; if not, it has the names of its
        `classes`.

    Raises:
        ValueError: If there are no weights for that name, or they do not fit.
        FileNotFoundError: If the weights file is not there.
        ConnectionError: If it cannot be downloaded.
    """
    if isinstance(name, str) and remote.is_url(name):
        weights = weights or name
        name = presets.read_published(weights).name
    spec = parse(name)
    if weights is None:
        preset = presets.find(spec.stem, spec.tag)
        path, full_name = _locate(preset, spec), f"{spec.stem}.{preset.tag}"
        if preset.stem != spec.stem:
            warn_unlike(full_name, preset.stem, preset.name)
    else:
        preset, path = _open(str(spec), weights, input_shape)
        full_name = str(spec)
    shape = tuple(preset.input_shape if input_shape is None else input_shape)
    if shape[-1] != preset.input_shape[-1]:
        raise ValueError(
            f"'{preset.name}' was trained on images with {preset.input_shape[-1]} "
            f"channel(s). Received: input_shape={shape}"
        )
    new_head = num_classes not in (None, preset.num_classes)
    model = build(
        spec.stem if new_head else full_name,
        shape,
        num_classes if new_head else preset.num_classes,
        (preset.mean, preset.variance),
        () if new_head else class_names(preset),
    )
    if spec.stem == preset.stem:
        check_layers(model, preset.layers, preset.name)
    _load_into(model, path, preset, ("head",) if new_head else ())
    return model


def _locate(preset, spec):
    try:
        return presets.locate(preset)
    except ConnectionError as error:
        fitting = presets.fitting(spec.stem, None, presets.read())
        here = [other.name for other in fitting if presets.is_here(other)]
        if not here:
            raise
        raise ConnectionError(f"{error} On this machine: {', '.join(here)}.") from error


def _open(name, path, input_shape):
    """Returns what a file or folder of the user holds, and the path of its weights."""
    is_url = remote.is_url(path)
    path = path if is_url else pathlib.Path(path)
    if is_url or (path / presets.PRESET_FILE).is_file():
        preset = presets.read_published(path)
        path = presets.locate(preset, path)
    else:
        path = path / presets.WEIGHTS_FILE if path.is_dir() else path
        preset = _read_preset(name, path, input_shape)
    if preset.stem != parse(name).stem:
        warnings.warn(
            f"'{path}' holds weights of '{preset.name}'. They load into '{name}' by "
            "the names of the layers, but were not trained in it: train or evaluate it "
            "before you rely on it.",
            stacklevel=3,
        )
    return preset, path


def _read_preset(name, path, input_shape) -> presets.Preset:
    facts, shapes = weight_files.read_metadata(path), weight_files.read_shapes(path)
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
        classes=tuple(facts.get("classes") or records.classes_beside(path)),
    )


def class_names(preset: presets.Preset) -> tuple[str, ...]:
    """Returns the names of classes; the numbers of converted weights are none."""
    numbers = tuple(str(number) for number in range(preset.num_classes))
    is_numbered = preset.recipe == CONVERTED and preset.classes == numbers
    return () if is_numbered else preset.classes


def _load_into(model, path, preset, skip):
    try:
        # Converted weights were checked when they were located.
        sha256 = None if preset.source else preset.sha256 or None
        weight_files.load_weights(model, path, sha256, skip)
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


def list_models(pattern: str = "*", pretrained: bool = False) -> list[str]:
    """Returns the names of models.

    Args:
        pattern: With `*`, `?` and `[...]`, as of files.
        pretrained: Whether to list those with weights, with their tags. Else it is each
            architecture alone, with each single method, and with each of
            `zoo.catalog.COMBINATIONS`; any other combination can be built too.

    Example:

    >>> list_models("resnet18_smooth*")
    ['resnet18_smooth', 'resnet18_smooth_flipout', 'resnet18_smooth_mcdo']
    """
    names = list(presets.read()) if pretrained else _buildable()
    return sorted(fnmatch.filter(names, pattern))


def _buildable() -> list[str]:
    endings = ("", *(f"_{methods}" for methods in (*METHODS, *COMBINATIONS)))
    return [f"{name}{ending}" for name in ARCHITECTURES for ending in endings]
