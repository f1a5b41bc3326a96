"""From a name, a file, a folder or a URL to weights: what is known of them, and where.

Whoever takes weights finds them here: `zoo.load` and the commands, by the same rules.
"""

import dataclasses
import difflib
import json
import os
import pathlib
import warnings

from zoo import model_name
from zoo.convert import first_use
from zoo.model_name import read_posterior
from zoo.presets import index, posterior_file, weight_file
from zoo.presets.preset import Preset
from zoo.presets.provenance import CONVERTED
from zoo.publishing import training_record
from zoo.registry import ModelSpec, join_seed, parse, split_posterior, split_seed
from zoo.storage import download, remote, urls

ENSEMBLE_FILE = "ensemble.json"  # In the folder of several trainings: their folders.


@dataclasses.dataclass(frozen=True)
class Found:
    """Weights.

    Attributes:
        spec: The model that they are to be in, with the tag of published weights; None
            if nobody named one.
        preset: What is known of them. Of a file that does not say it, the input shape
            and the normalization are empty.
        path: Their file.
        place: The file, the folder or the URL that was given; None if they are meant by
            a name.
    """

    spec: ModelSpec | None
    preset: Preset
    path: pathlib.Path
    place: str | os.PathLike | None = None

    @property
    def sha256(self) -> str | None:
        """SHA-256 that the file must have; None if that is not known, or was checked.

        Converted weights were checked when they were found.
        """
        return None if self.preset.source else self.preset.sha256 or None

    @property
    def trained_methods(self) -> tuple[str, ...] | None:
        """Methods of the network that was trained; None if it is of another family."""
        return self.methods_of(self.spec.architecture)

    def methods_of(self, architecture: str) -> tuple[str, ...] | None:
        """Returns the methods of the weights' network; None if it is of another."""
        return _methods(self.preset, architecture)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; numbers, as of converted weights, do not count."""
        preset = self.preset
        numbers = tuple(str(number) for number in range(preset.num_classes))
        is_numbered = preset.recipe == CONVERTED and preset.classes == numbers
        return () if is_numbered else preset.classes


def find(name: str | ModelSpec, weights: str | os.PathLike | None = None) -> Found:
    """Finds the weights of a model, which it may have to download.

    Args:
        name: Name of a model or posterior, or URL of a published folder.
        weights: File, folder or URL of weights in place of published ones. `zoo.load`
            explains both, and the errors.
    """
    if isinstance(name, str) and urls.is_url(name):
        url, behind = split_posterior(name)
        posterior, settings = read_posterior(behind or "")
        found = read(weights or url)
        spec = dataclasses.replace(
            parse(found.preset.name), posterior=posterior or None, settings=settings
        )
        return dataclasses.replace(found, spec=spec)
    spec = parse(name)
    if weights is not None:
        return dataclasses.replace(read(weights, str(spec.of_model)), spec=spec)
    preset = choose(spec)
    return _of_preset(spec, preset)


def members(name: str, weights: str | None = None) -> list[tuple[str, str | None]]:
    """Returns the models that a name means together, and the weights of each.

    Args:
        name: Name of a model, or several joined by `+`. `resnet20.cifar10*3` are the
            first three networks of the `ensemble` that is published as
            `resnet20.cifar10`, or else the weights of that name and those of the next
            two seeds.
        weights: A file, folder or URL, or several joined by `+`, in place of published
            ones. The folder of `zoo-train --members` means those of all its members.

    Returns:
        Pairs of a name, without `*`, and a place of weights or None.

    Raises:
        ValueError: If weights and names do not fit together, or there are not so many.
    """
    if {*"+*"} & {*name} and pathlib.Path(name).exists():  # A file.
        return [(name, weights or None)]
    if weights:
        found = places(weights)
        names = [model_name.split_number(one) for one in name.split("+")]
        counts = [count for _, count in names if count > 1]
        if len(names) == 1:
            names = [(names[0][0], 1)] * len(found)
        if len(names) != len(found) or counts not in ([], [len(found)]):
            raise ValueError(
                "An ensemble needs as many weights as models, or one model. Received: "
                f"model={name}, weights={weights}"
            )
        pairs = zip(names, found, strict=True)
        return [(own, place or None) for (own, _), place in pairs]
    return [pair for one in name.split("+") for pair in _numbered(one)]


def places(weights: str | os.PathLike) -> list[str]:
    """Returns the weights that are meant together; see `members`."""
    whole = os.fspath(weights)
    parts = [whole] if pathlib.Path(whole).exists() else whole.split("+")
    return [place for part in parts for place in _of_folder(part)]


def _of_folder(place):
    path = pathlib.Path(place) / ENSEMBLE_FILE
    if not place or urls.is_url(place) or not path.is_file():
        return [place]
    names = json.loads(path.read_text(encoding="utf-8"))["members"]
    return [str(pathlib.Path(place) / name) for name in names]


def _numbered(name):
    """Returns the pairs of one name, which may be that of several trainings."""
    name, count = model_name.split_number(name)
    if count == 1:
        return [(name, None)]
    spec, known = parse(name), index.read(results=False)
    if spec.tag is None:
        raise ValueError(
            "Several trainings are meant by their tag, as in 'resnet20.cifar10*3'. "
            f"Received: name={name}*{count}"
        )
    preset = known.get(name)
    if preset is not None and "ensemble" in preset.posteriors:
        paths = posterior_file.locate_members(preset, "ensemble")
        pairs = [(name, None), *((name, str(path)) for path in paths)]
        if len(pairs) >= count:
            return pairs[:count]
    stem, seed = split_seed(name)
    names = [join_seed(stem, seed + number) for number in range(count)]
    if missing := [own for own in names if own not in known]:
        here = [own for own in known if split_seed(own)[0] == stem]
        raise ValueError(
            f"There are no weights '{missing[0]}', and so no {count} trainings of "
            f"'{stem}'. Known: {', '.join(here) or 'none'}. Received: "
            f"name={name}*{count}"
        )
    return [(own, None) for own in names]


def find_any(weights: str) -> Found:
    """Finds weights that may be named in any way; the model is the one they are of.

    Args:
        weights: The name of a pretrained model, or a place; see `is_place`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there is no such name, or the file is damaged.
        ConnectionError: If the file cannot be downloaded.
    """
    if is_place(weights):
        return read(weights)
    try:
        spec = parse(weights)
        preset = choose(spec)
    except ValueError as error:
        raise ValueError(
            f"There is no file or folder '{weights}' to take weights from, and no "
            f"pretrained model of that name: {error}"
        ) from error
    return _of_preset(spec, preset)


def is_place(weights: str) -> bool:
    """Returns whether a text means a file, a folder or a URL, and not a model."""
    path = pathlib.Path(weights)
    is_path = path.suffix == ".safetensors" or len(path.parts) > 1
    return is_path or urls.is_url(weights) or path.exists()


def read(place: str | os.PathLike, name: str = "unknown") -> Found:
    """Returns the weights of a place, of which they say themselves what they are.

    Args:
        place: A safetensors file, a folder that `zoo-train`, `zoo-publish` or
            `zoo-convert` wrote, or the URL of a published one or of a training.
        name: Name of the model of a file that does not say it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged.
        ConnectionError: If it cannot be downloaded.
    """
    preset, path = resolve(place)
    if preset is not None:
        return Found(None, preset, locate(preset, place), place)
    path = path / index.WEIGHTS_FILE if path.is_dir() else path
    remote.fetch(path)
    metadata, shapes = weight_file.read_metadata(path), weight_file.read_shapes(path)
    preset = Preset(
        name=metadata.get("name", name),
        sha256="",
        size=path.stat().st_size,
        input_shape=tuple(metadata.get("input_shape") or ()),
        num_classes=metadata.get("num_classes")
        or shapes.get("head/kernel", (1000,))[-1],
        mean=tuple(metadata.get("mean") or ()),
        variance=tuple(metadata.get("variance") or ()),
        layers=metadata.get("layers", {}),
        compression=metadata.get("compression", {}),
        target=tuple(metadata["target"]) if metadata.get("target") else None,
        classes=tuple(metadata.get("classes") or training_record.classes_beside(path)),
    )
    return Found(None, preset, path, place)


def resolve(
    place: str | os.PathLike,
) -> tuple[Preset | None, pathlib.Path | None]:
    """Returns the preset of a published folder, or else the path of what is there.

    Args:
        place: As `read` takes it.

    Returns:
        The preset, and None; or None and a path. Of the folder of a training behind a
        URL that is a copy with its record, into which `zoo.storage.remote.fetch` reads
        the other files when they are needed.

    Raises:
        FileNotFoundError: If neither is behind a URL.
        ConnectionError: If it cannot be reached.
    """
    if not index.is_published(place):
        return None, pathlib.Path(place)
    try:
        return index.read_published(place), None
    except FileNotFoundError:
        if not urls.is_url(place) or not urls.takes_files(place):
            raise
        folder = remote.reading(place)
        remote.fetch(folder / training_record.FILE)
        if not (folder / training_record.FILE).is_file():
            raise
        return None, folder


def choose(spec: ModelSpec) -> Preset:
    """Returns the preset that the name of a model means.

    Args:
        spec: The name, parsed.

    Returns:
        That of the same name, or else that of converted weights for the same
        architecture with the most of the methods and no other; without their results.
        Without a tag, the one of these that `presets.json` lists first and whose
        weights are here or may be downloaded; with a warning if that is not the first.
        Withdrawn weights are meant by their tag alone, or where their file is here.

    Raises:
        ValueError: If there are none; the message has the nearest names.
    """
    known = list(index.read(results=False).values())
    found = _fitting(spec, known)
    if not found:
        raise _unknown(spec, known)
    first = found[0]
    if spec.tag is not None:
        return next((preset for preset in found if preset.stem == spec.stem), first)
    chosen = next((preset for preset in found if _is_at_hand(preset)), first)
    if chosen is not first:
        warnings.warn(
            f"'{spec.of_model}' means the weights '{first.name}', which are not here "
            f"and may not be downloaded now, so these are '{chosen.name}'.",
            stacklevel=2,
        )
    return chosen


def _fitting(spec, known) -> list[Preset]:
    """Returns the presets of a name, and the best of the converted ones, in order."""
    tagged = [preset for preset in known if spec.tag in (None, preset.tag)]
    converted = _converted(spec, tagged)
    named = [
        preset for preset in tagged if preset.stem == spec.stem or preset is converted
    ]
    return named if spec.tag else list(filter(is_offered, named))


def _converted(spec, known) -> Preset | None:
    """Returns the weights of another library that fit a network with more methods."""
    found = {}
    for preset in known:
        methods = _methods(preset, spec.architecture) if preset.source else None
        if methods is not None and {*methods} <= {*spec.methods}:
            found.setdefault(len(methods), preset)
    return found[max(found)] if found else None


def _methods(preset, architecture) -> tuple[str, ...] | None:
    """Returns the methods of a preset; None if it is of another architecture."""
    before, is_same, methods = f"{preset.stem}_".partition(f"{architecture}_")
    return tuple(methods.split("_")[:-1]) if is_same and not before else None


def is_offered(preset: Preset) -> bool:
    """Returns whether weights may be had without their tag: they are not withdrawn."""
    return not preset.withdrawn or _is_here(preset)


def _is_at_hand(preset: Preset) -> bool:
    """Returns whether a preset's weights are here or may be downloaded."""
    return bool(preset.url and not download.is_offline()) or _is_here(preset)


