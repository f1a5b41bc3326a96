"""The published program that made CIFAR-10-C, where somebody has a copy of it.

    https://github.com/hendrycks/robustness, ImageNet-C/create_c/make_cifar_c.py

The program corrupts all of CIFAR-10 when it is imported, so its functions alone are
read. What newer libraries have dropped since then is given to them.
"""

import ast
import functools
import io
import pathlib
import shutil
import subprocess
import types

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage

from training.corruptions import common, weather
from training.corruptions.frost import _folder
from training.corruptions.single import generator


class Program:
    """The corruptions of the published program.

    Args:
        path: The file `make_cifar_c.py`.
    """

    def __init__(self, path: pathlib.Path):
        from skimage import color, filters, util

        def gaussian(image, sigma, multichannel=False, **options):
            axis = -1 if multichannel else None
            return filters.gaussian(image, sigma, channel_axis=axis, **options)

        def random_noise(image, mode, amount):
            rng = np.random.default_rng(self._numpy.random.randint(2**31))
            return util.random_noise(image, mode=mode, amount=amount, rng=rng)

        noise = types.SimpleNamespace(random_noise=random_noise)
        self._numpy = _Changed(np, float_=np.float64, fromstring=np.frombuffer)
        self._names = {
            "np": self._numpy,
            "cv2": _Changed(cv2, imread=_photograph),
            "sk": types.SimpleNamespace(color=color, util=noise),
            "gaussian": gaussian,
            "scizoom": ndimage.zoom,
            "map_coordinates": ndimage.map_coordinates,
            "BytesIO": io.BytesIO,
            "PILImage": Image,
            "MotionImage": _MovedImage,
        }
        body = ast.parse(path.read_text()).body
        functions = [node for node in body if isinstance(node, ast.FunctionDef)]
        code = compile(ast.Module(functions, type_ignores=[]), str(path), "exec")
        exec(code, self._names)

    def corrupt(self, image: np.ndarray, name: str, severity: int, random):
        """Returns the bytes that the program writes.

        Args:
            image: uint8 array of shape `(32, 32, 3)`.
            name: One of `CORRUPTIONS`.
            severity: From 1 to 5.
            random: What the program takes for `np.random`.
        """
        self._numpy.random = random
        result = self._names[name](Image.fromarray(image), severity)
        return np.uint8(np.asarray(result))


class _Changed:
    """A module in which some names mean something else."""

    def __init__(self, module, **names):
        vars(self).update(names)
        self._module = module

    def __getattr__(self, name):
        return getattr(self._module, name)


def _photograph(name):
    return cv2.imread(str(_folder() / name))


class _MovedImage:
    """An image that the command of ImageMagick blurs, in place of its library."""

    def __init__(self, blob):
        self._file = blob

    def motion_blur(self, radius, sigma, angle):
        moving = ["-motion-blur", f"{radius}x{sigma}+{angle}"]
        command = [imagemagick(), "png:-", *moving, "png:-"]
        done = subprocess.run(
            command, check=True, input=self._file, capture_output=True
        )
        self._file = done.stdout

    def make_blob(self):
        return self._file


@functools.cache
def imagemagick() -> str | None:
    """Returns the command of ImageMagick, if it is installed."""
    for name in ("magick", "convert-im6.q16", "convert"):
        command = [shutil.which(name) or "true", "-version"]
        said = subprocess.run(command, check=False, capture_output=True, text=True)
        if "ImageMagick" in said.stdout:
            return command[0]
    return None


class OurNumbers:
    """The random numbers of ours, for the calls of the published program.

    With them it must give our pixels, too.

    Args:
        index: Of the image in its data set.
        name: One of `CORRUPTIONS`.
        severity: From 1 to 5.
    """

    def __init__(self, index: int, name: str, severity: int):
        self._rng = generator(0, index, name, severity)
        self._pairs = []
        # Ours draws only the flakes that are enlarged.
        zoom = weather._SNOW[32][severity - 1][2] if name == "snow" else 1
        self._used = common.center(32, zoom)

    def normal(self, size, scale, loc=0.0):
        numbers = np.zeros(size)
        part = numbers[self._used, self._used]
        part[...] = common.normal(part.shape, self._rng) * scale + loc
        return numbers

    def uniform(self, low, high, size=None):
        if size is None or size[0] != size[1]:
            return self._rng.uniform(low, high, size)
        # Fields have single precision.
        return low + (high - low) * self._rng.random(size, np.float32).astype(float)

    def randint(self, low, high=None, size=None):
        if size is None:
            return self._rng.integers(low, high)
        if not self._pairs:  # Of all pixels from the first to the last.
            down, right = self._rng.integers(low, high, (2, 30 * 30), np.int32)
            self._pairs = list(zip(right, down, strict=True))
        return self._pairs.pop()
