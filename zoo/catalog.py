"""What there is by name: a list of the models, and each of them in words."""

import fnmatch
import math
import numbers

import keras

from layers import keras_internals
from zoo import finding
from zoo.compressed import compressed
from zoo.models.methods import METHODS
from zoo.presets import Preset, index
from zoo.presets.model_config import layer_settings
from zoo.presets.provenance import seen_images
from zoo.publishing import results
from zoo.registry import ARCHITECTURES, ModelSpec, build, parse


def describe(
    name: str,
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    num_classes: int = 1000,
) -> str:
    """Returns a text about a model: its size, the layers of its methods, its weights.

    Args:
        name: Name of a model, with or without weights.
        input_shape: `(height, width, channels)`; those of the weights if there are any.
        num_classes: The number of logits; that of the weights if there are any.

    Raises:
        ValueError: If a word of the name, or its tag, is unknown.

    Example:

    >>> print(describe("resnet32_mcdo", (32, 32, 3), 10).splitlines()[2])
      parameters  464,154
    """
    spec, preset = parse(name), None
    if spec.tag or spec.stem in {own.stem for own in _pretrained()}:
        preset = index.with_results(finding.choose(spec))
        spec = ModelSpec(spec.architecture, spec.methods, preset.tag)
        input_shape, num_classes = preset.input_shape, preset.num_classes
    model = outline(spec, input_shape, num_classes)
    if preset is not None:
        with keras_internals.without_values():
            model = compressed(model, preset.compression)
    lines = {"images": _images(model), "parameters": f"{count_parameters(model):,}"}
    lines |= _methods(model)
    lines |= _weights(preset) if preset else {"weights": "none; build it and train it"}
    width = max(map(len, lines))
    text = [f"  {key:{width}}  {value}" for key, value in lines.items() if value]
    return "\n".join([str(spec), *text, *(_results(preset) if preset else [])])


def outline(
    name: str | ModelSpec,
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    num_classes: int = 1000,
) -> keras.Model:
    """Builds a model whose weights have shapes and no values; see `zoo.build`."""
    with keras_internals.without_values():
        return build(name, input_shape, num_classes)


def count_parameters(model: keras.Model) -> int:
    """Returns the number of trained parameters: without moving statistics."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def _images(model) -> str:
    shape = " x ".join("any" if n is None else str(n) for n in model.input_shape[1:])
    return f"{shape} in [0, 255], to {model.output_shape[-1]} logits"


def _methods(model) -> dict[str, str]:
    kinds = [type(layer).__name__ for layer in model.layers]
    return {
        kind: f"{kinds.count(kind)} layers, "
        + ", ".join(f"{key}={value}" for key, value in settings.items())
        for kind, settings in layer_settings(model).items()
    }


def _weights(preset) -> dict[str, str]:
    file = preset.file or ""
    trained = f", {preset.epochs} epochs, seed {preset.seed}"
    package, *others = index.folders()
    found = [f for f in (package, *others) if preset.file and (f / file).is_file()]
    where = f"in {found[0]}" if found else preset.url or "in no known folder"
    where = "in the package" if package in found else where
    if preset.withdrawn and not found:
        where = f"withdrawn after commit {preset.withdrawn[:10]}"
    if preset.source:
        where = f"converted on first use, {where}"
    size = f"{preset.size / 1e6:.2f} MB, " if preset.size else ""
    return {
        "weights": f"{size}{where}, sha256 {preset.sha256 or 'as announced there'}",
        "compression": ", ".join(f"{k} {v}" for k, v in preset.compression.items()),
        "license": preset.license,
        "classes": ", ".join(preset.classes),
        "data": f"{preset.data} ({preset.data_license})",
        "training": seen_images(preset.seen) if preset.seen else "",
        "recipe": f"{preset.recipe}{'' if preset.epochs is None else trained}",
        "command": preset.command,
        "commit": preset.commit,
        **{f"@{key}": _learned(entry) for key, entry in preset.posteriors.items()},
    }


def _learned(entry) -> str:
    learned = {**entry["values"], **entry["settings"]}
    values = [
        f"{key} {value:.4g}" if isinstance(value, numbers.Number) else f"{key} {value}"
        for key, value in learned.items()
    ]
    return ", ".join([*values, f"of {entry['images']:,} images of {entry['dataset']}"])


def _results(preset) -> list[str]:
    if not preset.results:
        return []
    rows = results.table([*preset.results, *preset.others])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = [
        [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        for row in rows
    ]
    return ["  results", *("    " + "  ".join(row) for row in cells)]


# What `list_models` offers of each architecture besides single methods; any other
# combination can be built too.
COMBINATIONS = ("smooth_mcdo", "smooth_flipout", "blurpool_mcdo")


def list_models(pattern: str = "*", pretrained: bool = False) -> list[str]:
    """Returns the names of models.

    Args:
        pattern: With `*`, `?` and `[...]`, as of files.
        pretrained: Whether to list those with weights, with their tags; withdrawn ones
            where their file is here. Else it is each architecture alone, with each
            single method, and with each of `zoo.catalog.COMBINATIONS`; any other
            combination can be built too.

    Example:

    >>> list_models("resnet18_smooth*")
    ['resnet18_smooth', 'resnet18_smooth_flipout', 'resnet18_smooth_mcdo']
    """
    names = [own.name for own in _pretrained()] if pretrained else _buildable()
    return sorted(fnmatch.filter(names, pattern))


def _pretrained() -> list[Preset]:
    presets = index.read(results=False).values()
    return [preset for preset in presets if finding.is_offered(preset)]


def _buildable() -> list[str]:
    endings = ("", *(f"_{methods}" for methods in (*METHODS, *COMBINATIONS)))
    return [f"{name}{ending}" for name in ARCHITECTURES for ending in endings]