def _is_here(preset: Preset) -> bool:
    """Returns whether a preset's weights are on this machine."""
    names = [f"{preset.name}.safetensors"] if preset.source else [preset.file]
    if preset.source and preset.sha256:  # It may lie there under its own name.
        names.append(preset.url.rpartition("/")[2])
    return any(
        (place / name).is_file() for place in index.folders() for name in names if name
    )


def _unknown(spec, known) -> ValueError:
    known = [preset for preset in known if is_offered(preset)]
    own = [preset.name for preset in known if preset.stem == spec.stem]
    if not known:
        near = "No weights are published yet."
    else:
        near = f"The nearest that have some: {', '.join(own or _nearest(spec, known))}."
    return ValueError(
        f"There are no weights for '{spec.of_model}'. {near} "
        f"`zoo.build('{spec.stem}')` gives an untrained model."
    )


def _nearest(spec, known, count=4) -> list[str]:
    words = set(spec.stem.split("_")[1:])

    def distance(preset):
        # One with the same methods is nearer than one with a similar architecture.
        others = set(preset.stem.split("_")[1:])
        near = difflib.SequenceMatcher(None, spec.stem, preset.stem).ratio()
        return preset.tag != spec.tag, len(words ^ others), -near

    return [preset.name for preset in sorted(known, key=distance)][:count]


def _of_preset(spec, preset) -> Found:
    here = [] if _is_here(preset) else _names_here(spec)
    try:
        path = locate(preset)
    except ConnectionError as error:
        if not here:
            raise
        raise ConnectionError(f"{error} On this machine: {', '.join(here)}.") from error
    return Found(dataclasses.replace(spec, tag=preset.tag), preset, path)


def _names_here(spec) -> list[str]:
    """Returns the weights on this machine that a name could mean with any tag."""
    known = index.read(results=False).values()
    fitting = _fitting(dataclasses.replace(spec, tag=None), known)
    return [preset.name for preset in fitting if _is_here(preset)]


def locate(preset: Preset, folder: str | os.PathLike | None = None) -> pathlib.Path:
    """Returns the path of a preset's weights, which it may have to download.

    Weights of other libraries are converted on their first use.

    Args:
        preset: The preset.
        folder: The published folder, a path or a URL; by default one of
            `zoo.presets.index.folders()`.

    Raises:
        FileNotFoundError: If the file is not there and the preset has no url, or is
            withdrawn.
        ConnectionError: If it cannot be downloaded.
        ValueError: If what was downloaded is another file.
    """
    if preset.source:
        return first_use.locate(preset)
    return download.locate(preset, index.folders(folder))
