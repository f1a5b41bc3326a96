"""Rotated and translated images: the published procedure, exact angles, names."""

import pickle

import numpy as np
import pytest
from scipy import ndimage

from training import data
from training.data import shifted


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))


@pytest.fixture(scope="module")
def photos():
    """Random but smooth images, gray ones of 28 pixels."""
    noise = np.random.default_rng(0).normal(size=(3, 28, 28, 1))
    smooth = ndimage.gaussian_filter(noise, (0, 2, 2, 0))
    return np.uint8(255 * (smooth - smooth.min()) / np.ptp(smooth))


def published(images, degrees):
    """Rotates larger images and crops them, as the benchmark of 2019 did."""
    rotated = ndimage.rotate(images.astype(float), degrees, axes=(1, 2))
    top, left = (side // 2 - 14 for side in rotated.shape[1:3])
    cropped = rotated[:, top : top + 28, left : left + 28]
    return np.clip(np.rint(cropped), 0, 255), rotated.shape[1]


@pytest.mark.parametrize("degrees", range(15, 181, 15))
def test_rotation_is_the_published_one(photos, degrees):
    expected, side = published(photos, degrees)
    assert side % 2 == 0  # Else the crop would be off by half a pixel.
    ours = shifted.rotate(photos, degrees)
    np.testing.assert_array_equal(ours, expected)


def test_quarter_turns_are_counterclockwise_and_exact(photos):
    rgb = np.concatenate([photos, 255 - photos, photos // 2], axis=3)
    for images in (photos, rgb, rgb[:, :21, :21]):
        for turns in (-1, 1, 2, 3, 4):
            np.testing.assert_array_equal(
                shifted.rotate(images, 90 * turns), np.rot90(images, turns, (1, 2))
            )


def test_what_turns_in_is_black():
    white = np.full((1, 28, 28, 1), 255, np.uint8)
    turned = shifted.rotate(white, 45)[0, ..., 0]
    assert turned[0, 0] == turned[0, -1] == turned[-1, 0] == turned[-1, -1] == 0
    assert (turned[8:20, 8:20] == 255).all()


def test_translation_wraps_around(photos):
    for pixels in (-3, 0, 5, 28 + 5):
        moved = shifted.translate(photos, pixels)
        for x in range(28):
            np.testing.assert_array_equal(
                moved[:, :, (x + pixels) % 28], photos[:, :, x]
            )


@pytest.mark.parametrize(
    "kind, function", [("rotation", "rotate"), ("translation", "translate")]
)
def test_shifted_sets_have_names(kind, function):
    clean = data.load("fashion_mnist", "test")
    made = data.load(f"fashion_mnist_{kind}/-15", "test")
    assert made.name == f"fashion_mnist_{kind}/-15"
    assert len(made) == 10_000
    np.testing.assert_array_equal(made.labels, clean.labels)
    expected = getattr(shifted, function)(clean.images[:40], -15)
    np.testing.assert_array_equal(made.images[:40], expected)
    np.testing.assert_array_equal(made.images[[7, 3]], expected[[7, 3]])
    np.testing.assert_array_equal(made.images[39:10:-7], expected[39:10:-7])
    np.testing.assert_array_equal(made.take(5).images, expected[:5])


def test_fractions_of_a_degree_are_angles():
    half = data.load("fashion_mnist_rotation/0.5", "test").images[0]
    clean = data.load("fashion_mnist", "test").images[0]
    assert (half != clean).any()
    assert np.abs(half.astype(int) - clean).mean() < 5


def test_a_shifted_set_can_be_corrupted():
    from training import corruptions

    turned = data.load("fashion_mnist_rotation/30", "test").take(4)
    names = data.expand("fashion_mnist_rotation/30_c/contrast/[2]")
    assert names == ["fashion_mnist_rotation/30_c/contrast/2"]
    corrupted = data.DERIVED["c"](names[0], "test", None, lambda: turned)
    expected = corruptions.corrupt_all(turned.images, "contrast", 2)
    np.testing.assert_array_equal(corrupted.images, expected)


def test_derived_images_reach_other_processes():
    ends = "rotation/30", "translation/-4", "size/36", "rotation/30_size/20"
    for end in (*ends, "p/tilt", "translation/1_p/brightness"):
        images = data.load(f"fashion_mnist_{end}", "test").images
        there = pickle.loads(pickle.dumps(images))
        np.testing.assert_array_equal(there[5:7], images[5:7])


@pytest.mark.parametrize(
    "name, message",
    [
        ("fashion_mnist_rotation/far", "degrees=far"),
        ("fashion_mnist_rotation/inf", "degrees=inf"),
        ("fashion_mnist_translation/half", "pixels=half"),
        ("fashion_mnist_translation/0.5", "pixels=0.5"),
    ],
)
def test_what_is_no_number_is_an_error(name, message):
    with pytest.raises(ValueError, match=message):
        data.load(name, "test")
