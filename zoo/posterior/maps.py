"""Pixels as examples: what is for the features of an image, for those of each pixel.

A function of rows, one for each image, is a function of maps too: each pixel is a row.
"""

import math
from collections.abc import Callable, Iterator

import keras
import numpy as np
from keras import ops

from zoo import arrays

MAP_PIXELS = 4096  # Of a map, where some of its pixels tell enough.
_BYTES = 2**26  # Of the features of maps that are in memory at once.
_ROWS = 2**16  # Pixels that are given on at once.


def by_row(
    function: Callable, inputs, map_shape: tuple[int, ...], offset=0, axis: int = 0
):
    """Returns what a function of rows returns for images, or for all of their pixels.

    The pixels of a map are taken line by line, so that it takes the memory of a line.

    Args:
        function: From a tensor of shape `(rows, ...)` and the number of the first row
            to tensors with an axis of the rows, or a mapping of such ones.
        inputs: Tensor of shape `(batch, ...)`, or of maps `(batch, *map_shape,
            num_features)`.
        map_shape: Height and width of maps; empty for images.
        offset: The number of the first image.
        axis: That of the rows in what the function returns.

    Returns:
        The same, in which the axis of the rows has become that of the images, and
        height and width of maps follow it.
    """
    if not map_shape:
        return function(inputs, offset)
    height, width = map_shape
    lines = ops.reshape(inputs, (-1, width, inputs.shape[-1]))
    count = ops.shape(lines)[0]
    numbers = ops.arange(count, dtype="int32") + ops.cast(offset, "int32") * height
    found = ops.map(lambda line: function(*line), (lines, numbers * width))

    def unfolded(x):
        x = ops.moveaxis(x, 0, axis)
        sides = ops.shape(x)
        return ops.reshape(x, (*sides[:axis], -1, height, *sides[axis + 1 :]))

    return keras.tree.map_structure(unfolded, found)


def at_once(map_shape: tuple[int, ...], num_features: int, count: int) -> int:
    """Returns how many of some images have their features in memory at once."""
    if not map_shape:
        return count
    return max(1, _BYTES // (4 * math.prod(map_shape) * num_features))


def examples(
    features: np.ndarray, labels: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields features and labels of images, or of the labeled pixels of maps.

    Args:
        features: Array of shape `(batch, ...)`, or `(batch, height, width,
            num_features)`.
        labels: Integer array of shape `(batch,)`, or `(batch, height, width)`.

    Yields:
        Both as they are; or of maps some rows after others, of shape `(rows,
        num_features)`, and their labels.
    """
    if labels.ndim == 1:
        yield features, labels
        return
    features, labels = as_rows(features, labels)
    for start in range(0, len(labels), _ROWS):
        own = labels[start : start + _ROWS]
        known = own != arrays.UNLABELED
        if known.any():
            yield features[start : start + _ROWS][known], own[known]


def as_rows(values: np.ndarray, labels: np.ndarray) -> tuple:
    """Returns values and labels of images as they are, and of pixels as rows."""
    if labels.ndim == 1:
        return values, labels
    return values.reshape(-1, values.shape[-1]), labels.reshape(-1)


def some_pixels(values: np.ndarray, labels: np.ndarray) -> tuple:
    """Returns values and labels of some pixels of each map, which lie evenly spread.

    Neighbors say little that is new, and all pixels of all images take memory.

    Args:
        values: Array of shape `(examples, ..., num_values)`.
        labels: Integer array of shape `(examples, ...)`.

    Returns:
        Both; of maps with at most `MAP_PIXELS` pixels each, and of one column.
    """
    labels = np.asarray(labels)
    if labels.ndim == 1:
        return values, labels
    count, height, width, num_values = values.shape
    step = -(-height * width // MAP_PIXELS)
    rows = np.s_[:, step // 2 :: step, None]
    values = values.reshape(count, -1, num_values)[rows]
    return values, labels.reshape(count, -1)[rows]
