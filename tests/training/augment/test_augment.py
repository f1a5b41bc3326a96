"""Augmentation against a search over all that it may do."""

import collections

import numpy as np
from PIL import Image

from layers import random
from tests.helpers.checks import assert_mean_close
from training.augment import crop, flip, resized_crop

SHAPE = (1000, 9, 7, 2)


def images_and_keys():
    images = np.random.default_rng(0).integers(1, 256, SHAPE).astype("float32")
    return images, random.fold(5, np.arange(len(images)))


def test_a_crop_is_one_of_all_shifts_with_equal_probability():
    images, keys = images_and_keys()
    cropped = np.asarray(crop(images, keys, padding=2))
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    counts = collections.Counter()
    for image, source in zip(cropped, padded, strict=True):
        (shift,) = [
            (i, j)
            for i in range(5)
            for j in range(5)
            if np.array_equal(source[i : i + 9, j : j + 7], image)
        ]
        counts[shift] += 1
    # 24 degrees of freedom: beyond 75 with probability 4e-7.
    chi_square = sum((counts[i, j] - 40) ** 2 / 40 for i in range(5) for j in range(5))
    assert chi_square < 75


def test_a_flip_mirrors_half_of_the_images_from_left_to_right():
    images, keys = images_and_keys()
    flipped = np.asarray(flip(images, keys))
    same = np.all(flipped == images, axis=(1, 2, 3))
    mirrored = np.all(flipped == images[:, :, ::-1], axis=(1, 2, 3))
    assert np.array_equal(same, ~mirrored)
    assert abs(mirrored.sum() - 500) < 6 * np.sqrt(250)


def test_flips_and_crops_are_independent():
    images, keys = images_and_keys()
    mirrored = np.any(np.asarray(flip(images, keys)) != images, axis=(1, 2, 3))
    ramp = np.broadcast_to(np.arange(1.0, 8)[None, None, :, None], SHAPE)
    shift = np.asarray(crop(ramp.astype("float32"), keys, 2))[:, 4, 3, 0]
    correlation = np.corrcoef(mirrored, shift)[0, 1]
    assert abs(correlation) < 6 / np.sqrt(len(images))


def test_an_example_is_augmented_alike_in_every_batch():
    images, keys = images_and_keys()
    whole = np.asarray(crop(images, keys, 2))
    part = np.asarray(crop(images[300:310], keys[300:310], 2))
    np.testing.assert_array_equal(part, whole[300:310])


def test_integer_images_stay_integer():
    images, keys = images_and_keys()
    augmented = crop(flip(images.astype("uint8"), keys), keys, 2)
    assert "uint8" in str(augmented.dtype)


def boxes(size, keys):
    """Returns left, top, width and height of random parts, read from two ramps."""
    ramps = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1)
    images = np.broadcast_to(ramps.astype("float32"), (len(keys), *ramps.shape))
    parts = np.asarray(resized_crop(images, keys, smallest=0.25), "float64")
    row, column = size[0] // 2, size[1] // 2
    center = parts[:, row, column]
    steps = [parts[:, row + 1, column, 0], parts[:, row, column + 1, 1]] - center.T
    top, left = center.T + 0.5 - steps * np.array([[row + 0.5], [column + 0.5]])
    return np.stack([left, top, steps[1] * size[1], steps[0] * size[0]], axis=1)


def test_a_resized_crop_is_what_pillow_makes_of_that_part():
    size, keys = (18, 24), random.fold(7, np.arange(50))
    images = np.random.default_rng(0).uniform(0, 255, (50, *size, 1)).astype("float32")
    parts = np.asarray(resized_crop(images, keys, smallest=0.25))
    for image, part, box in zip(images, parts, boxes(size, keys), strict=True):
        corners = [*box[:2], *(box[:2] + box[2:])]
        assert np.min(corners) > -1e-3
        assert np.all(corners[2:] < np.array(size[::-1]) + 1e-3)
        corners = np.clip(corners, 0, [24, 18, 24, 18])
        pillow = Image.fromarray(image[..., 0]).resize(
            size[::-1], Image.Resampling.BILINEAR, box=tuple(corners)
        )
        np.testing.assert_allclose(part[..., 0], pillow, atol=0.1)


def test_a_resized_crop_has_the_sizes_and_places_of_the_inception_paper():
    left, top, *sides = boxes((18, 24), random.fold(8, np.arange(4000))).T
    width, height = sides[0] / 24, sides[1] / 18
    uniform = (np.arange(1000) + 0.5) / 1000
    side = np.sqrt(0.25 + 0.75 * uniform[:, None])
    stretch = np.sqrt(4 / 3) ** (2 * uniform - 1)
    wide, high = np.minimum(side * stretch, 1), np.minimum(side / stretch, 1)
    for found, expected in (
        (width, wide),
        (height, high),
        (width**2, wide**2),
        (height**2, high**2),
        (width * height, wide * high),
    ):
        assert_mean_close(found, expected.mean())
    for start, length, whole in ((left, sides[0], 24), (top, sides[1], 18)):
        assert start.min() > -1e-3
        assert np.max(start + length) < whole + 1e-3
        moved = length < 0.95 * whole
        place = start[moved] / (whole - length[moved])
        assert_mean_close(place, 1 / 2)
        assert_mean_close(place**2, 1 / 3)
        assert_mean_close(place * length[moved], length[moved].mean() / 2)


def test_integer_images_are_rounded_when_they_are_enlarged():
    images, keys = images_and_keys()
    images, keys = images[:20], keys[:20]
    exact = np.asarray(resized_crop(images, keys, 0.25))
    rounded = np.asarray(resized_crop(images.astype("uint8"), keys, 0.25))
    assert rounded.dtype == "uint8"
    np.testing.assert_array_equal(rounded, np.round(exact))
