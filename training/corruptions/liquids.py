"""Water and mud on an image: their colors, their shading, and how they cover it."""

import cv2
import numpy as np

from training.corruptions.common import DEPTHS, LUMINANCE, to_bytes

# Red, green and blue.
WATER = np.float32((175, 238, 238))
MUD = np.float32((63, 42, 20))
_SLOPE = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])


def blend(image, color, amount, remaining):
    """Adds a color to what remains of an image; gray images get its luminance.

    Args:
        image: uint8 array of shape `(height, width, channels)`, gray or RGB.
        color: float32 array of red, green and blue, in [0, 255].
        amount: float32 or float64 array of shape `(height, width)`, the weight of the
            color.
        remaining: The weight of the image, an array like `amount`; None for 1.

    Returns:
        uint8 array of the shape of the image.
    """
    if image.shape[2] == 1:
        color = [float(color @ LUMINANCE)]
    layers = cv2.merge([amount * np.float32(value) for value in color])
    if remaining is not None:
        image = cv2.merge([plane * remaining for plane in cv2.split(image)])
    total = cv2.add(image, layers, dtype=DEPTHS[layers.dtype])
    return to_bytes(total.reshape(*amount.shape, -1))


def relief(liquid):
    """Returns the published shading of drops, from their distance to an edge.

    Args:
        liquid: float32 or float64 array of shape `(height, width)`, 0 where it is dry.

    Returns:
        float32 array of that shape.
    """
    # The published conversion does not saturate: 1.1 becomes 24, not 255.
    drops = (liquid * 255).astype(np.int32).astype(np.uint8)
    dry = cv2.bitwise_not(cv2.Canny(drops, 50, 150))
    distance = cv2.distanceTransform(dry, cv2.DIST_L2, 5)
    distance = cv2.blur(cv2.min(distance, 20), (3, 3)).astype(np.uint8)
    shading = cv2.filter2D(cv2.equalizeHist(distance), cv2.CV_8U, _SLOPE)
    return drops * cv2.blur(shading, (3, 3)).astype(np.float32)
