"""Images that the graph of a server decodes have the pixels of image folders."""

import functools
import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from training.data import resize
from training.data.image_data import ImageData
from training.data.readers import image_files
from training.export import encoded_images

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (90, 123, 4)).astype("uint8")
WAVES = np.sin(np.add.outer(np.arange(240) / 17, np.arange(320) / 23))
PHOTO = np.stack([127 * (1 + WAVES**k) for k in (1, 2, 3)], -1).astype("uint8")


def write(pixels, kind="PNG", mode=None, **options):
    image, file = Image.fromarray(pixels), io.BytesIO()
    (image.convert(mode) if mode else image).save(file, kind, **options)
    return file.getvalue()


@functools.cache
def graph(shape):
    files = tf.TensorSpec((None,), tf.string)
    return tf.function(lambda x: encoded_images.decode(x, shape), [files])


def read(*files, shape):
    return graph(shape)(tf.constant([*files], tf.string)).numpy()


def expected(file, shape):
    """Decodes by Pillow, as image folders and data sets in another shape do."""
    image = image_files.decode_image(io.BytesIO(file), shape[:2], "file")
    data = ImageData("x", image[None], np.zeros(1, "int32"), ("x",))
    return np.asarray(resize.to_image_shape(data, shape).images[0])


MORE = (64, 96, 3), (300, 200, 3)


def check_equal(files, shape):
    decoded = read(*files, shape=shape)
    assert decoded.dtype == np.uint8
    for number, (image, file) in enumerate(zip(decoded, files, strict=True)):
        np.testing.assert_array_equal(image, expected(file, shape), str(number))


@pytest.mark.parametrize(
    "shape",
    [
        *((32, 32, 3), (28, 28, 1), (90, 123, 3)),
        *(pytest.param(shape, marks=pytest.mark.slow) for shape in MORE),
    ],
)
def test_every_kind_of_file_is_resized_as_by_pillow(shape):
    noise = NOISE[..., :3]
    files = [
        *(write(noise), write(PHOTO), write(noise[:20, :9]), write(NOISE[1:2])),
        *(write(noise, "JPEG"), write(PHOTO, "JPEG", quality=70)),
        write(PHOTO, "JPEG", progressive=True, subsampling=0),
        *(write(PHOTO, mode=mode) for mode in ("L", "P", "1", "LA")),
        *(write(PHOTO, "JPEG", mode=mode) for mode in ("L", "CMYK")),
        *(write(NOISE), write(NOISE, mode="LA")),
    ]
    check_equal(files, shape)


def test_an_image_of_that_size_stays_as_it_is():
    shape = (90, 123, 3)
    files = [write(NOISE[..., :3]), write(NOISE[..., 0]), write(NOISE, mode="L")]
    check_equal(files, shape)
    np.testing.assert_array_equal(read(files[0], shape=shape)[0], NOISE[..., :3])
    gray = read(files[1], shape=(90, 123, 1))[0]
    np.testing.assert_array_equal(gray, NOISE[..., :1])


def test_tall_images_have_the_same_pixels_whatever_the_version_of_pillow():
    """Pillow 13 resizes the height of tall images first, and rounds in between."""
    tall = np.swapaxes(PHOTO, 0, 1)[:, :150]
    check_equal([write(tall), write(tall[:, :7])], (32, 32, 3))
    check_equal([write(tall)], (90, 20, 3))


def test_halves_of_gray_are_rounded_as_in_folders():
    colors = np.stack(np.meshgrid(*3 * [np.arange(256)]), axis=-1).reshape(-1, 3)
    halves = colors[colors @ (299, 587, 114) % 1000 == 500]
    pixels = halves[: 129 * 130].reshape(129, 130, 3).astype("uint8")
    check_equal([write(pixels)], (129, 130, 1))


def palette(depth, opacity=b""):
    """Returns a file of `2**depth` colors in a row, some of them transparent."""

    def chunk(kind, content):
        body = kind + content
        return (
            struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
        )

    count = 2**depth
    bits = np.unpackbits(np.arange(count, dtype=np.uint8)[:, None], axis=1)
    row = np.packbits(bits[:, 8 - depth :].ravel()).tobytes()
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", count, 1, depth, 3, 0, 0, 0))
        + chunk(b"PLTE", bytes(range(3 * count)))
        + (chunk(b"tRNS", opacity) if opacity else b"")
        + chunk(b"IDAT", zlib.compress(b"\0" + row))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_images_of_few_bits_keep_their_opacity(depth):
    files = [palette(depth), palette(depth, bytes([0, 100]))]
    check_equal(files, (1, 2**depth, 3))


def test_photographs_are_turned_as_their_cameras_say():
    shape, files = (10, 10, 3), []
    for code in range(1, 9):
        exif = Image.Exif()
        exif[0x010F], exif[0x0112] = "A maker", code
        for kind in ("PNG", "JPEG"):
            files.append(write(PHOTO[:88:4, :200:10], kind, exif=exif))
        # The same in the other order of bytes.
        tags = struct.pack("<HHHII", 1, 0x0112, 3, 1, code) + bytes(4)
        other = b"Exif\x00\x00II*\x00" + struct.pack("<I", 8) + tags
        files.append(write(PHOTO[:88:4, :200:10], "JPEG", exif=other))
    check_equal(files, shape)
    images = read(*files[::3], shape=shape)
    assert len(np.unique(images, axis=0)) == 8


HEADER = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 1 << 15, 1 << 15)


@pytest.mark.parametrize(
    "file, message",
    [
        (b"", r"must be JPEG or PNG files[\s\S]*\[1\]"),
        (b"GIF89a and more", r"must be JPEG or PNG files[\s\S]*\[1\]"),
        (HEADER[:20], r"must be JPEG or PNG files[\s\S]*\[1\]"),
        (HEADER + b"\x08\x02" + bytes(40), r"may have 67108864 pixels[\s\S]*\[1\]"),
        (write(PHOTO)[:500], "Invalid PNG data"),
        (write(PHOTO, "JPEG")[:900], "Invalid JPEG data"),
        (write(PHOTO, "JPEG")[:30], "Invalid JPEG data"),
    ],
)
def test_broken_files_are_refused(file, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        read(write(PHOTO), file, shape=(8, 8, 3))


def test_no_files_are_no_images():
    assert read(shape=(8, 8, 1)).shape == (0, 8, 8, 1)
