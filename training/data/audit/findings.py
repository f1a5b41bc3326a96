"""What is wrong with data sets: copies, labels that disagree, classes, files."""

import collections
import contextlib
import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from training.data import grids, loading
from training.data.audit.perceptual_hashes import near_pairs, perceptual_hash
from training.data.identities import hash_bytes, of_pixels
from training.data.readers import (
    class_folders,
    folders,
    image_files,
    mask_folders,
    number_files,
)

TINY = 10  # A class of fewer images is hard to learn, and to test on.
_LISTED = 20  # Images of a group of near copies that a finding lists.


@dataclasses.dataclass(frozen=True)
class Part:
    """The images of a split, as far as they are compared.

    Attributes:
        name: Name of the data set and the split, such as `"cifar100 train"`.
        dataset: Name of the data set.
        labels: Integer array of shape `(images,)`.
        classes: The names of the classes, by label.
        identities: uint64 array of shape `(images,)`, equal for equal pixels.
        perceptual: uint64 array of shape `(images,)`, with few different bits for
            images that look alike; None if they are not looked for.
        files: Where the images lie; of sets that are not folders there are none.
        unreadable: Files that are no images, and why.
        images: uint8 array of shape `(images, height, width, channels)`, or None.
    """

    name: str
    dataset: str
    labels: np.ndarray
    classes: Sequence[str]
    identities: np.ndarray
    perceptual: np.ndarray | None = None
    files: Sequence[pathlib.Path] = ()
    unreadable: Mapping[pathlib.Path, str] = dataclasses.field(default_factory=dict)
    images: np.ndarray | None = None

    def __len__(self):
        return len(self.labels)

    def describe(self, place: int) -> dict[str, object]:
        """Returns which image it is, with its class."""
        found = {"part": self.name, "image": place}
        if self.files:
            found["file"] = str(self.files[place])
        return {**found, "class": self.classes[self.labels[place]]}


@contextlib.contextmanager
def silent(description: str, total: int):
    """In place of `training.progress.track`, without a word."""
    yield lambda count: None


def read(
    name: str,
    data_dir: str | None = None,
    near: bool = True,
    track: Callable = silent,
) -> list[Part]:
    """Reads all splits of a data set.

    Args:
        name: What `training.data.load` takes, but no derived set. Images of a folder
            are compared in their own size.
        data_dir: Folder of the files, as `training.data.load` takes it.
        near: Whether to look for images that look alike, by the package ImageHash.
        track: Shows progress, as `training.progress.track` does.

    Raises:
        ValueError: If it is a derived set, or one with labels of pixels or numbers to
            predict, or `load` raises it.
        FileNotFoundError: If nothing of it is there.
        ImportError: If the package is not installed.
    """
    if grids.split(name):
        raise ValueError(
            "Derived sets have the images of another one; check that one. Received: "
            f"{name}"
        )
    if name in loading.OF_PIXELS or mask_folders.is_one(pathlib.Path(name)):
        raise ValueError(
            "Images are compared by the one label that each has, and those of this set "
            f"have one for each pixel. Received: {name}"
        )
    if name in loading.OF_NUMBERS or number_files.is_one(name):
        raise ValueError(
            "Images are compared, and the classes that they are of; this set has "
            f"numbers to predict. Received: {name}"
        )
    if pathlib.Path(name).is_dir():
        return _read_folder(pathlib.Path(name), near, track)
    found, missing = [], None
    for split in ("all",) if loading.is_undivided(name) else loading.SPLITS:
        if split == "validation" and not loading.publishes_validation(name, data_dir):
            continue
        try:
            data = loading.load(name, split, data_dir, holdout=0)
        except FileNotFoundError as error:
            missing = error
            continue
        part, images = f"{name} {split}", data.images
        found.append(
            Part(
                name=part,
                dataset=name,
                labels=data.labels,
                classes=data.classes,
                identities=of_pixels(images),
                perceptual=_perceptual(images, part, track) if near else None,
                images=images,
            )
        )
    if not found:
        raise missing
    return found


def _perceptual(images, name, track) -> np.ndarray:
    found = np.empty(len(images), "uint64")
    with track(f"Looking at {name}", len(images)) as progress:
        for place in range(len(images)):
            found[place] = perceptual_hash(images[place])
            progress(1)
    return found


def _read_folder(folder, near, track) -> list[Part]:
    name, splits = folders.name_of(folder), folders.splits(folder) or {"all": folder}
    ordered = sorted(splits, key=(*loading.SPLITS, "all").index)
    read_parts = {role: class_folders.read(splits[role]) for role in ordered}
    classes = sorted({c for found in read_parts.values() for c in found.files})
    return [
        _read_files(f"{name} {role}", name, found.files, classes, near, track)
        for role, found in read_parts.items()
    ]


