"""Images for tests of augmentations."""

import numpy as np
from PIL import Image


def smooth_images(count, size):
    """Returns smooth images, some of few values or of one."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(20, 230, (count, 4, 4, 3)).astype("uint8")
    shape = size[1], size[0]
    made = [Image.fromarray(x).resize(shape, Image.Resampling.BICUBIC) for x in coarse]
    result = np.stack([np.asarray(x) for x in made])
    result[0] = 77
    result[1] = result[1] // 64 * 64
    result[2, ..., 0] = 0
    return result
