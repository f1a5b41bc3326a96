"""Data sets that TensorFlow Datasets prepared, fabricated in their real layouts."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.helpers.tfds_folders import colors, prepare
from training import corruptions, data
from training.data import image_data, loading
from training.data.readers import image_files, tfds, tfds_records
from zoo import spelling


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def sorted_rows(array):
    flat = np.asarray(array).reshape(len(array), -1)
    return flat[np.lexsort(flat.T)]


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "kmnist"])
def test_a_small_set_of_one_size_is_held_in_memory(name, tmp_path):
    gray = name == "kmnist"
    pairs = colors(6, ((28, 28) if gray else (32, 32),))
    pairs = [(image[..., :1] if gray else image, label) for image, label in pairs]
    prepare(name, tmp_path, {"train": pairs, "test": pairs[:2]})
    train = data.load(name, "train", str(tmp_path))
    assert isinstance(train.images, np.ndarray)
    assert train.input_shape == ((28, 28, 1) if gray else (32, 32, 3))
    assert len(train.classes) == (100 if name == "cifar100" else 10)
    assert len(data.load(name, "test", str(tmp_path))) == 2
    assert f"{name}/" in train.source
    # They are written in another order, but labels stay with their images.
    expected = {image.tobytes(): label for image, label in pairs}
    for image, label in zip(train.images, train.labels, strict=True):
        assert expected.pop(image.tobytes()) == label


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_images_of_different_sizes_are_resized_when_they_are_indexed(
    file_format, tmp_path, cache, monkeypatch
):
    contents = []
    for size in ((40, 30), (20, 60), (33, 33), (9, 9), (40, 41), (16, 24), (50, 20)):
        pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG")
        contents.append(file.getvalue())
    # As the real ones, they are files that are stored as they are.
    pairs = [(io.BytesIO(content), label) for label, content in enumerate(contents)]
    others = [(image, -1) for image, _ in colors(3)]
    splits = {"train": colors(3), "validation": pairs, "test": others}
    prepare("imagenet2012", tmp_path, splits, file_format, shards=3)
    test = data.load("imagenet2012", "test", str(tmp_path), (16, 24))
    assert test.images.shape == (7, 16, 24, 3)
    assert len(test.classes) == 1000
    assert sorted(test.labels) == list(range(7))  # Those of the validation set.
    for image, label in zip(test.images[:], test.labels, strict=True):
        (tmp_path / "one.jpg").write_bytes(contents[label])
        expected = image_files.read_image(tmp_path / "one.jpg", (16, 24))
        np.testing.assert_array_equal(image, expected)
    whole = test.images[:]
    np.testing.assert_array_equal(test.images[2:5], whole[2:5])
    np.testing.assert_array_equal(test.images[[6, 0, 6]], whole[[6, 0, 6]])
    np.testing.assert_array_equal(test.images[-1], whole[6])
    assert test.images[3:3].shape == (0, 16, 24, 3)
    assert len(data.load("imagenet2012", "train", str(tmp_path))) == 3
    assert len(list(cache.rglob("records/*.npy"))) == 2
    monkeypatch.setattr(tfds_records, "_scan", None)  # Not needed again.
    monkeypatch.setattr(tfds_records, "_labels", None)
    again = data.load("imagenet2012", "test", str(tmp_path), (16, 24))
    np.testing.assert_array_equal(again.labels, test.labels)


def test_a_large_set_of_one_size_is_decoded_when_it_is_indexed(tmp_path, monkeypatch):
    pairs = colors(5, ((32, 32),))
    prepare("cifar10", tmp_path, {"test": pairs})
    small = data.load("cifar10", "test", str(tmp_path))
    monkeypatch.setattr(image_data, "LARGEST", 1000)
    large = data.load("cifar10", "test", str(tmp_path), (8, 8))
    assert not isinstance(large.images, np.ndarray)
    assert large.input_shape == (32, 32, 3)
    np.testing.assert_array_equal(
        sorted_rows(large.images[:]), sorted_rows(small.images)
    )


def test_images_of_different_sizes_can_be_corrupted_and_kept(tmp_path, cache):
    prepare("imagenet2012", tmp_path, {"validation": colors(4, ((40, 30), (30, 50)))})
    clean = data.load("imagenet2012", "test", str(tmp_path), (32, 32))
    foggy = data.load("imagenet2012_c/fog/2", "test", str(tmp_path), (32, 32))
    expected = corruptions.corrupt_all(clean.images[:], "fog", 2)
    np.testing.assert_array_equal(foggy.images, expected)
    assert len(list(cache.rglob("fog-2-*.npy"))) == 1


@pytest.mark.parametrize(
    "name, prepared, split, side",
    [
        ("cifar10_c/fog/3", "cifar10_corrupted/fog_3", "test", 32),
        (
            "cifar10_c/glass_blur/1",
            "cifar10_corrupted/frosted_glass_blur_1",
            "test",
            32,
        ),
        ("cifar10_c/elastic_transform/5", "cifar10_corrupted/elastic_5", "test", 32),
        (
            "imagenet2012_c/elastic_transform/5",
            "imagenet2012_corrupted/elastic_transform_5",
            "validation",
            224,
        ),
    ],
)
def test_prepared_corrupted_sets_are_taken_as_they_are(
    name, prepared, split, side, tmp_path
):
    pairs = colors(3, ((side, side),))
    prepare(prepared, tmp_path, {split: pairs})
    corrupted = data.load(name, "test", str(tmp_path), (16, 16))
    assert corrupted.name == name
    assert prepared in corrupted.source
    assert corrupted.input_shape == (side, side, 3)
    means = sorted_rows(corrupted.images.mean(axis=(1, 2)))
    expected = sorted_rows(np.array([image[0, 0] for image, _ in pairs], float))
    np.testing.assert_allclose(means, expected, atol=3)  # JPEG.
    with pytest.raises(ValueError, match="test images alone"):
        data.load(name, "train", str(tmp_path))


def test_every_corruption_has_its_name_in_tensorflow_datasets():
    import tensorflow_datasets as tfds

    from training.data import corrupted

    for builder, renamed in corrupted._TFDS.values():
        known = tfds.builder_cls(builder).builder_configs
        for name in corruptions.CORRUPTIONS:
            assert f"{renamed.get(name, name)}_5" in known


def test_published_files_come_before_prepared_ones(tmp_path):
    prepare("cifar10_corrupted/fog_3", tmp_path, {"test": colors(2, ((32, 32),))})
    np.save(tmp_path / "fog.npy", np.full((5, 32, 32, 3), 7, np.uint8))
    np.save(tmp_path / "labels.npy", np.zeros(5, np.uint8))
    corrupted = data.load("cifar10_c/fog/3", "test", str(tmp_path))
    assert corrupted.source == "published fog.npy"
    assert corrupted.images.max() == 7


def test_without_prepared_corruptions_they_are_made(tmp_path):
    prepare("cifar10", tmp_path, {"test": colors(2, ((32, 32),))})
    made = data.load("cifar10_c/contrast/3", "test", str(tmp_path))
    assert "made here" in made.source


def test_a_truncated_record_file_is_named(tmp_path):
    prepare("imagenet2012", tmp_path, {"validation": colors(3)}, shards=1)
    (path,) = tmp_path.rglob("*.tfrecord*")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="imagenet2012-validation.*is truncated"):
        data.load("imagenet2012", "test", str(tmp_path))
    path.write_bytes(path.read_bytes()[:5])
    with pytest.raises(ValueError, match="imagenet2012-validation.*is truncated"):
        data.load("imagenet2012", "test", str(tmp_path))


def test_configurations_have_names_with_a_slash(tmp_path):
    pairs = [(image[..., :1], label) for image, label in colors(3, ((28, 28),))]
    prepare("emnist/letters", tmp_path, {"test": pairs})
    letters = data.load("emnist/letters", "test", str(tmp_path))
    assert (len(letters.classes), letters.name) == (37, "emnist/letters")
    with pytest.raises(FileNotFoundError, match="no folder 'emnist/leters'"):
        data.load("emnist/leters", "test", str(tmp_path))


def test_what_cannot_be_loaded_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="'imagenet2012' is not in data_dir"):
        data.load("imagenet2012", "test", str(tmp_path))
    prepare("imagenet2012", tmp_path, {"train": colors(2)})
    with pytest.raises(ValueError, match="only train.*split=validation"):
        data.load("imagenet2012", "test", str(tmp_path))


def test_a_set_of_theirs_that_is_like_ours_is_seen_without_their_import():
    import tensorflow_datasets as theirs

    builders = theirs.list_builders(with_community_datasets=False)
    alike = [n for n in builders if spelling.nearest(n, loading.KNOWN, cutoff=0.8)]
    assert {"emnist", "cifar10_1"} <= {*alike}
    assert [name for name in alike if not tfds.may_be(name)] == []
    assert not tfds.may_be("cifr10")
