"""An entry of `presets.json`: one file of weights and what is known of it."""

import dataclasses
import json
import os
import re
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Preset:
    """Published weights: what they are, where they are, how they came about.

    Attributes:
        name: With its tag, for example `"resnet20_smooth_mcdo.fashion_mnist"`.
        sha256: SHA-256 of the weights file; None if it is not known before the first
            download.
        size: Size of the weights file, in bytes; likewise.
        input_shape: `(height, width, channels)` of the training images, or
            `(features,)`.
        num_classes: The number of logits.
        mean: Mean of the pixels per channel, in units of `[0, 255]`.
        variance: Variance of the pixels per channel.
        classes: Names of the classes, in the order of the logits.
        layers: Settings of the layers that methods put in, as
            `zoo.presets.model_config.layer_settings` has them; with others it is
            another function.
        compression: What was done to the network to make it smaller, as
            `zoo.compressed.compression_of` has it; empty for most.
        target: Mean and standard deviation of the training targets of a regressor; None
            of a classifier.
        file: Name of the weights file, in one of `folders()` or a published folder.
        url: Where to download it if the file is not there.
        withdrawn: The last commit of this repository that has the file, if it is in
            none any more; what was measured stays.
        rounding: What float16 weights changed, as `training.publishing.half_precision`
            found it.
        source: What `url` has, if that is a file of another library, which is converted
            on first use; for example `"timm:resnet50.a1_in1k"`.
        license: License of the weights.
        data: Name of the training set.
        data_is_own: Whether these were files of the user, whatever they are called.
        data_license: Its license.
        recipe: Name of the recipe.
        settings: The fields of the recipe.
        initial_weights: Provenance of the weights that the training started from, as in
            its record; empty if it started from scratch.
        seen: How many `images` the training saw, and how many of the training set were
            `held_out`, as its record has it; empty if that is not known. With the
            `sha256` and the `bytes` of a file that says which ones; see
            `zoo.presets.training_images`.
        overlaps: The corruptions of the benchmark that its augmentations or its
            objective are like, so that what is measured under them was seen in part.
        seed: Seed of the training.
        epochs: Number of epochs of the training.
        command: That trained the model.
        commit: Commit of this package at that time.
        versions: Versions of the packages that trained it.
        posteriors: By the key of `zoo.posterior.POSTERIORS`, what `adapt` has learned:
            the `file` beside the weights with its `sha256` and `size`, the `settings`
            of the constructor, the `dataset` and the number of `images`, the `values`
            that are single numbers, and of one of several networks the `members`
            behind the first: `file`, `sha256` and `size` of the weights of each.
        results: Rows with `dataset`, `num_samples`, `metric`, `value`,
            `num_examples` and `seed`.
        others: Such rows of other trainings of the same model, whose names they have
            as `model`.
        of_posteriors: Such rows of the `posteriors`, whose names they have as `model`.
    """

    name: str
    sha256: str | None
    size: int | None
    input_shape: tuple[int | None, ...]
    num_classes: int
    mean: tuple[float, ...]
    variance: tuple[float, ...]
    classes: tuple[str, ...] = ()
    layers: Mapping[str, Mapping] = dataclasses.field(default_factory=dict)
    compression: Mapping = dataclasses.field(default_factory=dict)
    target: tuple[float, float] | None = None
    file: str | None = None
    url: str | None = None
    withdrawn: str | None = None
    rounding: Mapping = dataclasses.field(default_factory=dict)
    source: str | None = None
    license: str = "apache-2.0"
    data: str | None = None
    data_is_own: bool = False
    data_license: str | None = None
    recipe: str | None = None
    settings: Mapping = dataclasses.field(default_factory=dict)
    initial_weights: Mapping[str, str] = dataclasses.field(default_factory=dict)
    seen: Mapping[str, object] = dataclasses.field(default_factory=dict)
    overlaps: tuple[str, ...] = ()
    seed: int | None = None
    epochs: int | None = None
    command: str | None = None
    commit: str | None = None
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    posteriors: Mapping[str, Mapping] = dataclasses.field(default_factory=dict)
    results: tuple[Mapping, ...] = ()
    others: tuple[Mapping, ...] = ()
    of_posteriors: tuple[Mapping, ...] = ()

    @property
    def stem(self) -> str:
        """The name without the tag."""
        return self.name.partition(".")[0]

    @property
    def tag(self) -> str:
        """What follows the first point of the name."""
        return self.name.partition(".")[2]

    def to_json(self, results: bool = True) -> dict:
        """Returns the entry without the name, as published folders hold it.

        Args:
            results: Whether it has what was measured, which `presets.json` has not.
        """
        entry = dataclasses.asdict(self)
        del entry["name"]
        for field in ("others", "of_posteriors", "data_is_own", "overlaps"):
            if not entry[field]:
                del entry[field]
        if not results:
            measured = "results", "others", "of_posteriors"
            entry = {k: v for k, v in entry.items() if k not in measured}
        return {
            k: v
            for k, v in entry.items()
            if k in ("sha256", "size") or (v is not None and v != {})
        }


def from_json(name: str, entry: Mapping, path: str | os.PathLike) -> Preset:
    """Returns the preset of an entry.

    Args:
        name: With its tag.
        entry: The JSON object that `Preset.to_json` returned.
        path: The file of the entry, for messages.

    Raises:
        ValueError: If a field is missing or not known.
    """
    fields = {f.name: f for f in dataclasses.fields(Preset) if f.name != "name"}
    missing = dataclasses.MISSING
    needed = {k for k, f in fields.items() if f.default is f.default_factory is missing}
    for odd in sorted((entry.keys() - fields.keys()) | (needed - entry.keys())):
        verb = "does not know" if odd in entry else "needs"
        raise ValueError(
            f"The entry '{name}' of '{path}' is of another version of smoothzoo: "
            f"this one {verb} the field '{odd}'."
        )
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    return Preset(name, **values)


def dumps(presets: Sequence[Preset]) -> str:
    """Returns presets with their results as JSON."""
    return as_text({preset.name: preset.to_json() for preset in presets})


def as_text(entries: Mapping) -> str:
    """Returns JSON in which a list or row without others is one line."""
    text = json.dumps(entries, indent=2)
    # A string in JSON has no line breaks, so this changes the layout alone.
    inner = re.compile(r"[\[{][^\[\]{}]*[\]}]")
    return inner.sub(lambda m: re.sub(r"\n\s*", " ", m.group()), text) + "\n"
