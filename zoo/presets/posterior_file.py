"""What posteriors have learned, in a safetensors file beside the weights.

It is keyed by the names of `Posterior.values`, and says of which weights it is: with
others it means nothing. Where a posterior is of several networks, the weights of the
others lie beside it.
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
from zoo.storage import download, files, remote, urls


def file_name(name: str, member: int | None = None) -> str:
    """Returns how the file of a posterior is called in a published folder.

    Args:
        name: A key of `zoo.posterior.POSTERIORS`.
        member: Number of a further network, for its weights; the first has 2.
    """
    end = "" if member is None else f"_member{member}"
    return f"{name}{end}.safetensors"


def save(
    posterior: Posterior,
    folder: str | os.PathLike,
    name: str,
    sha256: str,
    metadata: Mapping[str, object],
    members: Iterable[keras.Model] = (),
    dtype: str | None = None,
) -> dict[str, object]:
    """Writes what a posterior has learned into a folder, or nothing.

    Args:
        posterior: An adapted posterior.
        folder: Folder of the weights.
        name: A key of `zoo.posterior.POSTERIORS`.
        sha256: SHA-256 of the weights file.
        metadata: The `settings` of its constructor, the `dataset` and the number of
            `images`.
        members: The further networks, of the same architecture.
        dtype: Type of their weights; see `zoo.presets.weight_file.save_weights`.

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
    own, beside = _facts(path), []
    for number, member in enumerate(members, 2):
        path_of_member = path.with_name(file_name(name, number))
        weight_file.save_weights(member, path_of_member, dtype=dtype)
        beside.append({"file": path_of_member.name, **_facts(path_of_member)})
    if beside:
        own["members"] = beside
    single = {key: float(value) for key, value in arrays.items() if not value.ndim}
    return {"file": path.name, **own, **metadata, "values": single}


def _facts(path):
    return {"sha256": files.sha256(path), "size": path.stat().st_size}


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
            Another one must change nothing of what was learned.
        path: Path of the weights; unless they are published behind a URL, snapshots of
            the training may lie beside them.

    Raises:
        FileNotFoundError: If it is made of snapshots, and there are none.
        ValueError: If it would have learned something else with these settings, or has
            with other weights.
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
            # Of a training behind a URL they lie in its copy.
            is_url = where is None or urls.is_url(where)
            beside = None if is_url and remote.find(path) is None else path
            posterior.collect(snapshots.models(model, beside))
        return posterior
    adapted = published["settings"]
    if odd := _learned_otherwise(kind, adapted, settings):
        free = kind.of_prediction(adapted)
        raise ValueError(
            f"The published '{spec.of_model}@{spec.posterior}' was adapted with "
            f"{_listed(adapted) or 'the settings by default'}, and would have learned "
            f"something else with others of {', '.join(odd)}; leave these out"
            + (f" ({' and '.join(free)} may be others)" if free else "")
            + f", or make your own of '{spec.of_model}' and adapt it. Received: "
            f"{_listed(odd)}"
        )
    options = {**adapted, **settings}
    paths = locate_members(preset, spec.posterior, where)
    models = [model, *(_with_weights(model, path) for path in paths)]
    posterior = kind.from_models(models, name=name, **options)
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


def serves(entry: Mapping, name: str, pairs: Iterable[tuple[str, str]]) -> bool:
    """Returns whether a published posterior has learned what one with settings needs.

    Args:
        entry: The entry of `zoo.presets.Preset.posteriors`.
        name: Its key.
        pairs: Names and values of settings, as in a name; none agree with any.
    """
    kind = POSTERIORS[name]
    return not _learned_otherwise(kind, entry["settings"], kind.parse_settings(pairs))


def _learned_otherwise(kind, adapted, settings):
    """Returns those settings that differ, and change what is learned."""
    free = kind.of_prediction(adapted)
    return {
        key: value
        for key, value in settings.items()
        if key not in free and not _has(kind, adapted, key, value)
    }


def _with_weights(model, path):
    """Returns a copy of a model with the weights of a file."""
    config = keras.saving.serialize_keras_object(model)
    copied = keras.saving.deserialize_keras_object(config)
    weight_file.load_weights(copied, path)
    return copied


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
    return _locate(preset, name, preset.posteriors[name], where)


def locate_members(
    preset: Preset, name: str, where: str | os.PathLike | None = None
) -> list[pathlib.Path]:
    """Returns the paths of the weights of the further networks; see `locate`."""
    entries = preset.posteriors[name].get("members", ())
    return [_locate(preset, name, entry, where) for entry in entries]


def _locate(preset, name, entry, where):
    path = download.locate(_as_preset(preset, name, entry), index.folders(where))
    files.check(path, entry["sha256"])
    return path


def _as_preset(preset, name, entry) -> Preset:
    """Returns a file of a posterior as if it were weights, to find it."""
    url = preset.url and urls.join(preset.url.rpartition("/")[0], entry["file"])
    return dataclasses.replace(
        preset,
        name=f"{preset.name}@{name}",
        file=entry["file"] if preset.file else None,  # They lie together.
        url=url,
        sha256=entry["sha256"],
        size=entry["size"],
    )
