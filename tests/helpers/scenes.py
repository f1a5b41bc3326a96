"""Small scenes with a class for each pixel, and folders of them."""

import functools

import keras
import numpy as np
from PIL import Image

from training.data import ImageData
from zoo.models import segmentation, vgg
from zoo.models.methods import METHODS
from zoo.models.parts import combine

CLASSES = ("dark", "middle", "bright")
SHAPE = (17, 22)  # Sides that two, four and eight do not divide.
ENCODER = functools.partial(vgg.vgg, depths=(1, 1, 1), filters=(4, 4, 8))


def labels_of(images):
    """The class of each pixel, by its brightness; some have none."""
    labels = np.digitize(images[..., 0], (85, 170)).astype("int16")
    labels[:, :2, :3] = -1
    return labels


def scenes(count=16, shape=SHAPE, name="scenes"):
    """Images of two blocks each on a ground, whose brightness is their class."""
    rng = np.random.default_rng(0)
    images = np.full((count, *shape, 1), 40, "uint8")
    for image in images:
        for level in (120, 220):
            top, left = rng.integers(0, shape[0] - 4), rng.integers(0, shape[1] - 4)
            image[top : top + 4, left : left + 4] = level
    images += rng.integers(0, 30, images.shape).astype("uint8")
    return ImageData(name, images, labels_of(images), CLASSES)


def network(methods=(), build=segmentation.unet, shape=SHAPE, classes=3, **settings):
    """A narrow U-Net of three stages, from the same weights each time."""
    keras.utils.set_random_seed(0)
    parts = combine({name: METHODS[name] for name in methods})
    pixels = ((100.0,), (3000.0,))
    model = build(parts, (*shape, 1), classes, pixels, encoder=ENCODER, **settings)
    model.name = "scenes"
    return model


def write(root, split, images, masks, ending="annot", palette=False):
    """Writes images and masks in the layout of SegNet."""
    for folder in (root / split, root / f"{split}{ending}"):
        folder.mkdir(parents=True)
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        rgb = np.repeat(image, 3, axis=-1)
        Image.fromarray(rgb).save(root / split / f"{number:03}.png")
        picture = Image.fromarray(mask.astype("uint8"))
        if palette:
            picture = picture.convert("P")
            picture.putdata(mask.astype("uint8").ravel().tolist())
            picture.putpalette(np.random.default_rng(1).bytes(768))
        picture.save(root / f"{split}{ending}" / f"{number:03}.png")
