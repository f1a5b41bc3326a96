"""Folders of images and of masks, which have the number of a class for each pixel.

Two layouts are known. That of SegNet has folders of splits, and beside each one of
masks with the same names:

    train/0001.png   trainannot/0001.png   val/...   valannot/...   test/...

and that of Pascal VOC one folder of each, and lists of the names of a split:

    JPEGImages/2007_000032.jpg          ImageSets/Segmentation/train.txt, val.txt
    SegmentationClass/2007_000032.png

A file `classes.txt` beside the folders has the name of a class a line, from number 0
on. The number that follows the last class, and 255, are pixels without a label.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from training.data.image_data import ImageData, Numbers
from training.data.readers import class_folders, image_files
from training.data.readers.folders import SOURCES, FolderImages, name_of
from zoo.arrays import UNLABELED

CLASSES_FILE = "classes.txt"
# What stands behind the name of a split in that of the folder of its masks.
_ENDINGS = ("annot", "_annot", "_labels", "_masks")
_VOC = ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")
_PASCAL = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car"),
    *("cat", "chair", "cow", "diningtable", "dog", "horse", "motorbike", "person"),
    *("pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
_VOID = 255  # In masks with a palette, and in others.
_LARGEST = np.iinfo("int16").max  # Of the numbers of classes.
_LOOKED_AT = 200  # Images whose size is looked at.


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where images and masks are.

    Attributes:
        folder: The folder of all.
        splits: By the split, which is `"train"`, `"validation"` or `"test"`, pairs of
            the path of an image and that of its mask.
        classes: Names of the classes; None if nothing says them, and then they are the
            numbers up to the largest one in the masks of all splits.
    """

    folder: pathlib.Path
    splits: Mapping[str, Sequence[tuple[pathlib.Path, pathlib.Path]]]
    classes: tuple[str, ...] | None


def is_one(folder: pathlib.Path) -> bool:
    """Returns whether a folder holds images and masks in one of the layouts."""
    return folder.is_dir() and bool(_is_voc(folder) or _annotated(folder))


def find(folder: pathlib.Path, classes: Sequence[str] | None = None) -> Layout:
    """Lists the images and masks of a folder.

    Args:
        folder: In one of the layouts.
        classes: Names of the classes, where they are known; by default those of
            `classes.txt`, and in the layout of Pascal VOC the 21 of that set.

    Raises:
        FileNotFoundError: If an image has no mask.
        ValueError: If two folders are of one split, or `classes.txt` is empty or has a
            name twice.
    """
    classes = tuple(classes) if classes else _named(folder)
    if _is_voc(folder):
        return Layout(folder, _listed(folder), classes or _PASCAL)
    splits = {}
    for images, masks in _annotated(folder):
        role = class_folders.ROLES[images.name.casefold()]
        if role in splits:
            raise ValueError(
                f"Folder '{folder}' has two folders of images of one kind, one of them "
                f"'{images.name}'. Move one of them away."
            )
        splits[role] = _pairs(images, masks)
    return Layout(folder, splits, classes)


