"""A picture of images that look alike, beside each other."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from training.data.readers import image_files
from zoo.storage import files

_PAIRS = 24
_COLUMNS = 4  # Of pairs.


def draw(parts: Sequence, findings: Sequence[Mapping], path: pathlib.Path):
    """Draws the first images of each finding beside each other.

    Args:
        parts: The compared splits, each a `training.data.audit.Part`.
        findings: Pairs of similar images, from `training.data.audit.near_copies`.
        path: Path of the PNG file, which is whole or not there.
    """
    from matplotlib.figure import Figure

    chosen = findings[:: -(-len(findings) // _PAIRS)]
    rows = -(-len(chosen) // _COLUMNS)
    figure = Figure(figsize=(2.6 * _COLUMNS, 1.8 * rows), layout="constrained")
    axes = figure.subplots(rows, 2 * _COLUMNS, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    named = {part.name: part for part in parts}
    pairs = (image for finding in chosen for image in finding["images"][:2])
    for axis, image in zip(axes, pairs, strict=False):
        pixels = _pixels(named[image["part"]], image["image"])
        axis.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=255)
        axis.set_title(f"{image['part']}\n{image['image']}: {image['class']}", size=6)
    with files.replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _pixels(part, place) -> np.ndarray:
    if part.files:
        return image_files.read_whole(part.files[place])
    return np.asarray(part.images[place])
