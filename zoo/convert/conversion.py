"""From weights of another library to a model of ours, and to a published folder."""

import dataclasses
import os
import re
from collections.abc import Callable

import keras

from zoo import presets
from zoo.convert.source import Source, read
from zoo.convert.state_dict import load_state, num_classes
from zoo.presets.provenance import CONVERTED, warn_unlike
from zoo.publishing import publish
from zoo.registry import build, parse


def load(
    source: str | os.PathLike,
    name: str,
    input_shape: tuple[int | None, int | None, int] | None = None,
) -> keras.Model:
    """Loads weights of torchvision or timm into a model.

    Args:
        source: The weights: a file, a folder or a name of timm or keras_hub, as in
            `zoo.convert.read`.
        name: `architecture[_method...][.tag]`; a VGG has the classifier of
            theirs with the method `mlp`.
        input_shape: `(height, width, channels)`, by default that of its training.

    Returns:
        A model like those of `zoo.load`: from images in `[0, 255]` to logits.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If a package is missing that reads it.
        ConnectionError: If it cannot be downloaded.
        ValueError: If the weights are not those of that architecture.
    """
    return convert(read(source), name, input_shape)


def convert(
    source: Source,
    name: str,
    input_shape: tuple[int | None, int | None, int] | None = None,
) -> keras.Model:
    """Like `load`, from weights that were read already."""
    spec = parse(name)
    classes = num_classes(source.state, source.name)
    trained = parse(source.network).methods if source.network else None
    model = build(
        dataclasses.replace(spec, tag=spec.tag or source.tag),
        input_shape or (*source.image_size, 3),
        classes,
        source.normalization,
    )
    load_state(model, source.state, source.name)
    warn_unlike(spec, trained, source.name)
    return model


def write(
    source: Source,
    model: keras.Model,
    folder: str | os.PathLike,
    command: str,
    commit: str,
    license: str | None = None,
    data: str = "imagenet-1k",
    data_license: str | None = None,
    export: Callable | None = None,
) -> presets.Preset:
    """Writes a converted model as `zoo.publishing.publish` writes a trained one.

    Args:
        source: What the weights were read from.
        model: From `convert`.
        folder: To write.
        command: That converts it.
        commit: Commit of this package.
        license: License of the weights; known for many tags of timm.
        data: Name of the data that they were trained on.
        data_license: Its license; known for ImageNet.
        export: Writes a SavedModel of a model to a path.

    Raises:
        ValueError: If a license is not known.
        FileExistsError: If there is something else in the folder.
    """
    license = license or source.license
    if license is None:
        raise ValueError(
            f"The license of the weights '{source.name}' is not known here; give "
            "`license`. Received: license=None"
        )
    classes = source.config.get("label_names") or range(model.output_shape[-1])
    # Paths of this machine are removed.
    command = re.sub(
        r"(--(?:source|output)[= ])\S*?([^/\s]+)/?(?=\s|$)", r"\1\2", command
    )
    settings = {
        "source": source.name,
        "sha256": source.sha256,
        "network": source.network,
    }
    settings = {key: value for key, value in settings.items() if value is not None}
    record = {
        "model": model.name,
        "dataset": data,
        "classes": [str(label) for label in classes],
        "recipe": CONVERTED,
        "settings": settings,
        "seed": None,
        "command": command,
        "commit": commit,
        "versions": {"keras": keras.__version__},
    }
    return publish.publish(
        model,
        folder,
        record,
        rows=(),
        license=license,
        data_license=data_license,
        export=export,
    )