def own_size(layout: Layout) -> tuple[int, int] | None:
    """Returns the height and width that all images have; else None.

    Some hundred images at most are looked at, those for training where there are any.

    Args:
        layout: Where they are.
    """
    splits = layout.splits.get("train"), *layout.splits.values()
    pairs = next(filter(None, splits), [])
    step = -(-len(pairs) // _LOOKED_AT) or 1
    sizes = {image_files.read_size(image) for image, _ in pairs[::step]}
    return sizes.pop() if len(sizes) == 1 else None


def load(
    layout: Layout,
    split: str,
    image_size: tuple[int, int],
    name: str | None = None,
) -> ImageData:
    """Loads the images of a split, which are decoded when they are indexed.

    Images and masks are resized by the shorter side and cropped at the center, where
    they do not have that size, masks by the nearest pixel.

    Args:
        layout: Where they are.
        split: `"train"`, `"validation"` or `"test"`, for which the validation set is
            taken if there is no other; or `"all"`.
        image_size: Height and width.
        name: Of the data set; by default that of the folder.

    Returns:
        Images, and labels of shape `(images, *image_size)`, -1 for pixels without one.

    Raises:
        FileNotFoundError: If there are no images for that split.
        ValueError: If a file is damaged, or a mask has another size than its image,
            numbers that are no classes, or colors.
    """
    known = layout.splits
    if split == "all":
        chosen = sorted(known)
    else:
        chosen = [role for role in SOURCES.get(split, ()) if role in known][:1]
    if not chosen:
        raise FileNotFoundError(
            f"Folder '{layout.folder}' has no images for that, only for "
            f"{', '.join(sorted(known))}. Received: split={split}"
        )
    pairs = [pair for one in chosen for pair in known[one]]
    if not pairs:
        raise FileNotFoundError(
            f"Folder '{layout.folder}' holds no images for that that end in "
            f"{', '.join(image_files.SUFFIXES)}. Received: split={split}"
        )
    images = FolderImages([image for image, _ in pairs], image_size)
    count = None if layout.classes is None else len(layout.classes)

    def decode(index):
        return _mask(*pairs[index], image_size, count)

    labels = image_files.decoded(decode, slice(None), images.shape[:3])
    classes = layout.classes or Numbers(max(_largest(layout) + 1, 2))
    source = f"folder {name_of(layout.folder)}, its {' and '.join(chosen)} images"
    return ImageData(
        name or name_of(layout.folder), images, labels, classes, source=source
    )


def _largest(layout):
    """Returns the largest number of a class in whole masks, those of all splits."""
    paths = [mask for pairs in layout.splits.values() for _, mask in pairs]

    def largest(index):
        numbers = image_files.read_mask(paths[index])
        return np.max(numbers, initial=0, where=numbers != _VOID)

    return int(image_files.decoded(largest, slice(None), (len(paths),)).max())


def _mask(image, path, image_size, count):
    """Returns the labels of an image as int16, cut as the image is."""
    numbers, size = image_files.read_mask(path), image_files.read_size(image)
    if numbers.shape != size:
        raise ValueError(
            f"The mask '{path}' must have the size of its image. Received: a mask of "
            f"{numbers.shape[0]} x {numbers.shape[1]} for an image of {size[0]} x "
            f"{size[1]}"
        )
    labels = image_files.cut(numbers, image_size).astype("int32")
    unlabeled = [_VOID] if count is None else [_VOID, count]
    labels[np.isin(labels, unlabeled)] = UNLABELED
    if count is not None and labels.max() >= count:
        odd = np.unique(labels[labels >= count]).tolist()
        raise ValueError(
            f"The mask '{path}' has numbers that are no classes: of {count} classes, "
            f"they are from 0 to {count - 1}, and {count} or {_VOID} is no label. "
            f"Received: {', '.join(map(str, odd[:5]))}"
        )
    if (largest := labels.max()) > _LARGEST:
        raise ValueError(
            f"The mask '{path}' has numbers that are no classes: these are up to "
            f"{_LARGEST}, and {_VOID} is no label. Received: {largest}"
        )
    return labels.astype("int16")


def _is_voc(folder):
    return all((folder / part).is_dir() for part in _VOC)


def _annotated(folder):
    """Returns pairs of folders of images and of masks."""
    inside = {path.name.casefold(): path for path in class_folders.folders_in(folder)}
    found = []
    for name, path in inside.items():
        masks = (inside.get(f"{name}{ending}") for ending in _ENDINGS)
        masks = next(filter(None, masks), None)
        if name in class_folders.ROLES and masks is not None:
            found.append((path, masks))
    return found


def _pairs(images, masks):
    files = filter(class_folders.is_image, class_folders.files_in(images, depth=0))
    return [(path, _mask_of(path, masks)) for path in sorted(files)]


def _mask_of(image, masks):
    found = masks / image.name
    if found.is_file():
        return found
    if other := _of_stem(masks, image.stem):
        return other
    raise FileNotFoundError(
        f"The image '{image}' has no mask: expected '{found}', or a file of that name "
        "with another ending."
    )


def _of_stem(folder, stem):
    """Returns the image file of a name without its ending; None if there is none."""
    paths = (folder / f"{stem}{suffix}" for suffix in image_files.SUFFIXES)
    return next(filter(pathlib.Path.is_file, paths), None)


def _listed(folder):
    """Returns the splits of the layout of Pascal VOC, by its lists of names."""
    images, masks, lists = (folder / part for part in _VOC)
    found = {}
    for role, file in {"train": "train", "validation": "val", "test": "test"}.items():
        path = lists / f"{file}.txt"
        if not path.is_file():
            continue
        names = path.read_text(encoding="utf-8").split()
        of_images = [_image_of(images, name) for name in names]
        found[role] = [(image, _mask_of(image, masks)) for image in of_images]
    if not found:
        raise FileNotFoundError(
            f"Folder '{lists}' has none of the lists train.txt, val.txt and test.txt."
        )
    return found


def _image_of(folder, name):
    if path := _of_stem(folder, name):
        return path
    raise FileNotFoundError(
        f"There is no image '{os.fspath(folder / name)}' that is on the list."
    )


def _named(folder):
    path = folder / CLASSES_FILE
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    names = tuple(line.strip() for line in lines if line.strip())
    if len(names) < 2 or len({*names}) < len(names):
        raise ValueError(
            f"'{path}' must have the names of two or more classes, one a line, each "
            f"once. Received: {', '.join(names) or 'nothing'}"
        )
    return names
