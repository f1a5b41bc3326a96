"""Encoded images in the graph of a server, with the pixels of image folders.

TensorFlow's own resize rounds otherwise than Pillow. Here it is two products of
matrices, in whole numbers as in Pillow.
"""

import tensorflow as tf

from training.corruptions.common import LUMINANCE

# A photograph of 50 megapixels fits; a larger image could exhaust the server.
MAX_PIXELS = 1 << 26


@tf.autograph.experimental.do_not_convert  # It would take seconds for nothing.
def decode(files, image_shape: tuple[int, int, int]):
    """Decodes JPEG and PNG files, resized by the shorter side, cropped at the center.

    The rule of `training.data.to_image_shape` and of image folders: turned as their
    EXIF data say, transparent pixels become white, bilinear; gray becomes RGB by
    repetition, and RGB becomes gray by its luminance.

    Args:
        files: String tensor of shape `(batch,)`.
        image_shape: Height, width and channels, 1 or 3.

    Returns:
        uint8 tensor of shape `(batch, *image_shape)`. A file that is not an
        image fails with its number.
    """
    height, width, channels = image_shape

    def read(arguments):
        number, file = arguments
        pixels = _fit(_turned(_pixels(file, number), file), height, width)
        if channels == 1:
            # A product of matrices may round otherwise, which tells halves apart.
            red, green, blue = (pixels[..., c : c + 1] * LUMINANCE[c] for c in range(3))
            pixels = red + green + blue
        return tf.ensure_shape(tf.cast(tf.round(pixels), tf.uint8), image_shape)

    numbered = tf.range(tf.shape(files)[0]), files
    return tf.map_fn(read, numbered, fn_output_signature=tf.uint8)


def _pixels(file, number):
    """Returns bytes of red, green and blue, of shape `(height, width, 3)`."""
    is_jpeg = tf.strings.substr(file, 0, 3) == b"\xff\xd8\xff"
    is_png = tf.strings.substr(file, 0, 8) == b"\x89PNG\r\n\x1a\n"
    is_png &= tf.strings.length(file) > _PNG_HEADER
    said = "`image_bytes` must be JPEG or PNG files. Received: another at position"
    known = tf.debugging.Assert(is_jpeg | is_png, [said, number])
    with tf.control_dependencies([known]):
        file = tf.identity(file)
    return tf.cond(is_jpeg, lambda: _jpeg(file, number), lambda: _png(file, number))


def _jpeg(file, number):
    height, width, _ = tf.unstack(tf.io.extract_jpeg_shape(file))
    with tf.control_dependencies([_check_size(height, width, number)]):
        return tf.io.decode_jpeg(file, channels=3, dct_method="INTEGER_ACCURATE")


def _png(file, number):
    sides = tf.io.decode_raw(tf.strings.substr(file, 16, 8), tf.int32, False)
    depth = tf.io.decode_raw(tf.strings.substr(file, 24, 1), tf.uint8)[0]
    with tf.control_dependencies([_check_size(sides[1], sides[0], number)]):
        pixels = tf.io.decode_png(file, channels=4)
    colors, opacity = pixels[..., :3], pixels[..., 3:]
    is_opaque = tf.reduce_min(opacity) == 255
    # Of images with less than 8 bits TensorFlow fills in another opacity than 255.
    is_opaque |= tf.cond(
        depth < 8,
        lambda: tf.shape(tf.io.decode_png(file, channels=0))[-1] < 4,
        lambda: False,
    )
    return tf.cond(is_opaque, lambda: colors, lambda: _on_white(colors, opacity))


def _on_white(colors, opacity):
    colors, opacity = (tf.cast(x, tf.float32) for x in (colors, opacity))
    products = (colors - 255) * opacity + (255 * 255 + 128)
    # How Pillow divides by 255: all of this is exact in float32.
    quotients = (tf.floor(products / 2) + 128 * products) / (1 << 15)
    return tf.cast(tf.floor(quotients), tf.uint8)


