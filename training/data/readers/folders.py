"""Folders of images, with folders of splits or without."""

import collections
import dataclasses
import os
import pathlib
import unicodedata
import zlib

import numpy as np

from training.data import fingerprint
from training.data.readers import class_folders, image_files
from training.data.readers.class_folders import Classes

# Which folder the images of a split are taken from: the first that is there.
SOURCES = {
    "train": ("train",),
    "validation": ("validation",),
    "test": ("test", "validation"),
}
_LOOKED_AT = 1000  # Images whose size is looked at.
_LISTED = 5  # Names of folders in a line.
_SIDES = 16, 512  # Of images that keep their size.


class FolderImages:
    """Image files that are decoded when they are indexed.

    Args:
        paths: The files.
        image_size: Height and width of the decoded images.
    """

    def __init__(self, paths, image_size):
        self.paths = list(paths)
        self.shape = (len(self.paths), *image_size, 3)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return image_files.decoded(self._decode, index, self.shape)

    def _decode(self, index):
        return image_files.read_image(self.paths[index], self.shape[1:3])

    def fingerprint(self) -> str:
        """Returns what changes when the contents of the files or the shape do."""
        return f"{fingerprint.of_files(self.paths)} {self.shape}"


def load_folder(folder: pathlib.Path, split: str, image_size: tuple[int, int]):
    """Lists the images of a folder.

    Args:
        folder: Holds one folder for each class, or folders of splits that do, as
            `class_folders.SPLITS` calls them; or is such a folder for testing beside
            one for training. Without a test set the validation set is for testing.
            Without both, one file in ten is, chosen by its name, but each class keeps
            an image for training.
        split: `"train"`, `"test"`, `"validation"`, or `"all"` for all images.
        image_size: Height and width of the decoded images.

    Returns:
        The images, their labels, the names of the classes, and in words where the
        images come from.

    Raises:
        FileNotFoundError: If there are no images.
        ValueError: If a folder seems to be neither of a class nor of a split.
    """
    parts, training = splits(folder), _beside_training(folder)
    if split == "all":
        roots = list(parts.values()) or [folder]
        found, text = _joined(list(map(class_folders.read, roots))), "all images"
    elif training and split == "train":
        raise ValueError(
            f"Folder '{folder}' is for testing, as '{training}' beside it is for "
            f"training. Give the folder of both, '{training.parent}'."
        )
    elif training:
        found, text = _held_out(folder, training), "all images"
    elif set(parts) - {"train"}:
        found, text = _part(folder, parts, split)
    else:
        found, text = _drawn(parts.get("train", folder), split)
    if found.joined:
        joined = ", ".join(found.joined[:_LISTED])
        joined += ", ..." if len(found.joined) > _LISTED else ""
        text += f", of each class its folders {joined} together"
    if found.others:
        text += f", without {class_folders.listed(found.others)}"
    source = f"folder {name_of(folder)}, {text}"
    return *_labeled(found, folder, image_size), source


def name_of(folder: pathlib.Path) -> str:
    """Returns the name of a folder, also of `.` and `..`."""
    return pathlib.Path(os.path.abspath(folder)).name or "root"


