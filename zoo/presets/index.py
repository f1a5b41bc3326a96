"""Which weights exist: what `presets.json` lists, and where the files are.

What was measured of them lies in files of its own, `results/<name>.json`, so that who
looks for weights does not read it.
"""

import dataclasses
import difflib
import functools
import json
import os
import pathlib
import warnings
from collections.abc import Mapping

from zoo.presets.preset import Preset, as_text, from_json
from zoo.presets.preset import dumps as dumps
from zoo.registry import ModelSpec, parse
from zoo.storage import download, files, urls

FOLDER = pathlib.Path(__file__).parent
WEIGHTS_FILE = "model.safetensors"  # In a published folder and in that of a training,
PRESET_FILE = "preset.json"  # and the entry in a published one.


def read(
    folder: str | os.PathLike | None = None, results: bool = True
) -> dict[str, Preset]:
    """Returns the presets of `presets.json` by name, in its order.

    Args:
        folder: Where it lies, by default in this package; without that file there are
            none.
        results: Whether they have what was measured of them, too.

    Raises:
        ValueError: If a file is of another version of this package.
    """
    path = pathlib.Path(folder or FOLDER) / "presets.json"
    if not path.exists():
        return {}
    entries = json.loads(path.read_text(encoding="utf-8"))
    presets = {name: from_json(name, entry, path) for name, entry in entries.items()}
    if not results:
        return presets
    return {name: with_results(preset, folder) for name, preset in presets.items()}


def with_results(preset: Preset, folder: str | os.PathLike | None = None) -> Preset:
    """Returns a preset of `presets.json` with what was measured of it.

    Args:
        preset: The preset.
        folder: Where `presets.json` lies, by default in this package.
    """
    path = _results_file(preset, folder)
    if not path.exists():
        return preset
    rows = json.loads(path.read_text(encoding="utf-8"))
    return dataclasses.replace(preset, **{k: tuple(v) for k, v in rows.items()})


def _results_file(preset, folder):
    return pathlib.Path(folder or FOLDER) / "results" / f"{preset.name}.json"


def read_published(folder: str | os.PathLike) -> Preset:
    """Returns the preset of a published folder, which may be a URL.

    Raises:
        FileNotFoundError: If there is none.
        ConnectionError: If it cannot be read from there.
        ValueError: If it is not JSON, or of another version of this package.
    """
    if urls.is_url(folder):
        path = urls.join(folder, PRESET_FILE)
        text = download.read_text(path)
    else:
        path = pathlib.Path(folder) / PRESET_FILE
        text = path.read_text(encoding="utf-8")
    try:
        ((name, entry),) = json.loads(text).items()
    except (ValueError, AttributeError) as error:
        raise ValueError(f"'{path}' is not the preset of a model: {error}") from error
    return from_json(name, entry, path)


def add(*added: Preset, folder: str | os.PathLike | None = None):
    """Writes presets into `presets.json`, in the places of those of the same names.

    Args:
        *added: The presets, with their results.
        folder: Where it lies, by default in this package.
    """
    path = pathlib.Path(folder or FOLDER) / "presets.json"
    with files.locked(path.with_name(".presets.lock.tmp")):
        for preset in added:
            place = _results_file(preset, folder)
            place.parent.mkdir(exist_ok=True)
            rows = {"results": preset.results, "others": preset.others}
            if preset.of_posteriors:
                rows["of_posteriors"] = preset.of_posteriors
            with files.replacing(place) as temporary:
                temporary.write_text(as_text(rows), encoding="utf-8")
        presets = read(folder, results=False) | {
            preset.name: preset for preset in added
        }
        entries = {name: preset.to_json(False) for name, preset in presets.items()}
        with files.replacing(path) as temporary:
            temporary.write_text(as_text(entries), encoding="utf-8")


def find(name: str | ModelSpec) -> Preset:
    """Returns the preset of a name.

    Args:
        name: Name of a model, `architecture[_method...][.tag]`, or what `zoo.parse`
            makes of it.

    Returns:
        That of the same name, or else that of converted weights for the same
        architecture with the most of the methods and no other; without their results.
        Without a tag, the one of these that `presets.json` lists first and whose
        weights are here or may be downloaded; with a warning if that is not the first.
        Withdrawn weights are meant by their tag alone, or where their file is here.

    Raises:
        ValueError: If there are none; the message has the nearest names.
    """
    spec, known = parse(name), read(results=False)
    found = fitting(spec, known)
    if not found:
        raise _unknown(spec, known)
    first = found[0]
    if spec.tag is not None:
        return next((preset for preset in found if preset.stem == spec.stem), first)
    chosen = next((preset for preset in found if is_at_hand(preset)), first)
    if chosen is not first:
        warnings.warn(
            f"'{spec.of_model}' means the weights '{first.name}', which are not here "
            f"and may not be downloaded now, so these are '{chosen.name}'.",
            stacklevel=2,
        )
    return chosen


