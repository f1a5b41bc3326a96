"""Which weights exist: `presets.json` and what its entries mean."""

import dataclasses
import difflib
import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence

from zoo import download, files, remote
from zoo.registry import parse

FOLDER = pathlib.Path(__file__).parent
WEIGHTS_FILE = "model.safetensors"  # In a published folder and in that of a training,
PRESET_FILE = "preset.json"  # and the entry in a published one.


@dataclasses.dataclass(frozen=True)
class Preset:
    """Published weights: what they are, where they are, how they came about.

    Attributes:
        name: With its tag, for example `"resnet20_smooth_mcdo.fashion_mnist"`.
        sha256: Of the weights file; None if it is not known before the first download.
        size: Of the weights file, in bytes; likewise.
        input_shape: `(height, width, channels)` of the training images.
        num_classes: The number of logits.
        mean: Of the pixels per channel, in units of `[0, 255]`.
        variance: Of the pixels per channel.
        classes: Names of the classes, in the order of the logits.
        layers: Settings of the layers that methods put in, as
            `zoo.facts.layer_settings` has them; with others it is another function.
        file: Name of the weights file, in one of `folders()` or a published folder.
        url: Where to download it if the file is not there.
        rounding: What float16 weights changed, as `training.rounding` found it.
        source: What `url` has, if that is a file of another library, which is converted
            on first use; for example `"timm:resnet50.a1_in1k"`.
        license: Of the weights.
        data: Name of the training set.
        data_license: Its licence.
        recipe: Name of the recipe.
        settings: The fields of the recipe.
        origin: What the training started from, as its record has it; empty if from
            scratch.
        seed: Of the training.
        epochs: Of the training.
        command: That trained the model.
        commit: Of this package at that time.
        versions: Of the packages that trained it.
        results: Rows with `dataset`, `num_samples`, `metric`, `value`,
            `num_examples` and `seed`.
        others: Such rows of other trainings of the same model, whose names they have
            as `model`.
    """

    name: str
    sha256: str | None
    size: int | None
    input_shape: tuple[int | None, int | None, int]
    num_classes: int
    mean: tuple[float, ...]
    variance: tuple[float, ...]
    classes: tuple[str, ...] = ()
    layers: Mapping[str, Mapping] = dataclasses.field(default_factory=dict)
    file: str | None = None
    url: str | None = None
    rounding: Mapping = dataclasses.field(default_factory=dict)
    source: str | None = None
    license: str = "apache-2.0"
    data: str | None = None
    data_license: str | None = None
    recipe: str | None = None
    settings: Mapping = dataclasses.field(default_factory=dict)
    origin: Mapping[str, str] = dataclasses.field(default_factory=dict)
    seed: int | None = None
    epochs: int | None = None
    command: str | None = None
    commit: str | None = None
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    results: tuple[Mapping, ...] = ()
    others: tuple[Mapping, ...] = ()

    @property
    def stem(self) -> str:
        """The name without the tag."""
        return self.name.partition(".")[0]

    @property
    def tag(self) -> str:
        """What follows the first point of the name."""
        return self.name.partition(".")[2]

    def to_json(self) -> dict:
        """Returns the entry without the name, as `presets.json` holds it."""
        entry = dataclasses.asdict(self)
        del entry["name"]
        if not self.others:
            del entry["others"]
        return {
            k: v
            for k, v in entry.items()
            if k in ("sha256", "size") or (v is not None and v != {})
        }


def from_json(name: str, entry: Mapping, origin: str | os.PathLike) -> Preset:
    """Returns the preset of an entry.

    Args:
        name: With its tag.
        entry: As `Preset.to_json` gives it.
        origin: The file of the entry, for messages.

    Raises:
        ValueError: If a field is missing or not known.
    """
    fields = {f.name: f for f in dataclasses.fields(Preset) if f.name != "name"}
    missing = dataclasses.MISSING
    needed = {k for k, f in fields.items() if f.default is f.default_factory is missing}
    for odd in sorted((entry.keys() - fields.keys()) | (needed - entry.keys())):
        verb = "does not know" if odd in entry else "needs"
        raise ValueError(
            f"The entry '{name}' of '{origin}' is of another version of smoothzoo: "
            f"this one {verb} the field '{odd}'."
        )
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    return Preset(name, **values)


def read(folder: str | os.PathLike | None = None) -> dict[str, Preset]:
    """Returns the presets of `presets.json` by name, in its order.

    Args:
        folder: Where it lies, by default in this package; without that file there are
            none.
    """
    path = pathlib.Path(folder or FOLDER) / "presets.json"
    if not path.exists():
        return {}
    entries = json.loads(path.read_text(encoding="utf-8"))
    return {name: from_json(name, entry, path) for name, entry in entries.items()}


