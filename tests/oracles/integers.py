"""Numbers as integers hold them, in float64."""

import numpy as np


def rounded(x, low, high, bits=8):
    """Rounds numbers to the `2**bits` of a range that has zero among them.

    Returns:
        The numbers, the step between two of them, and the lowest and the highest.
    """
    step = (high - low) / (2**bits - 1)
    zero = np.rint(-low / step)
    number = np.clip(np.floor(x / step + 0.5), -zero, 2**bits - 1 - zero)
    ends = -zero * step, (2**bits - 1 - zero) * step
    return number * step, step, ends
