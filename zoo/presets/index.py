"""Which weights exist: what `presets.json` and published folders say of them.

What was measured of them lies in files of its own, `results/<name>.json`, so that who
looks for weights does not read it.
"""

import dataclasses
import json
import os
import pathlib

from zoo.presets.preset import Preset, as_text, from_json
from zoo.presets.preset import dumps as dumps
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


def is_published(place: str | os.PathLike) -> bool:
    """Returns whether a place is a published folder, as one behind a URL has to be."""
    return urls.is_url(place) or (pathlib.Path(place) / PRESET_FILE).is_file()


def read_published(folder: str | os.PathLike) -> Preset:
    """Returns the preset of a published folder, which may be a URL.

    Behind a URL it has the `url` of its weights there and no `file`.

    Raises:
        FileNotFoundError: If there is none.
        ConnectionError: If it cannot be read from there.
        ValueError: If it is not JSON, or of another version of this package.
    """
    if urls.is_url(folder):
        path = urls.join(folder, PRESET_FILE)
        try:
            text = download.read_text(path)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{str(error).rstrip('.')}. Behind a URL lies a folder of zoo-publish, "
                "or of zoo-train where TensorFlow opens it, as gs://bucket/run; copy "
                "that of a training from elsewhere."
            ) from error
    else:
        path = pathlib.Path(folder) / PRESET_FILE
        text = path.read_text(encoding="utf-8")
    try:
        ((name, entry),) = json.loads(text).items()
    except (ValueError, AttributeError) as error:
        raise ValueError(f"'{path}' is not the preset of a model: {error}") from error
    preset = from_json(name, entry, path)
    if not urls.is_url(folder):
        return preset
    url = urls.join(folder, preset.file or WEIGHTS_FILE)
    return dataclasses.replace(preset, file=None, url=url)


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


def folders(given: str | os.PathLike | None = None) -> list[pathlib.Path]:
    """Returns where the files of presets may lie, in the order of the search.

    These are `zoo/presets/pretrained`; `ZOO_WEIGHTS` if it is set; `weights` beside the
    package, in a checkout of the repository; and the cache.

    Args:
        given: A published folder in place of all of these.
    """
    if given is not None:
        return [pathlib.Path(given)]
    own = os.environ.get("ZOO_WEIGHTS")
    return [
        FOLDER / "pretrained",
        *([pathlib.Path(own).expanduser()] if own else []),
        FOLDER.parents[1] / "weights",
        download.cache_folder(),
    ]
