"""What posteriors have learned, in a safetensors file beside the weights.

It is keyed by the names of `Posterior.adapted_weights`, and says of which weights it
is: with others it means nothing.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping

import keras
from keras import ops

from zoo.posterior import POSTERIORS, Posterior
from zoo.posterior.base import layer_name
from zoo.presets import index, snapshots, weight_file
from zoo.presets.preset import Preset
from zoo.registry import ModelSpec
from zoo.storage import download, files, urls


def file_name(name: str) -> str:
    """Returns how the file of a posterior is called in a published folder."""
    return f"{name}.safetensors"


def save(
    posterior: Posterior,
    folder: str | os.PathLike,
    name: str,
    sha256: str,
    metadata: Mapping[str, object],
) -> dict[str, object]:
    """Writes what a posterior has learned into a folder, or nothing.

    Args:
        posterior: An adapted posterior.
        folder: Folder of the weights.
        name: A key of `zoo.posterior.POSTERIORS`.
        sha256: SHA-256 of the weights file.
        metadata: The `settings` of its constructor, the `dataset` and the number of
            `images`.

    Returns:
        The entry of `zoo.presets.Preset.posteriors`.

    Raises:
        ValueError: If it is not adapted, or a value is not finite.
    """
    if not posterior.is_adapted:
        raise ValueError(
            f"The posterior '{name}' has not learned anything yet: call its `adapt`."
        )
    path = pathlib.Path(folder) / file_name(name)
    arrays = {k: ops.convert_to_numpy(v) for k, v in posterior.values().items()}
    in_file = {"posterior": name, "weights": sha256, **metadata}
    weight_file.save_arrays(arrays, path, in_file, f"the posterior '{name}'")
    own = {"sha256": files.sha256(path), "size": path.stat().st_size}
    single = {key: float(value) for key, value in arrays.items() if not value.ndim}
    return {"file": path.name, **own, **metadata, "values": single}


def restore(
    model: keras.Model,
    spec: ModelSpec,
    preset: Preset,
    published: Mapping | None,
    where: str | os.PathLike | None,
    settings: Mapping[str, object],
    path: str | os.PathLike | None = None,
) -> Posterior:
    """Returns the posterior of a model, with what is published of it.

    Args:
        model: Model with its weights.
        spec: Parsed name of the posterior.
        preset: Preset of the weights.
        published: The entry of `preset.posteriors`, if there is one.
        where: The published folder, a path or a URL; by default as of the weights.
        settings: Arguments of the posterior; by default those that it was adapted with.
        path: Path of the weights, where snapshots of the training may lie.

    Raises:
        FileNotFoundError: If it is made of snapshots, and there are none.
        ValueError: If it was adapted with other settings, or other weights.
    """
    kind, name = POSTERIORS[spec.posterior], layer_name(str(spec))
    own = kind.parse_settings(spec.settings)
    if twice := {k: v for k, v in own.items() if settings.get(k, v) != v}:
        raise ValueError(
            f"The name '{spec}' says {_listed(twice)}, and the arguments something "
            "else. Received: "
            f"{_listed({key: settings[key] for key in twice})}"
        )
    settings = {**own, **settings}
    if published is None:
        posterior = kind.from_models([model], name=name, **settings)
        if kind.takes_snapshots:
            posterior.collect(snapshots.models(model, path))
        return posterior
    adapted = published["settings"]
    if odd := {k: v for k, v in settings.items() if not _has(kind, adapted, k, v)}:
        raise ValueError(
            f"The published '{spec}' was adapted with {_listed(adapted)}; leave that "
            f"out, or make your own of '{spec.of_model}' and adapt it. Received: "
            f"{_listed(odd)}"
        )
    options = {**adapted, **settings}
    posterior = kind.from_models([model], name=name, **options)
    path = locate(preset, spec.posterior, where)
    load(posterior, path, preset.sha256)
    return posterior


def agrees(entry: Mapping, name: str, pairs: Iterable[tuple[str, str]]) -> bool:
    """Returns whether a published posterior has some settings.

    Args:
        entry: The entry of `zoo.presets.Preset.posteriors`.
        name: Its key.
        pairs: Names and values of settings, as in a name; none agree with any.
    """
    kind, adapted = POSTERIORS[name], entry["settings"]
    settings = kind.parse_settings(pairs)
    return all(_has(kind, adapted, key, value) for key, value in settings.items())


def _has(kind, adapted, key, value):
    """Returns whether one of these settings has this value, maybe by default."""
    known = kind.known_settings()
    default = known[key].default if key in known else value
    return adapted.get(key, default) == value


def _listed(settings):
    return ", ".join(f"{key}={value}" for key, value in settings.items())


def load(posterior: Posterior, path: str | os.PathLike, sha256: str | None = None):
    """Gives a posterior what one of its kind has learned.

    Args:
        posterior: A posterior with the same settings.
        path: Path of the file.
        sha256: SHA-256 of the weights file of its model, if that is known.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or of other weights.
    """
    metadata = weight_file.read_metadata(path)
    if sha256 and metadata.get("weights") != sha256:
        raise ValueError(
            f"'{path}' was learned with other weights, those with sha256 "
            f"{metadata.get('weights')}; adapt the posterior anew. Received: weights "
            f"with sha256 {sha256}"
        )
    arrays = weight_file.read_arrays(path)
    wanted = {name: tuple(v.shape) for name, v in posterior.values().items()}
    found = {name: array.shape for name, array in arrays.items()}
    if wanted != found:
        raise ValueError(
            f"'{path}' does not fit the posterior '{posterior.name}', which needs "
            f"{wanted}. Received: {found}"
        )
    posterior.assign(arrays)


def locate(
    preset: Preset, name: str, where: str | os.PathLike | None = None
) -> pathlib.Path:
    """Returns the path of what a posterior has learned, which may be downloaded.

    Args:
        preset: Preset of the weights.
        name: A key of its `posteriors`.
        where: The published folder; by default one of
            `zoo.presets.index.folders()`. `zoo.storage.download.locate` has the errors.
    """
    path = download.locate(as_preset(preset, name), index.folders(where))
    files.check(path, preset.posteriors[name]["sha256"])
    return path


def as_preset(preset: Preset, name: str) -> Preset:
    """Returns the file of a posterior as if it were weights, to find or to copy it."""
    entry = preset.posteriors[name]
    url = preset.url and urls.join(preset.url.rpartition("/")[0], entry["file"])
    return dataclasses.replace(
        preset,
        name=f"{preset.name}@{name}",
        file=entry["file"] if preset.file else None,  # They lie together.
        url=url,
        sha256=entry["sha256"],
        size=entry["size"],
    )