def fitting(spec: ModelSpec, known: Mapping[str, Preset]) -> list[Preset]:
    """Returns the presets of a name, and the best of the converted ones, in order."""
    converted, stem = _converted(spec, known.values()), spec.stem
    named = [
        preset
        for preset in known.values()
        if (preset.stem == stem and spec.tag in (None, preset.tag))
        or preset is converted
    ]
    return named if spec.tag else list(filter(is_offered, named))


def is_offered(preset: Preset) -> bool:
    """Returns whether weights may be had without their tag: they are not withdrawn."""
    return not preset.withdrawn or is_here(preset)


def is_at_hand(preset: Preset) -> bool:
    """Returns whether a preset's weights are here or may be downloaded."""
    return bool(preset.url and not download.is_offline()) or is_here(preset)


def is_here(preset: Preset) -> bool:
    """Returns whether a preset's weights are on this machine."""
    names = [f"{preset.name}.safetensors"] if preset.source else [preset.file]
    if preset.source and preset.sha256:  # It may lie there under its own name.
        names.append(preset.url.rpartition("/")[2])
    return any(
        (place / name).is_file() for place in folders() for name in names if name
    )


def _unknown(spec, known) -> ValueError:
    known = {name: preset for name, preset in known.items() if is_offered(preset)}
    own = [preset.name for preset in known.values() if preset.stem == spec.stem]
    if not known:
        near = "No weights are published yet."
    else:
        words = own or _nearest(spec.stem, spec.tag, known)
        near = f"The nearest that have some: {', '.join(words)}."
    return ValueError(
        f"There are no weights for '{spec.of_model}'. {near} "
        f"`zoo.build('{spec.stem}')` gives an untrained model."
    )


def _converted(spec, known) -> Preset | None:
    """Returns the weights of another library that fit a network with more methods."""
    found = {}
    for preset in known:
        methods = preset.stem.removeprefix(spec.architecture).split("_")
        is_alike = preset.source and preset.stem.startswith(spec.architecture)
        is_named = spec.tag in (None, preset.tag)
        if is_alike and is_named and {*methods} <= {"", *spec.methods}:
            found.setdefault(len(methods), preset)
    return found[max(found)] if found else None


def _nearest(stem, tag, known, count=4) -> list[str]:
    # One with the same methods is nearer than one with a similar architecture.
    methods = set(stem.split("_")[1:])

    def distance(name):
        other = name.partition(".")[0]
        near = difflib.SequenceMatcher(None, stem, other).ratio()
        return len(methods ^ set(other.split("_")[1:])), -near

    names = sorted(known, key=distance)
    tags = [name for name in names if tag and name.endswith(f".{tag}")]
    return [*tags, *(name for name in names if name not in tags)][:count]


def folders() -> list[pathlib.Path]:
    """Returns where the files of presets may lie, in the order of the search.

    These are `zoo/presets/pretrained`; `ZOO_WEIGHTS` if it is set; `weights` beside the
    package, in a checkout of the repository; and the cache.
    """
    own = os.environ.get("ZOO_WEIGHTS")
    return [
        FOLDER / "pretrained",
        *([pathlib.Path(own).expanduser()] if own else []),
        FOLDER.parents[1] / "weights",
        download.cache_folder(),
    ]


def locate(preset: Preset, folder: str | os.PathLike | None = None) -> pathlib.Path:
    """Returns the path of a preset's weights, which it may have to download.

    Args:
        preset: The preset; converted weights are those of `zoo.finding.locate`.
        folder: Where its file may lie, a path or a URL; by default in `folders()`.

    Raises:
        FileNotFoundError: If the file is not there and the preset has no url, or is
            withdrawn.
        ConnectionError: If it cannot be downloaded.
        ValueError: If what was downloaded is another file.
    """
    fetch = functools.partial(
        download.fetch_weights,
        name=preset.name,
        sha256=preset.sha256,
        size=preset.size,
    )
    if folder is not None and urls.is_url(folder):
        return fetch(urls.join(folder, preset.file or WEIGHTS_FILE))
    places = [pathlib.Path(folder)] if folder is not None else folders()
    for place in places if preset.file else ():
        if (place / preset.file).is_file():
            return place / preset.file
    if preset.withdrawn:
        raise download.withdrawn(preset.name, preset.file, preset.withdrawn)
    if preset.url is None:
        raise download.lost(preset.name, preset.file, preset.size, places)
    return fetch(preset.url)
