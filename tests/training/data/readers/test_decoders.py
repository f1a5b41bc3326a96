"""One file has the same pixels in a folder, on a server and from a client."""

import functools
import io
import struct
import zlib

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.helpers import model_server
from training.data.readers import folders, image_files
from training.export import encoded_images

SIZE = (24, 32)
RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, (40, 56, 4)).astype("uint8")
WAVES = np.add.outer(np.sin(np.arange(40) / 7), np.cos(np.arange(56) / 9))
DEEP = np.round((WAVES + 2) / 4 * 65535).astype("uint16")


def save(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(kind, code):
    exif = Image.Exif()
    exif[0x0112] = code
    return save(Image.fromarray(COLORS[..., :3]), kind, exif=exif)


def deep_png(pixels, kind, clear=b""):
    """Writes 16 bits a channel, which Pillow does of gray alone, by the standard."""

    def chunk(name, content):
        body = name + content
        length = struct.pack(">I", len(content))
        return length + body + struct.pack(">I", zlib.crc32(body))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"tRNS", clear) if clear else b"")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def of(mode):
    kind = "RGBA" if mode in ("RGBA", "LA") else "RGB"
    return Image.fromarray(COLORS[..., : len(kind)]).convert(mode)


DEEP_COLORS = RNG.integers(0, 65536, (40, 56, 4))
FILES = {
    **{f"{mode}.png": save(of(mode)) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")},
    "clear_palette.png": save(of("P"), transparency=3),
    "clear_gray.png": save(of("L"), transparency=100),
    "gray16.png": save(Image.fromarray(DEEP)),
    "gray16_clear.png": deep_png(DEEP, 0, struct.pack(">H", int(DEEP[3, 4]))),
    "gray16_opacity.png": deep_png(DEEP_COLORS[..., :2], 4),
    "rgb16.png": deep_png(DEEP_COLORS[..., :3], 2),
    "rgba16.png": deep_png(DEEP_COLORS, 6),
    "turned.png": turned("PNG", 6),
    "pixel.png": save(Image.new("RGB", (1, 1), (9, 99, 199))),
    "line.png": save(of("RGB").crop((0, 0, 56, 1))),
    "column.PNG": save(of("RGB").crop((0, 0, 1, 40))),
    "L.jpg": save(of("L"), "JPEG"),
    "RGB.jpeg": save(of("RGB"), "JPEG"),
    "CMYK.jpg": save(of("CMYK"), "JPEG"),
    "progressive.JPG": save(of("RGB"), "JPEG", progressive=True),
    **{f"turned{n}.jpg": turned("JPEG", n) for n in range(2, 9)},
}
OTHERS = {
    "RGB.tif": save(of("RGB"), "TIFF"),
    "gray16.TIFF": save(Image.fromarray(DEEP), "TIFF"),
    "RGB.webp": save(of("RGB"), "WEBP", lossless=True),
    "RGB.bmp": save(of("RGB"), "BMP"),
    "P.gif": save(of("P"), "GIF"),
    "moving.gif": save(
        of("P"), "GIF", save_all=True, append_images=[Image.new("P", (56, 40))]
    ),
    "RGB.ppm": save(of("RGB"), "PPM"),
    "gray16.pgm": save(Image.fromarray(DEEP), "PPM"),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """What a folder gives of each file."""
    root = tmp_path_factory.mktemp("files")
    files = {**FILES, **OTHERS}
    for name, content in files.items():
        (root / "class").mkdir(exist_ok=True)
        (root / "class" / name).write_bytes(content)
    found, _, _ = folders.list_classes(root, SIZE)
    return dict(zip((path.name for path in found.paths), found[:], strict=True))


@functools.cache
def graph():
    spec = [tf.TensorSpec((None,), tf.string, name="image_bytes")]
    shape = (*SIZE, 3)
    return tf.function(
        lambda image_bytes: {"pixels": encoded_images.decode(image_bytes, shape)}, spec
    )


@pytest.fixture(scope="module")
def clients(tmp_path_factory):
    """Both examples of clients, which ask a server for the pixels of files."""
    root = tmp_path_factory.mktemp("served")
    module = tf.Module()
    module.decode = graph()
    signatures = {"serve_encoded": module.decode}
    tf.saved_model.save(module, str(root / "pixels" / "1"), signatures)
    extra = root / "pixels" / "1" / "assets.extra"
    extra.mkdir()
    (extra / "tf_serving_warmup_requests").touch()
    (root / "models.config").write_text(
        'model_config_list { config { name: "pixels" base_path: "/models/pixels" '
        'model_platform: "tensorflow" } }'
    )
    rest, remote = model_server.client("rest"), model_server.client("grpc")

    def by_rest(files):
        encoded_files = [rest.encode(file) for file in files]
        inputs = {"image_bytes": encoded_files}
        return rest.predict(addresses[1], "pixels", inputs, "serve_encoded")["pixels"]

    def by_grpc(files):
        inputs = {"image_bytes": np.array(files, object)}
        return remote.predict(channel, "pixels", inputs, "serve_encoded")["pixels"]

    with (
        model_server.serving(root) as addresses,
        grpc.insecure_channel(addresses[0]) as channel,
    ):
        yield by_rest, by_grpc


def test_folder_server_and_clients_see_the_same_pixels(images, clients):
    names, files = list(FILES), list(FILES.values())
    assert len(names) >= 24
    served = graph()(tf.constant(files))["pixels"].numpy()
    answers = [served, *(np.array(ask(files)) for ask in clients)]
    for pixels in answers:
        for name, image in zip(names, pixels, strict=True):
            np.testing.assert_array_equal(image, images[name], name)


@pytest.mark.parametrize("name", OTHERS)
def test_a_server_refuses_what_only_folders_read(name):
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be JPEG or PNG"):
        graph()(tf.constant([FILES["RGB.png"], OTHERS[name]]))


@pytest.mark.parametrize(
    "name, same",
    [
        ("RGB.tif", "RGB.png"),
        ("gray16.TIFF", "gray16.png"),
        ("gray16.pgm", "gray16.png"),
        ("RGB.webp", "RGB.png"),
        ("RGB.bmp", "RGB.png"),
        ("RGB.ppm", "RGB.png"),
        ("P.gif", "P.png"),
        ("moving.gif", "P.png"),
    ],
)
def test_formats_without_loss_have_the_pixels_of_a_png(images, name, same):
    np.testing.assert_array_equal(images[name], images[same])


def test_of_16_bits_the_upper_8_are_used():
    upper = image_files.decode_image(io.BytesIO(FILES["gray16.png"]), (40, 56), "x")
    np.testing.assert_array_equal(upper, np.repeat((DEEP // 256)[..., None], 3, 2))
    colors = image_files.decode_image(io.BytesIO(FILES["rgb16.png"]), (40, 56), "x")
    np.testing.assert_array_equal(colors, DEEP_COLORS[..., :3] // 256)


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_32_bits_without_a_range_are_refused(dtype):
    file = io.BytesIO(save(Image.fromarray(WAVES.astype(dtype)), "TIFF"))
    with pytest.raises(ValueError, match="'x'.*32 bits a pixel.*convert it"):
        image_files.decode_image(file, SIZE, "x")


@pytest.mark.parametrize("code", range(1, 9))
def test_the_size_is_that_of_the_upright_image(code, tmp_path):
    path = tmp_path / "turned.jpg"
    path.write_bytes(turned("JPEG", code))
    size = image_files.read_size(path)
    assert size == ((40, 56) if code < 5 else (56, 40))


def test_pixels_of_records_have_the_channels_that_are_asked_for():
    read = image_files.read_pixels
    gray = read(io.BytesIO(FILES["gray16.png"]), 1, "x")
    np.testing.assert_array_equal(gray, DEEP // 256)
    palette = read(io.BytesIO(FILES["P.png"]), 3, "x")
    np.testing.assert_array_equal(palette, np.asarray(of("P").convert("RGB")))


def test_a_negative_has_its_colors_whatever_its_bits():
    tifffile = pytest.importorskip("tifffile")
    for deep in (DEEP, (DEEP // 256).astype("uint8")):
        file = io.BytesIO()
        most = np.iinfo(deep.dtype).max
        tifffile.imwrite(file, most - deep, photometric="miniswhite")
        upper = image_files.decode_image(file, (40, 56), "x")
        np.testing.assert_array_equal(upper[..., 0], DEEP // 256)
