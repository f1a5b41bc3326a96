"""One folder of images for each class.

Hidden files and folders, and those that operating systems leave behind, do not count.
"""

import collections
import dataclasses
import os
import pathlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping

from training.data.readers import image_files

# What folders of splits are called, in any case of letters.
SPLITS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
ROLES = {name: role for role, names in SPLITS.items() for name in names}
# What is a part of a data set, alone or as in "trainset", "fold1" and "test_images".
_PART = re.compile(
    rf"({'|'.join(sorted(ROLES, key=len, reverse=True))}|fold|holdout|split)"
    "(set|data|dir|imgs|images|split)?s?"
)
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
        others: Number of files that are not images, by suffix.
        joined: The names of two or more folders that are inside of each class, and
            that somebody may have taken for the classes.
    """

    files: Mapping[str, list[pathlib.Path]]
    others: Mapping[str, int]
    joined: tuple[str, ...] = ()

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
    check_distinct(inside)
    joined = _check_nested(inside)
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
    return Classes(found, others, joined)


def check_distinct(paths: Iterable[pathlib.Path]):
    """Checks that no two folders are links to one, for their images would count twice.

    Raises:
        ValueError: If two are.
    """
    known = {}
    for path in paths:
        other = known.setdefault(path.resolve(), path)
        if other != path:
            raise ValueError(
                f"Folders '{other}' and '{path}' are one folder, by a link. Classes "
                "and splits have no image in common."
            )


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


def _check_nested(inside) -> tuple[str, ...]:
    """Refuses what would take splits for classes, or mix them.

    Returns:
        The names of folders that are inside of each class, if there are several.
    """
    nested = {path: {p.name for p in folders_in(path)} for path in inside}
    siblings = {path.name for path in inside}
    for path, names in nested.items():
        if len({ROLES.get(name.casefold()) for name in names} - {None}) > 1:
            raise ValueError(
                f"Folder '{path}' would be a class, and has folders of splits in it. "
                "Give that folder, or put splits outside and classes inside: "
                "train/cat, test/cat."
            )
        alike = names & siblings.union(*(nested[p] for p in inside if p != path))
        words = re.split(r"[^a-z]+", path.name.casefold())
        is_part = alike and any(map(_PART.fullmatch, words))
        if is_part or _is_split_of_its_own(path, names):
            raise ValueError(
                f"Folder '{path}' would be a class, and seems to be a split with "
                f"classes in it: {', '.join(sorted(alike or names))}. Call the folders "
                "of splits train, val and test, and put no classes beside them."
            )
        if twice := names & siblings - {path.name}:
            raise ValueError(
                f"Folder '{path}' would be a class, and has folders of other classes "
                f"in it: {', '.join(sorted(twice))}. If it is a copy of the data, move "
                "it away."
            )
    common = set.intersection(*nested.values()) if len(nested) > 1 else set()
    return tuple(sorted(common)) if len(common) > 1 else ()


def _is_split_of_its_own(path, names) -> bool:
    """Returns whether a folder that is called `train` holds several folders alone."""
    is_role = path.name.casefold() in ROLES and len(names) > 1
    return is_role and not any(map(is_image, files_in(path, depth=0)))
