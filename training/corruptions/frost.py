"""Frost on the window, from textures of this project or the published photographs."""

import functools
import hashlib
import importlib.metadata
import importlib.util
import math
import pathlib

import cv2
import numpy as np

from training.corruptions.common import LUMINANCE, constants, nearest_side

# (weight of the image, weight of the frost)
_FROST = {
    32: ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    224: ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
}
# The name by which packages with the published photographs are imported.
_PACKAGE = "imagecorruptions"
# The published code draws from the first five of six files; the second and the third
# show the same picture.
_FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
# What the textures of this project imitate of these files: height, width, mean of the
# colors, standard deviation of the luminance.
_LIKE = (
    (600, 900, (78, 149, 166), 18),
    (315, 560, (201, 205, 214), 22),
    (315, 560, (201, 205, 214), 22),
    (350, 527, (138, 153, 165), 29),
    (495, 660, (112, 123, 135), 43),
)
# Standard deviations of the octaves of a texture, from the finest on.
_OCTAVES = (1, 1, 0.9, 0.8, 0.65, 0.45, 0.5)
# The published size of textures in images of 32 pixels.
_SMALL = 0.2


def frost(image, severity, rng):
    """Lays a random crop of a texture of frost over the image."""
    weights = constants(_FROST, image, severity)
    scale = _SMALL if nearest_side(image) == 32 else 1.0
    texture = _fitting(frost_source(), int(rng.integers(5)), scale, *image.shape)
    height, width = image.shape[:2]
    top = rng.integers(texture.shape[0] - height)
    left = rng.integers(texture.shape[1] - width)
    crop = texture[top : top + height, left : left + width]
    # Adding -0.499 turns the rounding of OpenCV into truncation.
    frosted = cv2.addWeighted(image, weights[0], crop, weights[1], -0.499)
    return frosted.reshape(image.shape)


def frost_source() -> str:
    """Returns which textures `frost` uses.

    Returns:
        `"procedural"` for the textures of this project. Where a package is installed
        that is imported as `imagecorruptions` and ships the published photographs, its
        name and version, and the first digits of the SHA-256 of these photographs.
    """
    folder = _folder()
    return _described(folder) if folder else "procedural"


@functools.cache
def _folder():
    # Finding the package does not import it, which fails on new versions of SciPy.
    spec = importlib.util.find_spec(_PACKAGE)
    places = spec.submodule_search_locations or () if spec else ()
    folders = [pathlib.Path(place) / "frost" for place in places]
    whole = (f for f in folders if all((f / name).is_file() for name in _FILES))
    return next(whole, None)


@functools.cache
def _described(folder):
    # Packages of other names are imported by this one, too.
    names = importlib.metadata.packages_distributions().get(_PACKAGE, ())
    known = [f"{name} {importlib.metadata.version(name)}" for name in {*names}]
    package = " or ".join(sorted(known)) or f"{_PACKAGE} of unknown version"
    digest = hashlib.sha256(b"".join((folder / n).read_bytes() for n in _FILES))
    return f"{package} (photographs {digest.hexdigest()[:12]})"


@functools.lru_cache(maxsize=16)
def _fitting(source, index, scale, height, width, channels):
    """Returns a texture that is larger than an image of that shape."""
    texture = textures(source)[index]
    # Images larger than the texture get an enlarged one, with a tenth to spare.
    tall, wide = texture.shape[0] * scale, texture.shape[1] * scale
    if height >= int(tall) or width >= int(wide):
        scale *= 1.1 * max((height + 1) / tall, (width + 1) / wide)
    if scale == _SMALL and source != "procedural":
        # As published, every fifth pixel, even if the sides are no multiples of five.
        texture = cv2.resize(texture, None, fx=scale, fy=scale)
    elif scale != 1:
        size = [math.ceil(scale * side) for side in texture.shape[1::-1]]
        if scale == _SMALL:
            size = [round(scale * side) for side in texture.shape[1::-1]]
        texture = cv2.resize(texture, size)
    if channels == 1:
        texture = np.uint8(np.rint(texture @ LUMINANCE))[..., None]
    return np.ascontiguousarray(texture)


@functools.cache
def textures(source: str) -> tuple[np.ndarray, ...]:
    """Returns the five textures of a source that `frost_source` names."""
    if source == "procedural":
        return tuple(_grow(index, *like) for index, like in enumerate(_LIKE))
    files = [cv2.imread(str(_folder() / name)) for name in _FILES]
    return tuple(cv2.cvtColor(file, cv2.COLOR_BGR2RGB) for file in files)


def _grow(index, height, width, color, spread):
    """Draws feathers of ice all over a pane, lit from the upper left."""
    rng = np.random.default_rng((index, 600, 900))
    ice = np.zeros((height, width), np.float32)
    for top in range(0, height + 20, 20):
        for left in range(0, width + 20, 20):
            root = (left, top) + rng.uniform(-20, 20, 2)
            length = 10 + rng.exponential(30)
            _feather(ice, root, rng.uniform(0, 2 * math.pi), length, rng)
    ice = ice - 0.7 * np.roll(ice, (1, 1), (0, 1))
    ice += 0.1 * rng.standard_normal(ice.shape, np.float32)
    cloud = rng.standard_normal(ice.shape, np.float32)
    ice = _balanced(ice + 40 * cv2.GaussianBlur(cloud, (0, 0), 48))
    ice = (ice - ice.mean()) / ice.std() * spread
    return np.uint8(np.clip(ice[..., None] + np.float32(color), 0, 255))


def _feather(canvas, root, angle, length, rng):
    """Draws a bent needle with shorter ones on both of its sides."""
    shade, lean = rng.uniform(0.3, 1), rng.uniform(0.4, 1.0)
    bend = rng.normal(0, 0.01)
    while length > 0:
        step = rng.uniform(1.5, 5)
        root = _line(canvas, root, angle, step, shade)
        for side in (-1, 1):
            turned = angle + side * rng.normal(lean, 0.1)
            reach = rng.uniform(0.2, 0.6) * length
            _line(canvas, root, turned, reach, shade * rng.uniform(0.3, 1))
        length -= step
        angle += bend * step


def _line(canvas, start, angle, length, shade):
    """Draws a line and returns its end."""
    end = start + length * np.array((math.cos(angle), math.sin(angle)))
    # OpenCV takes eighths of pixels: three bits after the point.
    corners = [tuple(int(8 * value) for value in point) for point in (start, end)]
    cv2.line(canvas, *corners, shade, 1, cv2.LINE_AA, 3)
    return end


def _balanced(ice):
    """Gives every octave about the share that it has in the photographs."""
    total = np.zeros_like(ice)
    for octave, share in enumerate(_OCTAVES):
        blurred = cv2.GaussianBlur(ice, (0, 0), 0.6 * 2**octave)
        total += share * (ice - blurred) / (ice - blurred).std()
        ice = blurred
    return total
