"""One folder of images for each class.

Hidden files and folders, and those that operating systems leave behind, do not count.
"""

import collections
import dataclasses
import os
import pathlib
import re
import unicodedata
from collections.abc import Iterator, Mapping

from training import image_files

# What folders of splits are called, in any case of letters.
SPLITS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
ROLES = {name: role for role, names in SPLITS.items() for name in names}
# What macOS, Windows, file systems, network storage and Python leave behind.
_LEFT_BEHIND = (
    *("__macosx", "$recycle.bin", "system volume information", "lost+found"),
    *("@eadir", "__pycache__"),
)


@dataclasses.dataclass(frozen=True)
class Classes:
    """What is in the folders of classes.

    Attributes:
        files: The images of each class, sorted; of some there may be none.
        others: How many files are none of them, by their suffixes.
    """

    files: Mapping[str, list[pathlib.Path]]
    others: Mapping[str, int]

    def __len__(self):
        return sum(map(len, self.files.values()))


def read(root: pathlib.Path) -> Classes:
    """Finds the images of each class; those in folders inside of its own belong to it.

    Args:
        root: Holds one folder for each class.

    Raises:
        ValueError: If a folder holds files, but no image that can be read, or seems to
            be one of a split.
    """
    inside = folders_in(root)
    _check_nested(root, inside)
    found, others = {}, collections.Counter()
    if loose := len(list(filter(is_image, files_in(root, depth=0)))):
        others["images in no folder of a class"] = loose
    for path in inside:
        name = class_name(path)
        if name in found:
            raise ValueError(f"Folder '{root}' has the class '{name}' twice.")
        files = list(files_in(path))
        found[name] = sorted(filter(is_image, files))
        kinds = collections.Counter(p.suffix or "-" for p in files if not is_image(p))
        if kinds and not found[name]:
            raise ValueError(
                f"Folder '{path}' holds no image that can be read, but other files: "
                f"{listed(kinds)}. Images end in {', '.join(image_files.SUFFIXES)}. "
                "What is not a class has no place beside the classes."
            )
        others += kinds
    return Classes(found, others)


def class_name(path: pathlib.Path) -> str:
    """Returns the name of a class; macOS takes its accents apart, others do not."""
    return unicodedata.normalize("NFC", path.name)


def listed(kinds: Mapping[str, int]) -> str:
    """Returns kinds of files and their numbers in words."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


def is_image(path: pathlib.Path) -> bool:
    """Returns whether a file ends as that of an image does."""
    return path.suffix.lower() in image_files.SUFFIXES


def folders_in(root: pathlib.Path) -> list[pathlib.Path]:
    """Returns the visible folders in a folder, sorted; links to folders are some."""
    with os.scandir(root) as entries:
        names = [entry.name for entry in entries if entry.is_dir()]
    return [pathlib.Path(root, name) for name in sorted(names) if not _is_hidden(name)]


def files_in(root: pathlib.Path, depth: int | None = None) -> Iterator[pathlib.Path]:
    """Yields the visible files in a folder; unless `depth` is 0, those inside too."""
    seen = set()
    for folder, inside, names in os.walk(root, followlinks=True):
        place = os.path.realpath(folder)
        inside[:] = [name for name in inside if depth != 0 and not _is_hidden(name)]
        if place in seen:  # A link to a folder above has no end.
            inside.clear()
            continue
        seen.add(place)
        here = pathlib.Path(folder)
        yield from (here / name for name in names if not _is_hidden(name))


def _is_hidden(name):
    return name.startswith(".") or name.casefold() in _LEFT_BEHIND


def _check_nested(root, inside):
    """Refuses what would take splits for classes, or mix them."""
    nested = {path: {p.name for p in folders_in(path)} for path in inside}
    for path, names in nested.items():
        if len({ROLES.get(name.casefold()) for name in names} - {None}) > 1:
            raise ValueError(
                f"Folder '{path}' would be a class, and has folders of splits in it. "
                "Put splits outside and classes inside: train/cat, test/cat."
            )
        rest = [names for other, names in nested.items() if other != path]
        alike = names & {p.name for p in inside}.union(*rest)
        words = re.split(r"[^a-z]+", path.name.casefold())
        if alike and any(word in ROLES for word in words):
            raise ValueError(
                f"Folder '{path}' would be a class, and seems to be a split with "
                f"classes in it: {', '.join(sorted(alike))}. Call the folders of "
                "splits train, val and test, and put no classes beside them."
            )
