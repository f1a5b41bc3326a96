"""Data sets in another size: the pixels, the names, and what is made of them."""

import numpy as np
import pytest
from PIL import Image

from training import corruptions, data


def test_pixels_are_those_of_a_bilinear_filter():
    clean = data.load("fashion_mnist", "test")
    made = data.load("fashion_mnist_size/64", "test")
    assert made.name == "fashion_mnist_size/64"
    assert made.input_shape == (64, 64, 1)
    np.testing.assert_array_equal(made.labels, clean.labels)
    places = [7, 3, 9_999]
    for image, place in zip(made.images[places], places, strict=True):
        flat = Image.fromarray(clean.images[place, ..., 0])
        expected = flat.resize((64, 64), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(image[..., 0], expected)
        np.testing.assert_array_equal(made.images[place], image)
    np.testing.assert_array_equal(made.images[5:9][2], made.images[7])


def test_its_own_size_changes_nothing():
    clean = data.load("fashion_mnist", "test").take(3)
    same = data.load("fashion_mnist_size/28", "test").take(3)
    np.testing.assert_array_equal(same.images, clean.images)


def test_a_resized_set_can_be_corrupted(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    large = data.load("fashion_mnist_size/40", "test").take(4)
    made = data.DERIVED["c"](
        "fashion_mnist_size/40_c/contrast/2", "test", None, lambda: large
    )
    expected = corruptions.corrupt_all(large.images[:], "contrast", 2)
    np.testing.assert_array_equal(made.images, expected)


def test_a_pattern_lists_the_sizes():
    names = ["fashion_mnist_size/64", "fashion_mnist_size/224"]
    assert data.expand("fashion_mnist_size/*") == names


@pytest.mark.parametrize("rest", ["0", "-3", "64x64", "large", "", "1e9", "5000"])
def test_what_is_no_size_is_an_error(rest):
    with pytest.raises(ValueError, match=f"size/64.*Received: pixels={rest}"):
        data.load(f"fashion_mnist_size/{rest}", "test")
