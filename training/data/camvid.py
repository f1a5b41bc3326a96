"""CamVid: frames of drives through a town, with eleven classes of pixels.

The validation set is no independent one: its frames, and 62 of the test set, come from
drives of which other frames are in the training set.

Reference:
    Semantic Object Classes in Video: A High-Definition Ground Truth Database (Brostow
    et al., 2009), in the split of SegNet (https://arxiv.org/abs/1511.00561).
"""

import pathlib

from training.data.image_data import ImageData
from training.data.readers import mask_folders

CLASSES = (
    *("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car"),
    *("pedestrian", "bicyclist"),
)
FOLDER = "CamVid"


def load(split: str, data_dir: str | None, image_size) -> ImageData:
    """Loads CamVid from files in the layout of the SegNet tutorial.

    Args:
        split: `"train"`, `"validation"` or `"test"`, as published.
        data_dir: The folder that holds `train/`, `trainannot/` and so on, or the one in
            which it is called `CamVid`.
        image_size: Height and width are those of the files.

    Raises:
        FileNotFoundError: If they are not there.
    """
    for folder in _places(data_dir):
        if mask_folders.is_one(folder):
            layout = mask_folders.find(folder, CLASSES)
            size = mask_folders.own_size(layout) or image_size
            return mask_folders.load(layout, split, size, "camvid")
    raise FileNotFoundError(
        "CamVid is read from files: give the folder that holds train/, trainannot/, "
        f"val/, valannot/, test/ and testannot/ as data_dir. Received: data_dir="
        f"{data_dir}"
    )


def _places(data_dir):
    if not data_dir:
        return []
    given = pathlib.Path(data_dir)
    return [given, given / FOLDER, given / FOLDER.lower()]
