"""AugMix's operations against Pillow, and its mixtures against a loop over images."""

import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy import ndimage

from layers import random
from tests.helpers.augment_sources import smooth_images
from tests.helpers.checks import assert_mean_close
from training.augment import chains as augment_chains

SHAPE = (24, 20, 26, 3)
LEVELS = np.linspace(0.11, 2.99, SHAPE[0]).astype("float32")
SIGNS = np.where(np.arange(SHAPE[0]) % 2, 1.0, -1.0).astype("float32")


def images():
    return smooth_images(SHAPE[0], SHAPE[1:3])


def pillow(name, image, level, sign):
    """The published code of the operation."""
    picture, (width, height) = Image.fromarray(image), (image.shape[1], image.shape[0])
    linear = {
        "shear_x": (1, sign * level * 0.03, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, sign * level * 0.03, 1, 0),
        "translate_x": (1, 0, sign * int(level * width / 30), 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, sign * int(level * height / 30)),
    }
    if name in linear:
        how = Image.Transform.AFFINE, linear[name], Image.Resampling.BILINEAR
        return np.asarray(picture.transform((width, height), *how))
    return np.asarray(
        {
            "autocontrast": lambda: ImageOps.autocontrast(picture),
            "equalize": lambda: ImageOps.equalize(picture),
            "posterize": lambda: ImageOps.posterize(picture, 4 - int(level * 0.4)),
            "solarize": lambda: ImageOps.solarize(picture, 256 - int(level * 25.6)),
            "rotate": lambda: picture.rotate(
                sign * int(level * 3), Image.Resampling.BILINEAR
            ),
        }[name]()
    )


def applied(name, source=None):
    number = augment_chains.OPERATIONS.index(name)
    operation = np.full(SHAPE[0], number, "int32")
    source = images() if source is None else source
    found = augment_chains.apply(source.astype("uint8"), operation, LEVELS, SIGNS)
    return np.asarray(found, "int32")


@pytest.mark.parametrize("name", augment_chains.OPERATIONS)
def test_an_operation_is_that_of_pillow(name):
    source, found = images(), applied(name)
    settings = zip(source, LEVELS.tolist(), SIGNS.tolist(), strict=True)
    expected = np.stack([pillow(name, *row) for row in settings]).astype("int32")
    if name in ("equalize", "posterize", "solarize", "translate_x", "translate_y"):
        np.testing.assert_array_equal(found, expected)
        return
    # Pillow cuts decimals off, and repeats a border of half a pixel before the black.
    inner = np.s_[:] if name == "autocontrast" else np.s_[:, 4:-4, 4:-4]
    np.testing.assert_allclose(found[inner], expected[inner], atol=1)
    assert np.abs(found.astype("int32") - source)[3:].max() > 10


def test_moved_images_are_black_where_they_were_not():
    white = np.full(SHAPE, 255, "int32")
    moved = applied("translate_x", white)
    shift = np.floor(LEVELS * SHAPE[2] / 30).astype(int)
    for image, sign, width in zip(moved, SIGNS, shift, strict=True):
        black = np.all(image == 0, axis=(0, 2))
        expected = np.arange(SHAPE[2]) < width
        np.testing.assert_array_equal(black, expected[::-1] if sign > 0 else expected)


def test_a_mixture_is_the_loop_of_the_paper(monkeypatch):
    """With operations that are told apart: the choice, its number and its level."""
    applications = []

    def note(images, operation, level, sign):
        applications.append([np.asarray(x) for x in (operation, level, sign)])
        return images + np.uint8(np.asarray(operation)[:, None, None, None] + 1)

    monkeypatch.setattr(augment_chains, "apply", note)
    count = 3000
    zeros = np.zeros((count, 1, 1, 1), "float32")
    keys = random.fold(3, np.arange(count))
    found = np.asarray(augment_chains.mix_chains(zeros, keys), "float64").ravel()
    operations, levels, signs = map(np.stack, zip(*applications, strict=True))
    assert operations.shape == (3, 3 * count)
    done = operations >= 0
    assert done[0].all()
    assert np.all(done[1] >= done[2])
    depth = done.sum(axis=0)
    for number in (1, 2, 3):
        assert_mean_close(depth == number, 1 / 3)
    for number in range(9):
        assert_mean_close(operations[0] == number, 1 / 9)
        assert_mean_close(operations[2][done[2]] == number, 1 / 9)
    levels, each = levels.ravel(), signs.ravel()
    assert_mean_close(levels, (0.1 + 3) / 2)
    assert_mean_close((levels - 1.55) ** 2, 2.9**2 / 12)
    assert levels.min() >= 0.1
    assert_mean_close(each, 0)
    assert_mean_close(signs[0] * signs[1], 0)
    # The mixture of the chains has the mean weight 1/2.
    chains = np.where(done, operations + 1, 0).sum(axis=0).reshape(count, 3)
    assert np.all(found <= chains.max(axis=1) + 1e-4)
    assert_mean_close(found, chains.mean() / 2)
    # The weights are Dirichlet's and the share is uniform: their second moments.
    total, squares = chains.sum(axis=1), np.sum(chains**2, axis=1)
    expected = (2 * squares + (total**2 - squares)) / 12 / 3
    assert_mean_close(found**2 - expected, 0)


