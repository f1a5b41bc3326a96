"""Moments by which random images are compared."""

import numpy as np


def features(image, corrupted):
    """Returns moments of the difference: means, powers, and neighbors."""
    difference = corrupted.astype(float) - image
    products = [
        difference[:-lag] * difference[lag:]
        if axis == 0
        else difference[:, :-lag] * difference[:, lag:]
        for axis in (0, 1)
        for lag in (1, 4)
    ]
    quarters = [
        half
        for rows in np.array_split(difference, 2)
        for half in np.array_split(rows, 2, axis=1)
    ]
    return np.array(
        [
            *difference.mean(axis=(0, 1)),
            *(difference**2).mean(axis=(0, 1)),
            *(quarter.mean() for quarter in quarters),
            *(product.mean() for product in products),
            corrupted.min(),
            corrupted.max(),
        ]
    )
