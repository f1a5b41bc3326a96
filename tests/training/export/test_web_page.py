"""The page of an export in headless Chromium, with a classifier of no network."""

import json
import shutil

import pytest

from tests.helpers import browser
from tests.web import runtimes
from training.export import web

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not browser.find(), reason="needs an installed Chromium"),
]
CLASSIFIER = """
export const load = async () => ({
  about: ABOUT,
  accelerator: "wasm",
  delete() {},
  async classify(pixels, { passes }) {
    window.asked = { passes };
    const expectedEntropy = ABOUT.quantization ? NaN : 0.3;
    return { probabilities: [0.75, 0.25], entropy: 0.56, expectedEntropy,
      mutualInformation: 0.56 - expectedEntropy, passes };
  },
});
"""
# Of pictures as slow as their first byte says, which is their pixel, too.
IMAGE = """
export async function decode(blob) {
  const [byte] = new Uint8Array(await blob.arrayBuffer());
  await new Promise((done) => setTimeout(done, byte));
  return byte;
}
export const fit = (byte) => Uint8Array.of(byte);
"""
# A promise of whether all that was asked for is there.
TAKE = """
(async (...bytes) => {
  const input = document.getElementById("file");
  for (const byte of bytes) {
    const files = new DataTransfer();
    files.items.add(new File([Uint8Array.of(byte)], "picture"));
    input.files = files.files;
    input.dispatchEvent(new Event("change"));
  }
  await new Promise((done) => setTimeout(done, 600));
})
"""


@pytest.fixture
def opened(tmp_path):
    """Opens the page of an export, and yields a function of what it says of itself."""
    folder = tmp_path / "page"
    folder.mkdir()

    def open_page(page, address, **about):
        for name in web.FILES:
            shutil.copyfile(web._ASSETS / name, folder / name)
        known = {
            **{"name": "<b>mine</b>", "image_shape": [1, 1, 1], "samples": []},
            **{"classes": ["<i>a</i>", "b"], "num_classes": 2, "quantization": None},
            **about,
        }
        code = CLASSIFIER.replace("ABOUT", json.dumps(known))
        (folder / "classifier.js").write_text(code)
        (folder / "image.js").write_text(IMAGE)
        page.open(f"{address}/index.html")
        page.run("new Promise((done) => setTimeout(done, 200))")

    with (
        runtimes.server(folder) as address,
        browser.chromium(tmp_path / "profile") as page,
    ):
        yield lambda **about: open_page(page, address, **about) or page
        assert page.errors == []


@pytest.mark.parametrize("passes", [10, 64])
def test_the_passes_of_the_file_are_those_that_the_page_asks_for(opened, passes):
    page = opened(is_repeated=False, num_samples=passes)
    page.run(f"{TAKE}(0)")
    assert page.run("asked.passes") == passes


def text(page, name):
    return page.run(f"document.getElementById({name!r}).textContent")


def is_shown(page, name):
    return page.run(f"document.getElementById({name!r}).checkVisibility()")


@pytest.mark.parametrize("quantization", [None, "int8"])
def test_parts_of_the_entropy_are_shown_where_they_are_known(opened, quantization):
    page = opened(is_repeated=False, num_samples=3, quantization=quantization)
    page.run(f"{TAKE}(0)")
    assert text(page, "entropy") == "0.560"
    assert is_shown(page, "epistemic-box") == (quantization is None)
    assert "NaN" not in page.run("document.getElementById('curve').outerHTML")
    assert text(page, "model") == "<b>mine</b>"
    assert text(page, "verdict").startswith("<i>a</i>, 75.0 %")


def test_the_last_picture_stays_however_long_another_takes(opened):
    page = opened(is_repeated=True, num_samples=3)
    page.run(f"{TAKE}(250, 1)")
    seen = "document.getElementById('seen').getContext('2d').getImageData(0, 0, 1, 1)"
    assert page.run(f"{seen}.data[0]") == 1
