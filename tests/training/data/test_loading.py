"""Data sets by name, from every source that works without a network."""

import gzip
import struct

import keras
import numpy as np
import pytest
from absl import logging
from PIL import Image

from training import batches, data
from training.data.readers import image_files


def write_idx(path, array):
    header = struct.pack(">HBB", 0, 8, array.ndim)
    header += struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.astype("uint8").tobytes()))


@pytest.fixture
def idx_folder(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("t10k", 5)):
        images = rng.integers(0, 256, (count, 28, 28))
        write_idx(tmp_path / f"{split}-images-idx3-ubyte.gz", images)
        labels = np.arange(count) % 10
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte.gz", labels)
    return tmp_path


def write_images(folder, classes=("cat", "dog"), count=40, size=(30, 20)):
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.full((*size, 3), 10 * label + i % 5, "uint8")
            Image.fromarray(pixels).save(folder / name / f"{i}.png")


def test_the_package_holds_the_test_images_of_fashion_mnist():
    test = data.load("fashion_mnist", "test")
    assert test.images.shape == (10_000, 28, 28, 1)
    assert test.images.dtype == "uint8"
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert test.labels[:5].tolist() == [9, 2, 1, 1, 6]
    np.testing.assert_allclose(test.images.mean() / 255, 0.2868, atol=1e-4)


def test_reads_the_idx_files_of_a_folder(idx_folder):
    train = data.load("fashion_mnist", "train", str(idx_folder), holdout=0)
    assert (len(train), train.input_shape) == (12, (28, 28, 1))
    assert train.labels.tolist() == [*range(10), 0, 1]
    expected = np.random.default_rng(0).integers(0, 256, (12, 28, 28))
    np.testing.assert_array_equal(train.images[..., 0], expected)


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[: len(b) // 2], lambda b: b"no gzip", lambda b: gzip.compress(b"ab")],
)
def test_a_damaged_idx_file_is_named(idx_folder, damage):
    path = idx_folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="Cannot read the IDX file.*train-images"):
        data.load("fashion_mnist", "train", str(idx_folder))


def test_labels_out_of_range_are_refused(idx_folder):
    write_idx(idx_folder / "t10k-labels-idx1-ubyte.gz", np.array([1, 2, 10, 3, 4]))
    with pytest.raises(ValueError, match=r"must be in \[0, 10\).*from 1 to 10"):
        data.load("fashion_mnist", "test", str(idx_folder))


def test_as_many_labels_as_images_are_needed(idx_folder):
    write_idx(idx_folder / "t10k-labels-idx1-ubyte.gz", np.array([1, 2]))
    with pytest.raises(ValueError, match="5 images, 2 labels"):
        data.load("fashion_mnist", "test", str(idx_folder))


def test_a_folder_without_splits_is_split_once_and_for_all(tmp_path):
    write_images(tmp_path)
    train, validation, test = (
        data.load(str(tmp_path), s, image_size=(16, 16)) for s in data.SPLITS
    )
    parts = train, validation, test
    names = [{str(p) for p in part.images.paths} for part in parts]
    assert sum(map(len, names)) == len(set.union(*names)) == 80
    assert 1 <= len(test) <= 20
    assert len(validation) == (80 - len(test)) // 10
    assert train.classes == ("cat", "dog")


def test_a_folder_with_splits_is_read_by_them(tmp_path):
    write_images(tmp_path / "train", count=4)
    write_images(tmp_path / "test", count=2)
    train = data.load(str(tmp_path), "train", image_size=(16, 24), holdout=0)
    assert len(train) == 8
    assert len(data.load(str(tmp_path), "test")) == 4
    assert train.input_shape == (16, 24, 3)
    batch = train.images[[0, 7]]
    assert batch.shape == (2, 16, 24, 3)
    assert (batch[0].min(), batch[1].max()) == (0, 13)
    np.testing.assert_array_equal(train.images[6:8][1], train.images[7])


def test_transparent_and_gray_images_become_rgb(tmp_path):
    Image.fromarray(np.zeros((8, 8, 4), "uint8")).save(tmp_path / "clear.png")
    Image.fromarray(np.full((8, 8), 7, "uint8")).save(tmp_path / "gray.png")
    assert image_files.read_image(tmp_path / "clear.png", (4, 4)).min() == 255
    assert set(image_files.read_image(tmp_path / "gray.png", (4, 4)).ravel()) == {7}