def read_published(folder: str | os.PathLike) -> Preset:
    """Returns the preset of a published folder, which may be a URL.

    Raises:
        FileNotFoundError: If there is none.
        ConnectionError: If it cannot be read from there.
        ValueError: If it is not JSON, or of another version of this package.
    """
    if remote.is_url(folder):
        path = remote.join(folder, PRESET_FILE)
        text = download.read_text(path)
    else:
        path = pathlib.Path(folder) / PRESET_FILE
        text = path.read_text(encoding="utf-8")
    try:
        ((name, entry),) = json.loads(text).items()
    except (ValueError, AttributeError) as error:
        raise ValueError(f"'{path}' is not the preset of a model: {error}") from error
    return from_json(name, entry, path)


def dumps(presets: Sequence[Preset]) -> str:
    """Returns presets as JSON, in which a list or row without others is one line."""
    text = json.dumps({p.name: p.to_json() for p in presets}, indent=2)
    # A string in JSON has no line breaks, so this changes the layout alone.
    inner = re.compile(r"[\[{][^\[\]{}]*[\]}]")
    return inner.sub(lambda m: re.sub(r"\n\s*", " ", m.group()), text) + "\n"


def add(preset: Preset, folder: str | os.PathLike | None = None):
    """Writes a preset into `presets.json`, in the place of one of the same name."""
    path = pathlib.Path(folder or FOLDER) / "presets.json"
    with files.locked(path.with_name(".presets.lock.tmp")):
        presets = {**read(folder), preset.name: preset}
        with files.replacing(path) as temporary:
            temporary.write_text(dumps(list(presets.values())), encoding="utf-8")


def find(stem: str, tag: str | None = None) -> Preset:
    """Returns the preset of a name.

    Args:
        stem: The name without a tag.
        tag: Which weights; by default the first that `presets.json` lists.

    Returns:
        That of the same name, or else that of converted weights for the same
        architecture with the most of the methods and no other.

    Raises:
        ValueError: If there are none; the message has the nearest names.
    """
    known = read()
    own = [preset for preset in known.values() if preset.stem == stem]
    for preset in own:
        if tag in (None, preset.tag):
            return preset
    if converted := _converted(stem, tag, known.values()):
        return converted
    if not known:
        near = "No weights are published yet."
    else:
        words = [p.name for p in own] or _nearest(stem, tag, known)
        near = f"The nearest that have some: {', '.join(words)}."
    name = f"{stem}.{tag}" if tag else stem
    raise ValueError(
        f"There are no weights for '{name}'. {near} `zoo.build('{stem}')` gives an "
        "untrained model."
    )


def _converted(stem, tag, known) -> Preset | None:
    """Returns the weights of another library that fit a network with more methods."""
    spec, fitting = parse(stem), []
    for preset in known:
        other = parse(preset.stem)
        if (
            preset.source
            and other.architecture == spec.architecture
            and tag in (None, preset.tag)
            and set(other.methods) <= set(spec.methods)
        ):
            fitting.append((len(other.methods), preset))
    return max(fitting, key=lambda pair: pair[0], default=(0, None))[1]


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

    These are `zoo/pretrained`; `ZOO_WEIGHTS` if it is set; `weights` beside this
    package, in a checkout of the repository; and the cache.
    """
    own = os.environ.get("ZOO_WEIGHTS")
    return [
        FOLDER / "pretrained",
        *([pathlib.Path(own).expanduser()] if own else []),
        FOLDER.parent / "weights",
        download.cache_folder(),
    ]


def locate(preset: Preset, folder: str | os.PathLike | None = None) -> pathlib.Path:
    """Returns the path of a preset's weights, which it may have to download.

    Args:
        preset: The preset.
        folder: Where its file may lie, a path or a URL; by default in `folders()`.

    Raises:
        FileNotFoundError: If the file is not there and the preset has no url.
        ConnectionError: If it cannot be downloaded.
        ValueError: If what was downloaded is another file.
    """
    if preset.source:
        from zoo.convert import remote as converted  # It needs this module.

        return converted.locate(preset)
    fields = preset.name, preset.sha256, preset.size
    if folder is not None and remote.is_url(folder):
        url = remote.join(folder, preset.file or WEIGHTS_FILE)
        return download.fetch_weights(url, *fields)
    places = [pathlib.Path(folder)] if folder is not None else folders()
    for place in places if preset.file else ():
        if (place / preset.file).is_file():
            return place / preset.file
    if preset.url is None:
        raise download.lost(preset.name, preset.file, preset.size, places)
    return download.fetch_weights(preset.url, *fields)