def moved_by_scipy(image, matrix, offset):
    """One whole image by bilinear interpolation in float64, black outside."""
    channels = np.moveaxis(image.astype("float64"), -1, 0)
    options = {"offset": offset, "order": 1, "mode": "grid-constant"}
    moved = [ndimage.affine_transform(c, matrix, **options) for c in channels]
    return np.round(np.stack(moved, axis=-1)).astype("int64")


def by_numpy(name, image, level, sign):
    """An operation, written once more: rows before columns, and value by value."""
    height, width, channels = image.shape
    shear = sign * level * 0.03
    if name == "rotate":
        angle = np.deg2rad(sign * int(level * 3))
        # Where rows and columns come from; rows grow downwards.
        turn = np.array(
            [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
        )
        center = np.array([(height - 1) / 2, (width - 1) / 2])
        return moved_by_scipy(image, turn, center - turn @ center)
    if name == "shear_x":
        return moved_by_scipy(image, np.array([[1, 0], [shear, 1]]), [0, shear / 2])
    if name == "shear_y":
        return moved_by_scipy(image, np.array([[1, shear], [0, 1]]), [shear / 2, 0])
    if name == "translate_x":
        return moved_by_scipy(image, np.eye(2), [0, sign * int(level * width / 30)])
    if name == "translate_y":
        return moved_by_scipy(image, np.eye(2), [sign * int(level * height / 30), 0])
    if name == "posterize":
        return image // 2 ** (4 + int(level * 0.4)) * 2 ** (4 + int(level * 0.4))
    if name == "solarize":
        return np.where(image < 256 - int(level * 25.6), image, 255 - image)
    result = image.copy()
    for c in range(channels):
        values, counts = np.unique(image[..., c], return_counts=True)
        if name == "equalize":
            step = (counts.sum() - counts[-1]) // 255
            below = np.cumsum(counts) - counts
            table = np.minimum((step // 2 + below) // step, 255) if step else values
        else:
            low, wide = values[0], values[-1] - values[0]
            table = (values - low) * 255 // wide if wide else values
        result[..., c] = table[np.searchsorted(values, image[..., c])]
    return result


def test_a_mixture_is_that_of_numpy_for_the_same_draws():
    """Image by image and chain by chain, from the draws of its key alone."""
    source = images()[3:]
    keys = random.fold(9, np.arange(len(source)))
    found = np.asarray(augment_chains.mix_chains(source.astype("float32"), keys))
    names, errors = [], []
    for image, key, mixed in zip(source, keys, found, strict=True):
        chains, weights = [], []
        for chain in range(3):
            draws = np.asarray(random.fractions(random.fold(key, 16 + chain), 11))
            current = image.astype("int64")
            for place in range(1 + int(draws[0] * 3)):
                choice, level, side = draws[2 + place :: 3]
                name = augment_chains.OPERATIONS[int(choice * 9)]
                level = np.float32(0.1) + np.float32(2.9) * level
                current = by_numpy(name, current, level, -1 if side < 0.5 else 1)
                names.append(name)
            chains.append(current)
            weights.append(-np.log1p(-np.float64(draws[1])))
        weights = np.array(weights) / np.sum(weights)
        share = float(np.asarray(random.fractions(random.fold(key, 3), 1))[0])
        mean = np.tensordot(weights, np.array(chains, "float64"), 1)
        errors.append(np.abs((1 - share) * image + share * mean - mixed))
    assert set(names) == set(augment_chains.OPERATIONS)
    errors = np.array(errors)
    # Halves are rounded either way, and a level more or less is spread by `equalize`.
    assert np.mean(errors > 0.01) < 0.02
    assert np.mean(errors) < 0.02


def test_a_mixture_is_between_the_darkest_and_the_brightest():
    source = images()
    keys = random.fold(5, np.arange(len(source)))
    found = np.asarray(augment_chains.mix_chains(source, keys))
    assert found.dtype == "uint8"
    assert found.shape == source.shape
    exact = np.asarray(augment_chains.mix_chains(source.astype("float32"), keys))
    np.testing.assert_array_equal(found, np.round(exact))
    assert np.abs(exact - source).max() > 10


def test_an_example_is_mixed_alike_in_every_batch_and_again():
    source = images()
    keys = random.fold(5, np.arange(len(source)))
    whole = np.asarray(augment_chains.mix_chains(source, keys))
    part = np.asarray(augment_chains.mix_chains(source[7:12], keys[7:12]))
    np.testing.assert_array_equal(part, whole[7:12])
    np.testing.assert_array_equal(augment_chains.mix_chains(source, keys), whole)
    other = np.asarray(augment_chains.mix_chains(source, random.fold(keys, 1)))
    assert np.mean(other != whole) > 0.3
