"""From a published folder into the package, or into the repository beside it."""

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Iterable, Mapping

from zoo import finding, loading, presets, registry
from zoo.presets import index, posterior_file, training_images
from zoo.publishing import results
from zoo.publishing.publish import check_published
from zoo.storage import files, urls

PACKAGED = 25_000_000  # Bytes of all weights in the package together,
ALL = 250_000_000  # and of those with the ones in the folder `weights`.


def package(
    folder: str | os.PathLike, target: str | os.PathLike | None = None
) -> presets.Preset:
    """Puts published weights into the package: a file and an entry of `presets.json`.

    The file goes into `pretrained` of the package while all of them are small enough,
    else into the folder `weights` beside it, which is in the repository and not in a
    wheel. Of weights behind a URL there is the entry alone, and `zoo.load` downloads
    them. Weights of the same name are replaced, and keep their place in the list.

    Args:
        folder: A folder that `publish` wrote, a path or a URL.
        target: By default the package's own folder `zoo/presets`.

    Returns:
        The new entry.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file was altered, the weights do not load, or all weights
            together are too large.
    """
    target = pathlib.Path(target or index.FOLDER)
    places = target / "pretrained", target.parents[1] / "weights"
    if not urls.is_url(folder):
        check_published(folder)
    preset = index.read_published(folder)
    file = f"{preset.name}.safetensors"
    if urls.is_url(folder):
        packaged, place = preset, None
    else:
        packaged = dataclasses.replace(preset, file=file)
        place = _place(packaged, places, target)
    loading.load(preset.name, weights=folder)
    copies = {file: finding.locate(preset, folder)} if place is not None else {}
    for key, entry in preset.posteriors.items() if place is not None else ():
        loading.load(f"{preset.name}@{key}", weights=folder)
        named = f"{preset.name}@{key}"
        own = posterior_file.file_name(named)
        copies[own] = posterior_file.locate(preset, key, folder)
        changed, members = {**entry, "file": own}, []
        paths = posterior_file.locate_members(preset, key, folder)
        for number, path in enumerate(paths, 2):
            of_member = posterior_file.file_name(named, number)
            copies[of_member] = path
            members.append({**entry["members"][number - 2], "file": of_member})
        if members:
            changed["members"] = members
        changed = {**packaged.posteriors, key: changed}
        packaged = dataclasses.replace(packaged, posteriors=changed)
    for name, path in copies.items():
        with files.replacing(place / name) as temporary:
            shutil.copyfile(path, temporary)
    if place is not None:
        _place_images(preset, pathlib.Path(folder), target)
    index.add(packaged, folder=target)
    for other in places:
        for path in (other / file, *other.glob(f"{preset.name}@*.safetensors")):
            if other != place or path.name not in copies:
                path.unlink(missing_ok=True)
    return packaged


def renew(
    rows: Iterable[Mapping],
    target: str | os.PathLike | None = None,
    metrics: results.CardMetrics = results.ALL_METRICS,
) -> list[str]:
    """Puts results of evaluations into the entries of packaged weights.

    Rows of a training take the place of what an entry had of it. Those of trainings
    with other seeds become the spread, beside the ones that it has already.

    Args:
        rows: Rows of `zoo-evaluate`, of any models under their full names.
        target: By default the package's own folder `zoo/presets`.
        metrics: Those that an entry keeps.

    Returns:
        The names of the entries that have new results.

    Raises:
        ValueError: If the rows have two values of one thing, or none is of an entry, or
            an entry has none of its own.
    """
    rows = list(rows)
    chosen = [_renewed(p, rows, metrics) for p in index.read(target).values()]
    chosen = [preset for preset in chosen if preset]
    if not chosen:
        models = sorted({row["model"] for row in rows})
        raise ValueError(
            "None of the results is of packaged weights; they are of "
            f"{', '.join(models) or 'nothing'}."
        )
    index.add(*chosen, folder=target)
    return [preset.name for preset in chosen]


def _renewed(preset, rows, metrics) -> presets.Preset | None:
    """Returns an entry with new results, or None if there are none for it."""
    shared, _ = registry.split_seed(preset.name)
    new = [
        row
        for row in rows
        if registry.split_seed(row["model"])[0] == shared
        or row["model"].startswith(f"{preset.name}@")
    ]
    if not new:
        return None
    old = [{"model": preset.name, **row} for row in preset.results]
    models = {row["model"] for row in new}
    old += [*preset.others, *preset.of_posteriors]
    kept = [row for row in old if row["model"] not in models]
    ordered = sorted(
        [*kept, *new], key=lambda row: registry.split_seed(row["model"])[1]
    )
    chosen = results.choose(ordered, preset.name, metrics, preset.posteriors)
    return dataclasses.replace(preset, **chosen)


def _place_images(preset, folder, target):
    """Copies what says which images the training saw, of several trainings once."""
    if sha256 := preset.seen.get("sha256"):
        place = training_images.place(target, sha256)
        place.parent.mkdir(exist_ok=True)
        with files.replacing(place) as temporary:
            shutil.copyfile(folder / training_images.FILE, temporary)


def _place(preset, places, target) -> pathlib.Path:
    """Returns the folder that has room for the weights."""
    small, large = places
    sizes = {place: 0 for place in places}
    for other in index.read(target).values():
        for place in places if other.file and other.name != preset.name else ():
            if (place / other.file).is_file():
                sizes[place] += other.size
                break
    if sizes[small] + preset.size <= PACKAGED:
        return small
    if sum(sizes.values()) + preset.size > ALL:
        raise ValueError(
            f"With '{preset.name}' the weights in the repository would have more than "
            f"{ALL / 1e6:.0f} MB; publish it to a URL and package that. Received: "
            f"{preset.size / 1e6:.0f} MB, beside {sum(sizes.values()) / 1e6:.0f} MB"
        )
    return large