def test_an_image_keeps_its_proportions(tmp_path):
    pixels = np.zeros((20, 40, 3), "uint8")
    pixels[:, 8:32] = 255  # The centered square is what remains, with its margin.
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert image_files.read_image(tmp_path / "wide.png", (10, 10)).min() == 255


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp", ".webp"])
def test_a_broken_image_is_named(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = tmp_path / "train" / "cat" / f"broken{suffix}"
    path.parent.mkdir(parents=True)
    (tmp_path / "test").mkdir()
    Image.fromarray(pixels).save(path)
    whole = path.read_bytes()
    for content in (b"no image", b"", whole[:20], whole[: len(whole) // 2]):
        path.write_bytes(content)
        broken = data.load(str(tmp_path), "train", image_size=(16, 16))
        with pytest.raises(ValueError, match=f"Cannot read the image.*broken{suffix}"):
            broken.images[:]


def test_an_image_of_too_many_pixels_is_named(tmp_path, monkeypatch):
    Image.new("RGB", (64, 64)).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match="Cannot read the image.*huge.png.*exceeds"):
        image_files.read_image(tmp_path / "huge.png", (10, 10))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no images"):
        data.load(str(tmp_path))
    (tmp_path / "cat").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no images"):
        data.load(str(tmp_path))


def test_a_folder_too_small_for_a_split_is_refused(tmp_path):
    write_images(tmp_path, classes=("cat",), count=1)  # Its name is for testing.
    assert len(data.load(str(tmp_path), "train")) == 1
    with pytest.raises(FileNotFoundError, match="None of the 1 images.*train"):
        data.load(str(tmp_path), "test")


def test_a_missing_folder_and_an_unknown_split_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        data.load(str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="named.*<data set>_rotation/"):
        data.load("fashion_mnist_rot/45")
    with pytest.raises(ValueError, match="split=valid"):
        data.load("fashion_mnist", "valid")


def test_an_unknown_name_is_refused_by_an_error_alone(caplog):
    level = logging.get_verbosity()
    logging.set_verbosity(logging.INFO)
    try:
        with pytest.raises(ValueError, match="Unknown data set 'fashionmnist'"):
            data.load("fashionmnist")
        assert not caplog.records
        assert logging.get_verbosity() == logging.INFO
    finally:
        logging.set_verbosity(level)


def numbered(count=10):
    images = np.arange(count, dtype="uint8")[:, None, None, None]
    images = np.broadcast_to(images, (count, 4, 4, 1))
    return data.ImageData("n", images, np.arange(count), tuple("abcdefghijklmnop"))


def order(dataset):
    return np.concatenate([np.asarray(labels) for _, labels in dataset]).tolist()


def test_batches_leave_the_thresholds_of_malloc_alone(monkeypatch):
    """TensorFlow 2.21 lowers them when `from_generator` is used."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("of tf.data")
    import tensorflow as tf

    monkeypatch.delattr(tf.data.Dataset, "from_generator")
    images = np.zeros((5, 2, 2, 1), "uint8")
    few = data.ImageData("few", images, np.arange(5), tuple("abcde"))
    for made in (batches.train_batches(few, 2), batches.test_batches(few, 2)):
        assert [len(labels) for _, labels in made] == [2, 2, 1][: len(made)]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of tf.data")
def test_nothing_tunes_a_pipeline_as_it_runs():
    data = numbered()
    for made in (batches.train_batches(data, 2), batches.test_batches(data, 4)):
        assert made.options().autotune.enabled is False


def test_an_epoch_holds_every_example_once_and_each_epoch_another_order():
    epochs = [order(batches.train_batches(numbered(), 5, epoch=e)) for e in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10))
    assert epochs[0] != epochs[1]
    assert order(batches.train_batches(numbered(), 5, epoch=1)) == epochs[1]
    assert order(batches.train_batches(numbered(), 5, seed=1)) != epochs[0]


def test_an_epoch_can_be_entered_in_the_middle():
    whole = list(batches.train_batches(numbered(), 2, ("flip", "crop2"), epoch=3))
    rest = list(batches.train_batches(numbered(), 2, ("flip", "crop2"), 0, 3, start=2))
    assert len(rest) == 3
    for (images, labels), (expected, expected_labels) in zip(
        rest, whole[2:], strict=True
    ):
        np.testing.assert_array_equal(images, expected)
        np.testing.assert_array_equal(labels, expected_labels)


def test_test_batches_keep_the_order_and_the_rest():
    dataset = list(batches.test_batches(numbered(), 4))
    assert [len(labels) for _, labels in dataset] == [4, 4, 2]
    assert order(dataset) == list(range(10))


def test_an_unknown_augmentation_is_refused():
    with pytest.raises(ValueError, match="Unknown augmentation 'rotate'"):
        batches.train_batches(numbered(), 2, ("rotate",))
