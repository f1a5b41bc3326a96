"""RandAugment's operations against Pillow, and its choices against their odds."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from layers import random
from tests.helpers.augment_sources import smooth_images
from tests.helpers.checks import assert_mean_close
from training import augment, corruptions
from training.augment import rand_augment

FACTOR = 0.4
NAMES = rand_augment.OPERATIONS
SOURCE = smooth_images(8, (20, 26))
SIGNS = np.where(np.arange(8) % 2, 1.0, -1.0).astype("float32")


def pillow(name, image, sign):
    picture, (height, width) = Image.fromarray(image), image.shape[:2]
    strength, shear = 1 + sign * 0.9 * FACTOR, sign * 0.3 * FACTOR
    shift = [sign * int(FACTOR * side / 3) for side in (width, height)]
    linear = {
        "shear_x": (1, shear, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, shear, 1, 0),
        "translate_x": (1, 0, shift[0], 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, shift[1]),
    }
    if name in linear:
        how = Image.Transform.AFFINE, linear[name], Image.Resampling.BILINEAR
        return np.asarray(picture.transform((width, height), *how))
    enhanced = ("brightness", "contrast", "color", "sharpness")
    if name in enhanced:
        kind = getattr(ImageEnhance, name.capitalize())
        return np.asarray(kind(picture).enhance(strength))
    return np.asarray(
        {
            "identity": lambda: picture,
            "autocontrast": lambda: ImageOps.autocontrast(picture),
            "equalize": lambda: ImageOps.equalize(picture),
            "posterize": lambda: ImageOps.posterize(picture, 8 - round(4 * FACTOR)),
            "solarize": lambda: ImageOps.solarize(picture, round(256 * (1 - FACTOR))),
            "rotate": lambda: picture.rotate(
                sign * 30 * FACTOR, Image.Resampling.BILINEAR
            ),
        }[name]()
    )


def applied(name, source=SOURCE, factor=FACTOR):
    operation = np.full(len(source), NAMES.index(name), "int32")
    found = rand_augment.apply(source, operation, factor, SIGNS)
    return np.asarray(found, "int32")


def test_operations_are_those_of_pillow():
    exact = "identity", "equalize", "posterize", "solarize", "translate_x"
    for name in NAMES:
        found = applied(name)
        pairs = zip(SOURCE, SIGNS.tolist(), strict=True)
        expected = np.stack([pillow(name, *pair) for pair in pairs]).astype("int32")
        # Pillow cuts decimals off, and repeats a border of half a pixel before black.
        inner = (
            np.s_[:, 6:-6, 6:-6]
            if name in ("rotate", "shear_x", "shear_y")
            else np.s_[:]
        )
        error = np.abs(found[inner] - expected[inner])
        assert error.max() <= (0 if name in exact else 1), name
        if name != "identity":
            assert np.abs(found - SOURCE)[2:].max() > 2, name


def test_an_image_has_operations_of_its_own_with_equal_odds(monkeypatch):
    seen = []

    def note(images, operation, factor, sign):
        seen.append([np.asarray(operation), np.asarray(sign)])
        return images

    monkeypatch.setattr(rand_augment, "apply", note)
    keys = random.fold(3, np.arange(6000))
    function = augment.read("randaugment:num_ops=3:factor=0.4")[1]
    function(np.zeros((6000, 1, 1, 1), "uint8"), keys)
    assert len(seen) == 3
    for operation, sign in seen:
        for number in range(14):
            assert_mean_close(operation == number, 1 / 14)
        assert_mean_close(sign, 0)
        assert_mean_close(sign * (operation == 3), 0)
    (first, _), (second, _), _ = seen
    assert_mean_close(first == second, 1 / 14)


def test_strengths_and_uses_are_drawn_for_each_operation(monkeypatch):
    seen = []

    def note(images, operation, factor, sign):
        seen.append([np.asarray(operation), np.asarray(factor)])
        return images

    monkeypatch.setattr(rand_augment, "apply", note)
    keys = random.fold(3, np.arange(6000))
    function = augment.read("randaugment:factor=0.9:std=0.1:rate=0.5")[1]
    function(np.zeros((6000, 1, 1, 1), "uint8"), keys)
    for operation, factor in seen:
        # Half of them, and a 14th of the others, leave the image as it is.
        assert_mean_close(operation == 0, 0.5 + 0.5 / 14)
        # A normal distribution, cut off one standard deviation above its mean.
        assert_mean_close(factor < 0.9, 0.5)
        assert_mean_close(factor == 1, 0.1587)
        assert_mean_close(factor < 0.8, 0.1587)
    (_, first), (_, second) = seen
    assert_mean_close((first < 0.9) == (second < 0.9), 0.5)
    monkeypatch.undo()
    # Strengths that are equal are that strength.
    strengths = np.full(len(SOURCE), FACTOR, "float32")
    for name in ("posterize", "solarize", "color", "shear_x", "translate_y"):
        operation = np.full(len(SOURCE), NAMES.index(name), "int32")
        found = rand_augment.apply(SOURCE, operation, strengths, SIGNS)
        error = np.abs(np.asarray(found, "int32") - applied(name))
        assert error.max() <= 1, name  # As products of float32 round.
        assert error.mean() < 0.01, name


def test_an_image_is_augmented_alike_in_every_batch_and_in_gray():
    function = augment.read("randaugment")[1]
    keys = random.fold(5, np.arange(8))
    for source in (SOURCE, SOURCE[..., :1]):
        whole = np.asarray(function(source, keys))
        assert whole.dtype == "uint8"
        np.testing.assert_array_equal(function(source[3:5], keys[3:5]), whole[3:5])
        other = np.asarray(function(source, random.fold(keys, 1)))
        assert np.mean(other != whole) > 0.3
    gray = SOURCE[..., :1]
    np.testing.assert_array_equal(applied("color", gray), gray)
    # At no strength, these are all that change an image.
    for name in NAMES:
        changed = np.any(applied(name, factor=0) != SOURCE)
        assert changed == (name in ("autocontrast", "equalize")), name


def test_corruptions_that_are_like_augmentations_are_known():
    assert augment.overlaps(["flip", "crop4", "augmix", "mixup", "cutmix"]) == ()
    found = augment.overlaps(["randaugment:num_ops=1", "randaugment"])
    assert found == ("brightness", "contrast", "saturate", "gaussian_blur")
    assert set(found) <= set(corruptions.CORRUPTIONS)


@pytest.mark.parametrize(
    "text, message",
    [
        ("randaugment:factor=9", "in .0, 1.; a magnitude of 9.*Received: factor=9"),
        ("randaugment:factor=-0.1", "Received: factor=-0.1"),
        ("randaugment:num_ops=0", "`num_ops` must be a positive integer"),
        ("randaugment:power=1", "Settings of .*: num_ops, factor, std, rate, each"),
        ("randaugment:std=-1", "zero or positive. Received: std=-1"),
        ("randaugment:rate=2", "`rate` is the probability.*Received: rate=2"),
        ("mixup_cutmix:switch=2", "`switch` is the probability.*Received: switch=2"),
        ("mixup_cutmix:cutmix_alpha=0", "`cutmix_alpha` is.*Received: cutmix_alpha=0"),
        ("mixup:alpha=0", "positive and finite. Received: alpha=0"),
        ("mixup:alpha=a", "'alpha' of the augmentation 'mixup' is no number"),
        ("cutmix:alpha=-1", "Beta distribution of 'cutmix'.*Received: alpha=-1"),
        ("cutmix:rate=1.5", "`rate` is the probability.*Received: rate=1.5"),
        ("mixupp", "Unknown augmentation 'mixupp'. Did you mean 'mixup'"),
        ("flip:rate=1", "Settings of the augmentation 'flip': none"),
    ],
)
def test_what_is_no_augmentation_says_why(text, message):
    with pytest.raises(ValueError, match=message):
        augment.read(text)
