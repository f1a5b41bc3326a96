"""Sequences by name, made or published."""

import numpy as np
import pytest

from training import data
from training.corruptions import sequences
from training.data import grids


@pytest.fixture
def published(tmp_path):
    """The layout of CIFAR-10-P with three examples of five frames."""
    folder = tmp_path / "CIFAR-10-P"
    folder.mkdir()
    frames = np.random.default_rng(0).integers(0, 256, (3, 5, 32, 32, 3), np.uint8)
    np.save(folder / "brightness.npy", frames)
    np.save(folder / "labels.npy", np.uint8([3, 1, 9]))
    return folder, frames


def test_all_frames_of_the_first_example_come_first():
    clean = data.load("fashion_mnist", "test")
    tilted = data.load("fashion_mnist_p/tilt", "test")
    assert tilted.name == "fashion_mnist_p/tilt"
    assert (len(tilted), tilted.frames) == (310_000, 31)
    assert tilted.input_shape == (28, 28, 1)
    np.testing.assert_array_equal(tilted.labels, np.repeat(clean.labels, 31))
    for example in (0, 1, 9_999):
        frames = sequences.perturb(clean.images[example], "tilt", index=example)
        rows = slice(31 * example, 31 * (example + 1))
        np.testing.assert_array_equal(tilted.images[rows], frames)


def test_frames_do_not_depend_on_how_they_are_indexed():
    noisy = data.load("fashion_mnist_p/gaussian_noise", "test").images
    whole = noisy[:93]
    np.testing.assert_array_equal(noisy[29:64], whole[29:64])
    np.testing.assert_array_equal(noisy[50:7:-9], whole[50:7:-9])
    np.testing.assert_array_equal(noisy[[92, 0, 31]], whole[[92, 0, 31]])
    np.testing.assert_array_equal(noisy[62], whole[62])
    np.testing.assert_array_equal(noisy[-1], noisy[309_999])
    assert noisy[5:5].shape == noisy[7:5].shape == (0, 28, 28, 1)
    with pytest.raises(IndexError):
        noisy[310_000]


def test_the_first_examples_keep_their_frames():
    few = data.load("fashion_mnist_p/translate", "test").take(3)
    assert (len(few), few.frames) == (48, 16)
    clean = data.load("fashion_mnist", "test").images
    np.testing.assert_array_equal(few.images[7::16], clean[:3])  # Not moved.


def test_published_files_are_mapped(published):
    folder, frames = published
    loaded = data.load("cifar10_p/brightness", "test", str(folder))
    assert isinstance(loaded.images, np.memmap)
    assert (len(loaded), loaded.frames) == (15, 5)
    assert loaded.labels.tolist() == [3] * 5 + [1] * 5 + [9] * 5
    assert loaded.classes[3] == "cat"
    for example in range(3):
        for frame in range(5):
            image = loaded.images[example * 5 + frame]
            np.testing.assert_array_equal(image, frames[example, frame])


def test_the_labels_of_the_corrupted_set_are_taken_too(published):
    folder, _ = published
    np.save(folder / "labels.npy", np.tile(np.uint8([2, 4, 6]), 5))
    loaded = data.load("cifar10_p/brightness", "test", str(folder))
    assert loaded.labels[::5].tolist() == [2, 4, 6]
    (folder / "labels.npy").unlink()
    with pytest.raises(FileNotFoundError, match="labels.npy.*CIFAR-10-C.*copy"):
        data.load("cifar10_p/brightness", "test", str(folder))


def test_damaged_published_files_are_errors(published):
    folder, frames = published
    with pytest.raises(ValueError, match="test images alone"):
        data.load("cifar10_p/brightness", "train", str(folder))
    np.save(folder / "labels.npy", np.uint8([1, 2]))
    with pytest.raises(ValueError, match=r"each of the 3 examples.*shape=\(2,\)"):
        data.load("cifar10_p/brightness", "test", str(folder))
    np.save(folder / "labels.npy", np.uint8([1, 2, 10]))
    with pytest.raises(ValueError, match=r"must be in \[0, 10\)"):
        data.load("cifar10_p/brightness", "test", str(folder))
    whole = (folder / "brightness.npy").read_bytes()
    (folder / "brightness.npy").write_bytes(whole[:-1000])
    with pytest.raises(ValueError, match="brightness.npy' is truncated"):
        data.load("cifar10_p/brightness", "test", str(folder))
    np.save(folder / "brightness.npy", frames[0])
    with pytest.raises(ValueError, match=r"frames, height.*shape=\(5, 32, 32, 3\)"):
        data.load("cifar10_p/brightness", "test", str(folder))


def test_an_unknown_perturbation_is_an_error():
    with pytest.raises(ValueError, match="mean 'rotate'.*name=rotat"):
        data.load("fashion_mnist_p/rotat", "test")


def test_the_benchmark_comes_first():
    known = [grids.split(name)[2] for name in data.grid("x", "perturbations")]
    assert known[:10] == [
        *("gaussian_noise", "shot_noise", "motion_blur", "zoom_blur", "spatter"),
        *("brightness", "translate", "rotate", "tilt", "scale"),
    ]
    assert data.grid("x", "sequences") == [f"x_p/{name}" for name in known[:10]]


def test_sequences_are_whole():
    images = np.zeros((7, 8, 8, 1), np.uint8)
    with pytest.raises(ValueError, match="whole sequences.*frames=2, 7 images"):
        data.ImageData("x", images, np.zeros(7, int), ("a",), frames=2)
