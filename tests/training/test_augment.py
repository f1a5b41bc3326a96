"""Augmentation against a search over all that it may do."""

import collections

import numpy as np

from layers import random
from training.augment import crop, flip

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
