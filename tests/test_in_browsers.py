"""Exports in headless Chromium and Node, each cell of the table of docs/device.md."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.helpers import browser
from tests.helpers.commands import ROOT
from tests.web import cases, runtimes, table
from training.data.readers import image_files
from training.data.resize import _of_shape

missing = runtimes.missing()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing), reason=missing)]
CELLS = [
    pytest.param(runtime, form, id=f"{runtime}, {form}")
    for runtime in table.RUNTIMES
    for form in cases.FORMS
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    path = cases.make(folder / "cases", runtimes.NODE_MODULES.resolve())
    return path, runtimes.run_all(path, folder / "profile")


@pytest.mark.parametrize("runtime, form", CELLS)
def test_a_runtime_is_right_or_says_why_it_refuses(made, runtime, form):
    path, found = made
    if runtime.startswith("onnx") and not cases.has_onnx():
        pytest.skip("needs `pip install smoothzoo[onnx]`")
    if runtime not in found:
        pytest.skip("this Chromium has no WebGPU")
    result, limit = found[runtime][form], table.expected(runtime, form)
    if isinstance(limit, str):
        assert re.search(limit, result["refused"])
    else:
        assert "refused" not in result, result
        wanted = cases.expected(path, runtime, form)
        assert table.difference(result, wanted) <= limit


def test_the_document_has_what_is_known():
    page = (ROOT / "docs" / "device.md").read_text()
    lines = page.partition(table.MARKS[0])[2].partition(table.MARKS[1])[0].splitlines()
    rows = {}
    for line in lines:
        if line.startswith("| ") and not line.startswith("| runtime"):
            runtime, *words = (cell.strip() for cell in line.strip("|").split("|"))
            rows[runtime] = words
    assert set(rows) == set(table.RUNTIMES)
    for runtime, words in rows.items():
        for form, cell in zip(cases.FORMS, words, strict=True):
            limit = table.expected(runtime, form)
            if isinstance(limit, str):
                assert re.search(f"refused: .*{limit}", cell), (runtime, form)
            else:
                assert re.fullmatch(r"right, \de-\d\d, [\d.]+ ms", cell)


def saved(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pictures():
    """Returns files by name, of one picture with waves and noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:70, :110]
    waves = np.stack([np.sin(x / 7), np.cos(y / 9), np.sin((x + y) / 5)], axis=-1)
    pixels = np.clip(127 + 90 * waves + rng.normal(0, 20, waves.shape), 0, 255)
    image = Image.fromarray(pixels.astype("uint8"))
    exif = Image.Exif()
    exif[0x0112] = 6
    # Wide: pure red and green change their places.
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    clear = image.convert("RGBA")
    clear.putalpha(Image.fromarray((y * 3 % 256).astype("uint8")))
    return {
        "png": saved(image),
        "gray png": saved(image.convert("L")),
        "palette": saved(image.convert("P")),
        "jpeg": saved(image, "JPEG", quality=90),
        "jpeg of full colors": saved(image, "JPEG", quality=95, subsampling=0),
        "gray jpeg": saved(image.convert("L"), "JPEG"),
        "turned jpeg": saved(image, "JPEG", exif=exif),
        "profile": saved(image, icc_profile=wide_profile(profile)),
        "clear png": saved(clear),
    }


def wide_profile(profile):
    """Returns a profile whose red and blue are those of the other in sRGB."""
    content = bytearray(profile.tobytes())
    places = [content.index(name, 128) + 4 for name in (b"rXYZ", b"bXYZ")]
    offsets = [bytes(content[place : place + 4]) for place in places]
    for place, offset in zip(places, reversed(offsets), strict=True):
        content[place : place + 4] = offset
    return bytes(content)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3)], ids=str)
def test_pictures_have_the_pixels_of_python(tmp_path, shape):
    for name in ("image.js",):
        source = ROOT / "training" / "assets" / "web" / name
        (tmp_path / name).write_bytes(source.read_bytes())
    (tmp_path / "blank.html").write_text("<!DOCTYPE html>")
    files = pictures()
    with (
        runtimes.server(tmp_path) as address,
        browser.chromium(tmp_path / "profile") as page,
    ):
        page.open(f"{address}/blank.html")
        for name, content in files.items():
            found = page.run(
                "(async () => { const { decode, fit } = await import('./image.js');"
                f"const data = {json.dumps(base64.b64encode(content).decode())};"
                "const bytes = Uint8Array.from(atob(data), (x) => x.charCodeAt(0));"
                "const picture = await decode(new Blob([bytes]));"
                f"return [...fit(picture, {list(shape)})]; }})()"
            )
            size = shape[:2]
            pixels = image_files.decode_image(io.BytesIO(content), size, name)
            expected = _of_shape(pixels, *shape)
            apart = np.abs(np.reshape(found, shape).astype(int) - expected).max()
            # A browser blends with white in eight bits, and rounds otherwise.
            assert apart <= (1 if name == "clear png" else 0), name
