"""Encoded images in the graph of a server, with the pixels of `training.folders`.

The resize of TensorFlow rounds once, Pillow's after each of its two passes, so here it
is called for one side after the other. What remains are single levels, see
`docs/serving.md`.
"""

import tensorflow as tf

from training.corruptions.common import LUMINANCE

# A photograph of 50 megapixels fits; a larger image could exhaust the server.
MAX_PIXELS = 1 << 26


def decode(files, image_shape: tuple[int, int, int]):
    """Decodes JPEG and PNG files, resized by the shorter side, cropped at the center.

    The rule of `training.data.adapt` and of image folders: turned as their EXIF data
    say, transparent pixels become white, bilinear; gray becomes RGB by repetition, and
    RGB becomes gray by its luminance.

    Args:
        files: String tensor of shape `(batch,)`.
        image_shape: Height, width and channels, 1 or 3.

    Returns:
        uint8 tensor of shape `(batch, *image_shape)`. A file that is none fails with
        its number.
    """
    height, width, channels = image_shape

    def read(arguments):
        number, file = arguments
        pixels = _fit(_turned(_pixels(file, number), file), height, width)
        if channels == 1:
            pixels = tf.linalg.matmul(pixels, LUMINANCE[:, None])
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
    shape = tf.cast(tf.shape(pixels)[:2], tf.float64)
    ratio = width / height
    wide, tall = tf.minimum(shape[1], ratio * shape[0]), shape[1] / ratio
    tall = tf.minimum(shape[0], tall)
    pixels = _resize(pixels[None], 2, width, wide)
    return _resize(pixels, 1, height, tall)[0]


def _resize(pixels, axis, size, part):
    """Resizes the central part of an axis, and rounds as Pillow does."""
    shape = tf.shape(pixels)
    scale = tf.cast(size / part, tf.float32)
    start = (tf.cast(shape[axis], tf.float64) - part) / 2
    moved = tf.cast(-start * (size / part), tf.float32)
    one, zero = tf.ones((), tf.float32), tf.zeros((), tf.float32)
    resized = tf.raw_ops.ScaleAndTranslate(
        images=pixels,
        size=[shape[1], size] if axis == 2 else [size, shape[2]],
        scale=[one, scale] if axis == 2 else [scale, one],
        translation=[zero, moved] if axis == 2 else [moved, zero],
        kernel_type="triangle",
        antialias=True,
    )
    return tf.floor(resized + 0.5)


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
