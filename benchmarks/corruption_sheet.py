r"""Draws all corruptions at all severities, of a photograph and of Fashion-MNIST.

    python -m benchmarks.corruption_sheet docs/corruptions.png

The photograph is that of an astronaut (NASA, public domain; scikit-image has it) unless
`--photo` names another one. Photographs are corrupted at 224 x 224 pixels and drawn
smaller.
"""

import argparse
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training import corruptions, data

SIDE = 224
LABEL = 118  # Width of the names.
GAP = 2


def load_photo(path: str | None) -> np.ndarray:
    """Returns a photograph of 224 x 224 pixels, the middle of the file."""
    from skimage import data as photos

    picture = Image.open(path) if path else Image.fromarray(photos.astronaut())
    crop = min(picture.size)
    left, top = ((side - crop) // 2 for side in picture.size)
    box = left, top, left + crop, top + crop
    size = SIDE, SIDE
    return np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BOX, box))


def tile(image: np.ndarray, side: int) -> Image.Image:
    """Returns an image at another size, as RGB."""
    picture = Image.fromarray(image.squeeze()).convert("RGB")
    small = image.shape[0] < side
    method = Image.Resampling.NEAREST if small else Image.Resampling.BOX
    return picture.resize((side, side), method)


def draw(images: list[np.ndarray], names: list[str], side: int) -> Image.Image:
    """Returns a row for each corruption, with the severities of each image."""
    step = side + GAP
    columns = [(image, level) for image in images for level in range(6)]
    size = LABEL + step * len(columns), 16 + step * len(names)
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for column, (image, level) in enumerate(columns):
        left = LABEL + step * column
        pen.text(
            (left + 2, 1), f"severity {level}" if level else "clean", "black", font
        )
        for row, name in enumerate(names):
            top = 16 + step * row
            if not column:
                pen.text((2, top + side // 2 - 8), name, "black", font)
            shown = corruptions.corrupt(image, name, level) if level else image
            sheet.paste(tile(shown, side), (left, top))
    return sheet


def main() -> None:
    """Writes the file, with 256 colors."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=pathlib.Path, help="A PNG file.")
    parser.add_argument("--photo", help="A file with a photograph.")
    parser.add_argument("--index", type=int, default=0, help="Number of the image.")
    parser.add_argument("--side", type=int, default=70, help="Pixels of a picture.")
    parser.add_argument("--names", nargs="+", default=list(corruptions.CORRUPTIONS))
    flags = parser.parse_args()
    clothes = data.load("fashion_mnist", "test").images[flags.index]
    sheet = draw([load_photo(flags.photo), clothes], flags.names, flags.side)
    colors = Image.Quantize.FASTOCTREE
    sheet.quantize(256, colors, dither=Image.Dither.FLOYDSTEINBERG).save(flags.output)
    print(f"{flags.output}: {flags.output.stat().st_size // 1000} kB")
    print(f"frost textures: {corruptions.frost_source()}")


if __name__ == "__main__":
    main()