def _check_size(height, width, number):
    """Refuses a large image before there is memory for it."""
    count = tf.cast(height, tf.float32) * tf.cast(width, tf.float32)
    said = f"`image_bytes` may have {MAX_PIXELS} pixels. Received: more at position"
    return tf.debugging.Assert(count <= MAX_PIXELS, [said, number])


def _turned(pixels, file):
    """Turns and mirrors an image as its EXIF data say."""
    head = tf.strings.substr(file, 0, _HEAD)
    found = tf.strings.regex_replace(head, _ORIENTATION, r"\1\2")
    code = tf.cond(
        tf.strings.length(found) == 1,
        lambda: tf.cast(tf.io.decode_raw(found, tf.uint8)[0], tf.int32),
        lambda: 1,
    )

    def among(*codes):
        return tf.reduce_any(tf.equal(code, codes))

    def when(condition, change):
        return lambda x: tf.cond(condition, lambda: change(x), lambda: x)

    pixels = when(among(5, 6, 7, 8), lambda x: tf.transpose(x, (1, 0, 2)))(pixels)
    pixels = when(among(2, 3, 6, 7), lambda x: tf.reverse(x, [1]))(pixels)
    return when(among(3, 4, 7, 8), lambda x: tf.reverse(x, [0]))(pixels)


def _fit(pixels, height, width):
    """Resizes by the shorter side and crops at the center, as `ImageOps.fit`."""
    shape = _double(tf.shape(pixels)[:2])
    crop_height = tf.minimum(shape[0], shape[1] / (width / height))
    crop_width = tf.minimum(shape[1], (width / height) * shape[0])
    rows = _coefficients(shape[0], crop_height, height)
    columns = _coefficients(shape[1], crop_width, width)

    def resize(channel):
        wide = _rounded(tf.matmul(_double(channel), columns, transpose_b=True))
        return tf.cast(_rounded(tf.matmul(rows, wide)), tf.float32)

    channels = tf.transpose(pixels, (2, 0, 1))
    one_by_one = {"fn_output_signature": tf.float32, "parallel_iterations": 1}
    return tf.transpose(tf.map_fn(resize, channels, **one_by_one), (1, 2, 0))


def _double(x):
    return tf.cast(x, tf.float64)


def _rounded(sums):
    """Divides whole numbers as Pillow does after each of its two passes."""
    return tf.floor(sums / (1 << _PRECISION) + 0.5)


def _coefficients(side, crop, size):
    """Returns the whole numbers by which Pillow weighs the pixels of a central crop.

    A float64 matrix of shape `(size, side)`, in units of `2**-_PRECISION`.
    """
    # Pillow has the crop in single precision.
    start = (side - crop) / 2
    start, stop = (tf.cast(x, tf.float32) for x in (start, start + crop))
    scale, start = _double(stop - start) / size, _double(start)
    reach = tf.maximum(scale, 1)
    center = start + (tf.range(size, dtype=tf.float64)[:, None] + 0.5) * scale
    place = tf.range(side, dtype=tf.float64)
    low, high = tf.floor(center - reach + 0.5), tf.floor(center + reach + 0.5)
    weight = tf.maximum(1 - tf.abs((place - center + 0.5) * (1 / reach)), 0)
    weight = tf.where((place >= low) & (place < high), weight, 0)
    weight /= tf.reduce_sum(weight, axis=1, keepdims=True)
    return tf.floor(weight * (1 << _PRECISION) + 0.5)


# Bits of the fraction of Pillow's coefficients.
_PRECISION = 22
# Bytes of a PNG file before the first chunk of data.
_PNG_HEADER = 33
# Of how many bytes the orientation is looked for: it stands near the beginning.
_HEAD = 4096
# Tag 0x0112 in the first directory, with the bytes in either order.
_ORIENTATION = (
    r"(?s)^\C*?(?:Exif\x00\x00|eXIf)(?:"
    r"MM\x00\*\x00\x00\x00\x08\C\C(?:\C{12}){0,60}?"
    r"\x01\x12\x00\x03\x00\x00\x00\x01\x00(\C)|"
    r"II\*\x00\x08\x00\x00\x00\C\C(?:\C{12}){0,60}?"
    r"\x12\x01\x03\x00\x01\x00\x00\x00(\C))\C*$"
)