def _read_files(name, dataset, files, classes, near, track):
    """Reads the files of a split, one at a time."""
    paths, labels, identities, hashes, unreadable = [], [], [], [], {}
    with track(f"Reading {name}", sum(map(len, files.values()))) as progress:
        for class_name, group in files.items():
            for path in group:
                progress(1)
                try:
                    image = image_files.read_whole(path)
                except ValueError as error:
                    unreadable[path] = str(error)
                    continue
                paths.append(path)
                labels.append(classes.index(class_name))
                shape = np.array(image.shape, "int64").tobytes()
                identities.append(hash_bytes(shape + image.tobytes()))
                hashes += [perceptual_hash(image)] if near else []
    return Part(
        name=name,
        dataset=dataset,
        labels=np.array(labels, int),
        classes=classes,
        identities=np.array(identities, "uint64"),
        perceptual=np.array(hashes, "uint64") if near else None,
        files=paths,
        unreadable=unreadable,
    )


def copies(parts: Sequence[Part]) -> list[dict]:
    """Returns the groups of images that are equal pixel by pixel.

    Args:
        parts: Splits, of one or of several data sets.

    Returns:
        For each group `{"kind": "copies", "images": [...]}` with what `Part.describe`
        says of each image.
    """
    identities = np.concatenate([part.identities for part in parts])
    places = _places(parts)
    order = np.argsort(identities, kind="stable")
    _, counts = np.unique(identities, return_counts=True)
    groups = np.split(order, np.cumsum(counts)[:-1])
    return [
        {"kind": "copies", "images": [_describe(parts, places[i]) for i in group]}
        for group in groups
        if len(group) > 1
    ]


def near_copies(parts: Sequence[Part], distance: int) -> list[dict]:
    """Returns the pairs of images, not equal, that look alike.

    Args:
        parts: Splits with perceptual hashes.
        distance: The most bits, of 64, in which the hashes differ.

    Returns:
        For each pair of hashes `{"kind": "near copies", "bits": n, "images": [...]}`
        with what `Part.describe` says of each image that has one of them.
    """
    identities = np.concatenate([part.identities for part in parts])
    hashes = np.concatenate([part.perceptual for part in parts])
    places, found = _places(parts), []
    values, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    order = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])
    pairs = [(i, i, 0) for i in np.flatnonzero(counts > 1)]
    for i, j, bits in itertools.chain(pairs, near_pairs(values, distance)):
        members = order[i] if i == j else np.concatenate([order[i], order[j]])
        _, firsts = np.unique(identities[members], return_index=True)
        if len(firsts) > 1:  # Else they are equal.
            members = members[np.sort(firsts)]
            images = [_describe(parts, places[k]) for k in members[:_LISTED]]
            row = {"kind": "near copies", "bits": int(bits), "images": images}
            found.append({**row, "count": len(members)})
    return found


def _places(parts):
    """Returns the part and the place in it of each image."""
    return [(p, i) for p, part in enumerate(parts) for i in range(len(part))]


def _describe(parts, place):
    part, image = place
    return parts[part].describe(image)


def classes(parts: Sequence[Part]) -> Iterator[dict]:
    """Yields classes that a split lacks or has few images of, and unreadable files."""
    for part in parts:
        siblings = [p for p in parts if p.dataset == part.dataset]
        known = {p.classes[label] for p in siblings for label in np.unique(p.labels)}
        counts = collections.Counter(part.classes[label] for label in part.labels)
        for name in sorted(known | set(map(str, part.classes))):
            if counts[name] < TINY:
                kind = "tiny class" if counts[name] else "missing class"
                row = {"kind": kind, "part": part.name, "class": name}
                yield {**row, "count": counts[name]}
        for path, reason in part.unreadable.items():
            row = {"kind": "unreadable", "part": part.name, "file": str(path)}
            yield {**row, "reason": reason}


def summary(parts: Sequence[Part], findings: Sequence[Mapping]) -> list[str]:
    """Returns the findings in lines: how many of each kind, in which splits."""
    lines = []
    for part in parts:
        kinds = {}
        for finding in findings:
            if finding.get("part") == part.name:
                name = finding.get("class", finding.get("file"))
                kinds.setdefault(finding["kind"], []).append(name)
        line = f"{part.name}: {len(part):,} images of {len(part.classes)} classes"
        for kind, names in kinds.items():
            line += f"\n  {kind}: {len(names):,} ({_some(names)})"
        lines.append(line)
    for kind in ("copies", "near copies"):
        groups = [f["images"] for f in findings if f["kind"] == kind]
        names = [part.name for part in parts]
        for first, second in itertools.combinations_with_replacement(names, 2):
            if line := _between(kind, groups, first, second):
                lines.append(line)
    return lines


def _between(kind, groups, first, second) -> str:
    """Returns how many images of the second split have a copy in the first one."""
    images, disagreeing = set(), set()
    for group in groups:
        ours = [image for image in group if image["part"] == first]
        theirs = [image for image in group if image["part"] == second]
        if first == second:
            theirs = ours[1:]
        for image in theirs if ours else ():
            images.add(image["image"])
            if {i["class"] for i in ours} != {image["class"]}:
                disagreeing.add(image["image"])
    if not images:
        return ""
    where = f"within {first}" if first == second else f"of {second} in {first}"
    labels = f", {len(disagreeing):,} under another label" if disagreeing else ""
    return f"{kind} {where}: {len(images):,}{labels}"


def _some(names) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