def splits(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the folders of splits in a folder, by `"train"`, `"test"` and so on.

    There are none if it holds folders of classes, of which one may be called `train`.

    Raises:
        ValueError: If there are two of one kind, or one without folders of classes.
    """
    inside, found = class_folders.folders_in(folder), {}
    for path in inside:
        role = class_folders.ROLES.get(path.name.casefold())
        if role in found:
            raise ValueError(
                f"Folder '{folder}' has two folders of one kind, '{found[role].name}' "
                f"and '{path.name}'. Move one of them away."
            )
        if role:
            found[role] = path
    has_classes = len(inside) > len(found)
    if has_classes and not ("train" in found and len(found) > 1):
        return {}
    class_folders.check_distinct(found.values())
    for path in found.values():
        files = class_folders.files_in(path, depth=0)
        if any(map(class_folders.is_image, files)) and not class_folders.folders_in(
            path
        ):
            raise ValueError(
                f"Folder '{path}' holds images, but no folders of classes. Put the "
                "images of each class into a folder of its name."
            )
    return found


def own_size(folder: pathlib.Path) -> tuple[int, int] | None:
    """Returns the height and width that all images of a folder have.

    Some thousand images at most are looked at, those for training where a folder says
    which they are.

    Returns:
        None if sizes differ, or a side is shorter than a network takes, or so long that
        nobody would train with it.

    Raises:
        ValueError: If a file is not an image.
    """
    files = class_folders.read(splits(folder).get("train", folder)).files
    paths = [path for group in files.values() for path in group]
    chosen = paths[:: -(-len(paths) // _LOOKED_AT) or 1]
    size = None
    for path in chosen:
        found = image_files.read_size(path)
        if size not in (None, found):
            return None
        size = found
    sides = size or (0, 0)
    return size if min(sides) >= _SIDES[0] and max(sides) <= _SIDES[1] else None


def list_classes(root: pathlib.Path, image_size: tuple[int, int]):
    """Lists all images of a folder that holds one folder for each class.

    Args:
        root: The folder.
        image_size: Height and width of the decoded images.

    Returns:
        The images, their labels and the names of the classes.

    Raises:
        FileNotFoundError: If there are no images.
    """
    return _labeled(class_folders.read(root), root, image_size)


def _part(folder, parts, split):
    role = next((role for role in SOURCES[split] if role in parts), None)
    if role is None:
        raise FileNotFoundError(
            f"Folder '{folder}' has no images for that, only the folders "
            f"{', '.join(path.name for path in parts.values())}. Received: "
            f"split={split}"
        )
    path, inside = parts[role], class_folders.folders_in(folder)
    text = f"its {path.name}/"
    if left := [p.name for p in inside if p not in parts.values()]:
        text += f", without {', '.join(left)}/"
    if role != "train" and "train" in parts:
        return _held_out(path, parts["train"]), text
    found = class_folders.read(path)
    if role == "train":
        _check_trained(found, path)
    return found, text


def _held_out(path, training):
    """Returns the images of a held-out set by the classes of the training set."""
    found = class_folders.read(path)
    known = list(map(class_folders.class_name, class_folders.folders_in(training)))
    if not known:  # There is nothing for training that they could fit.
        return found
    if unknown := [n for n, files in found.files.items() if files and n not in known]:
        raise ValueError(
            f"Folder '{path}' has classes that '{training}' has not: "
            f"{', '.join(unknown)}. Folders of one class have one name in both."
        )
    files = {name: found.files.get(name, []) for name in known}
    return dataclasses.replace(found, files=files)


def _drawn(root, split):
    """Returns one image in ten of a folder for testing, or the others."""
    if split == "validation":
        raise FileNotFoundError(
            f"Folder '{root}' has no validation set; put one into a folder val beside "
            "train and test. Received: split=validation"
        )
    found, chosen = class_folders.read(root), {}
    for name, files in found.files.items():
        is_test = [_is_test(path, root) for path in files]
        if files and all(is_test):
            is_test[0] = False  # What is never seen cannot be learned.
        wanted = split == "test"
        chosen[name] = [p for p, t in zip(files, is_test, strict=True) if t == wanted]
    drawn = dataclasses.replace(found, files=chosen)
    if split == "train":
        _check_trained(drawn, root)
    elif len(found) and not len(drawn):
        raise FileNotFoundError(
            f"None of the {len(found)} images in folder '{root}' falls into this "
            "split, which takes one in ten for testing. Put them into folders train "
            "and test."
        )
    rest = "testing" if split == "train" else "training"
    return drawn, f"{len(drawn)} of its {len(found)} images, the others are for {rest}"


def _is_test(path, root):
    name = unicodedata.normalize("NFC", path.relative_to(root).as_posix())
    return zlib.crc32(os.fsencode(name)) % 10 == 0


def _check_trained(found, root):
    empty = [name for name, files in found.files.items() if not files]
    if empty and len(found):
        raise ValueError(
            f"Folder '{root}' has classes without an image for training: "
            f"{', '.join(empty)}. Add images, or delete these folders."
        )


def _joined(parts):
    names = sorted({name for part in parts for name in part.files})
    files = {n: [p for part in parts for p in part.files.get(n, ())] for n in names}
    others = sum((part.others for part in parts), collections.Counter())
    joined = {name for part in parts for name in part.joined}
    return Classes(files, others, tuple(sorted(joined)))


def _labeled(found, root, image_size):
    paths = [path for files in found.files.values() for path in files]
    if not paths:
        raise FileNotFoundError(
            f"Folder '{root}' holds no images. Expected one folder for each class with "
            f"files that end in {', '.join(image_files.SUFFIXES)}."
        )
    counts = [len(files) for files in found.files.values()]
    labels = np.repeat(np.arange(len(counts)), counts).astype("int32")
    return FolderImages(paths, image_size), labels, tuple(found.files)


def _beside_training(folder):
    """Returns the folder for training beside one for testing, None elsewhere."""
    path = pathlib.Path(os.path.abspath(folder))
    roles = class_folders.ROLES
    if roles.get(path.name.casefold(), "train") == "train":
        return None
    own = {inside.name for inside in class_folders.folders_in(path)}
    for other in class_folders.folders_in(path.parent):
        theirs = {inside.name for inside in class_folders.folders_in(other)}
        if roles.get(other.name.casefold()) == "train" and own & theirs:
            return other
    return None
