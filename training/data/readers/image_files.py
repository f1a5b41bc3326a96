"""Image files as bytes of red, green and blue.

What a server decodes by `training.export.encoded_images` in its graph has the same
pixels, see `tests/training/data/readers/test_decoders.py`.
"""

import pathlib
from concurrent import futures

import numpy as np

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)
# By the number of channels, what Pillow calls 8 bits of each.
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def decoded(decode, index, shape) -> np.ndarray:
    """Decodes the images of an index as NumPy understands it, in threads.

    Args:
        decode: A function of the number of an image.
        index: A number, a slice, or an array of numbers.
        shape: Shape of all images together.

    Returns:
        One image, or an array of them.
    """
    if isinstance(index, slice):
        index = range(*index.indices(shape[0]))
    if np.ndim(index) == 0:
        return decode(index)
    if not len(index):
        return np.empty((0, *shape[1:]), np.uint8)
    with futures.ThreadPoolExecutor() as pool:
        return np.stack(list(pool.map(decode, index)))


def read_image(path: pathlib.Path, image_size: tuple[int, int]) -> np.ndarray:
    """Reads an image as RGB, resized by its shorter side and cropped at the center.

    Turned as its EXIF data say; transparent pixels become white; of 16 bits the upper 8
    are used; of an animation or a file of several pages the first image.

    Args:
        path: The file.
        image_size: Height and width.

    Returns:
        uint8 array of shape `(*image_size, 3)`.

    Raises:
        ValueError: If the file is not an image, is damaged, has more pixels than Pillow
            takes for safe, or has 32 bits a pixel, whose range nothing says.
    """
    return decode_image(path, image_size, path)


def decode_image(file, image_size: tuple[int, int], name) -> np.ndarray:
    """Does what `read_image` does, for a path or an open file.

    Args:
        file: What `PIL.Image.open` takes.
        image_size: Height and width.
        name: What an error calls the image.
    """
    return np.asarray(fit(_on_white(file, name), image_size))


def read_whole(path: pathlib.Path) -> np.ndarray:
    """Returns what `read_image` does, in the size of the file."""
    return np.asarray(_on_white(path, path))


def _on_white(file, name):
    """Returns an RGB image of Pillow."""
    from PIL import Image

    image = _opened(file, name, lambda image: _upright(image).convert("RGBA"))
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def read_pixels(file, channels: int, name) -> np.ndarray:
    """Reads an image in its own size, not turned, with `channels` channels."""
    mode = _MODES[channels]

    def read(image):
        return np.asarray(_eight_bits(image, _is_negative(image)).convert(mode))

    return _opened(file, name, read)


def read_mask(path: pathlib.Path) -> np.ndarray:
    """Reads the number of each pixel of a mask, in the size of the file.

    That is its gray value, of 8 or 16 bits, or its place in a palette, whatever colors
    that has.

    Args:
        path: The file.

    Returns:
        Integer array of shape `(height, width)`.

    Raises:
        ValueError: If the file is not an image, is damaged, or has colors in place of
            numbers.
    """

    def read(image):
        if image.mode not in _NUMBERS and not image.mode.startswith("I;16"):
            raise ValueError(
                f"it has colors (mode {image.mode}), and a mask has the number of a "
                "class for each pixel: a gray image, or one with a palette. Convert "
                "colors to numbers first"
            )
        return np.asarray(image)

    return _opened(path, path, read)


def cut(numbers: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Resizes and crops numbers as `fit` does an image, by the nearest pixel.

    Args:
        numbers: Integer array of shape `(height, width)`.
        image_size: Height and width.
    """
    height, width = numbers.shape
    scale = min(height / image_size[0], width / image_size[1])
    rows, columns = (
        ((np.arange(new) + 0.5) * scale + (old - scale * new) / 2).astype("intp")
        for old, new in zip((height, width), image_size, strict=True)
    )
    return numbers[rows[:, None], columns]


def read_size(path: pathlib.Path) -> tuple[int, int]:
    """Returns height and width of an image once it is upright; reads its header alone.

    Raises:
        ValueError: If the file is not an image.
    """
    return _opened(path, path, _size)


def fit(image, image_size: tuple[int, int]):
    """Resizes a Pillow image by its shorter side and crops it at the center.

    Bilinear; when an image becomes smaller, over all pixels that the new one covers.
    The result is that of `PIL.ImageOps.fit`, whose versions differ in which direction
    they resize first, and by one level then; here it is always the width.
    """
    from PIL import Image

    height, width = image_size
    # Of the crop, in floating point as there.
    wide = min(image.width, width / height * image.height)
    high = image.height if wide < image.width else image.width / (width / height)
    left, top = (image.width - wide) * 0.5, (image.height - high) * 0.5
    method = Image.Resampling.BILINEAR
    box = left, 0, left + wide, image.height
    image = image.resize((width, image.height), method, box)
    return image.resize((width, height), method, (0, top, width, top + high))


def _opened(file, name, read):
    from PIL import Image

    try:
        with Image.open(file) as opened:
            return read(opened)
    # Pillow's readers of damaged files raise any of these, and refuse large images.
    except (
        *(OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError),
        Image.DecompressionBombError,
    ) as error:
        raise ValueError(f"Cannot read the image '{name}': {error}") from error


def _size(image):
    width, height = image.size
    turned = image.getexif().get(_ORIENTATION, 1) in _TURNED
    return (width, height) if turned else (height, width)


def _upright(image):
    """Returns an image turned as its EXIF data say, with 8 bits a channel."""
    from PIL import ImageOps

    turned = ImageOps.exif_transpose(image)
    turned.format = image.format
    return _eight_bits(turned, _is_negative(image))


def _is_negative(image) -> bool:
    """Returns whether 0 is white in a TIFF file, which Pillow heeds up to 8 bits."""
    return getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0


def _eight_bits(image, is_negative: bool = False):
    """Returns an image of which the upper 8 of 16 bits are taken."""
    from PIL import Image

    if image.mode not in ("F", "I") and not image.mode.startswith("I;16"):
        return image
    if image.mode == "F" or (image.mode == "I" and image.format not in _SIXTEEN):
        raise ValueError(
            f"it has 32 bits a pixel (mode {image.mode}), and nothing says which range "
            "they have; convert it to 8 or 16 bits"
        )
    values = np.asarray(image)
    values = 65535 - values if is_negative else values
    gray = Image.fromarray((values >> 8).astype(np.uint8))
    if isinstance(clear := image.info.get("transparency"), int):
        gray.putalpha(Image.fromarray(np.uint8(255) * (values != clear)))
    return gray


# What Pillow calls images of numbers: gray, with a palette, of one bit, of 32 bits.
_NUMBERS = ("L", "P", "1", "I")
# Formats whose gray images of 16 bits have 32 in Pillow.
_SIXTEEN = ("PNG", "PPM")
_ORIENTATION = 0x0112  # The tag of EXIF.
_PHOTOMETRIC = 262  # That of TIFF.
_TURNED = (5, 6, 7, 8)
