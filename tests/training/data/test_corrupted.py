"""Corrupted data sets by name, made or published."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tests.helpers import cifar_layouts
from training import corruptions, data
from training.data import corrupted, image_data
from training.data.readers import cifar_files, fashion_mnist


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "corrupted"


@pytest.fixture
def few(monkeypatch):
    """Fashion-MNIST of twenty images."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 28, 28, 1), np.uint8)
    labels = np.arange(20, dtype="int32") % 10
    small = data.ImageData("fashion_mnist", images, labels, data.FASHION_MNIST_CLASSES)
    monkeypatch.setattr(fashion_mnist, "_load_idx", lambda *_: small)
    return small


LEVELS = np.array([40, 120, 200], "uint8")  # Of the classes of `blocks`.


@pytest.fixture
def blocks():
    """Images of square blocks, whose brightness says their class."""
    classes = np.random.default_rng(0).integers(0, 3, (4, 3, 4))
    labels = classes.repeat(16, axis=1).repeat(16, axis=2)
    images = LEVELS[labels][..., None].repeat(3, axis=-1)
    return data.ImageData("blocks", images, labels, ("dark", "middle", "bright"))


def inside(labels):
    """Where pixels are of one class all around."""
    around = (1, 5, 5)
    least = ndimage.minimum_filter(labels, around)
    return least == ndimage.maximum_filter(labels, around)


@pytest.fixture
def published(tmp_path):
    """The layout of CIFAR-10-C with four images for each severity."""
    folder = tmp_path / "CIFAR-10-C"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    np.save(folder / "fog.npy", images)
    np.save(folder / "labels.npy", np.tile(np.uint8((3, 1, 4, 9)), 5))
    return folder, images


def test_images_are_made_from_the_clean_ones_and_kept(few, cache, monkeypatch):
    made = data.load("fashion_mnist_c/fog/3", "test")
    expected = [
        corruptions.corrupt(x, "fog", 3, index=i) for i, x in enumerate(few.images)
    ]
    np.testing.assert_array_equal(made.images, expected)
    np.testing.assert_array_equal(made.labels, few.labels)
    assert made.name == "fashion_mnist_c/fog/3"
    assert made.classes == few.classes
    assert made.input_shape == (28, 28, 1)
    (file,) = cache.glob("fashion_mnist-test/fog-3-*.npy")
    assert not list(cache.rglob("*.tmp"))
    monkeypatch.setattr(corruptions, "corrupt_all", None)  # Not needed again.
    again = data.load("fashion_mnist_c/fog/3", "test")
    np.testing.assert_array_equal(again.images, expected)
    assert file.exists()


def test_large_sets_make_any_images_together(few, monkeypatch):
    monkeypatch.setattr(image_data, "LARGEST", 0)
    expected = corruptions.corrupt_all(few.images, "fog", 3)
    made = data.load("fashion_mnist_c/fog/3", "test").images
    np.testing.assert_array_equal(made[3:7], expected[3:7])
    np.testing.assert_array_equal(made[3], expected[3])
    one_by_one, calls = corruptions.corrupt_all, []

    def count(*args, **options):
        calls.append(args)
        return one_by_one(*args, **options)

    monkeypatch.setattr(corruptions, "corrupt_all", count)
    chosen = [7, -1, 0, 7]
    np.testing.assert_array_equal(made[chosen], expected[chosen])
    np.testing.assert_array_equal(made[::-3], expected[::-3])
    assert len(calls) == 2
    with pytest.raises(IndexError):
        made[[3, 20]]


def test_other_clean_images_make_another_file(few, cache, monkeypatch):
    first = data.load("fashion_mnist_c/contrast/5", "test").images
    other = data.ImageData("fashion_mnist", 255 - few.images, few.labels, few.classes)
    monkeypatch.setattr(fashion_mnist, "_load_idx", lambda *_: other)
    second = data.load("fashion_mnist_c/contrast/5", "test").images
    assert (np.asarray(first) != second).any()
    assert len(list(cache.rglob("*.npy"))) == 2


def test_other_textures_of_frost_make_another_file(few, cache, monkeypatch):
    data.load("fashion_mnist_c/frost/1", "test")
    for count, source in enumerate(("photographs", "other photographs"), 2):
        monkeypatch.setattr(corruptions, "frost_source", lambda name=source: name)
        data.load("fashion_mnist_c/frost/1", "test")
        assert len(list(cache.rglob("*.npy"))) == count


def test_an_interrupted_file_is_not_kept(few, cache, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(corruptions, "corrupt_all", interrupt)
    with pytest.raises(KeyboardInterrupt):
        data.load("fashion_mnist_c/snow/2", "test")
    assert not [p for p in cache.rglob("*") if p.suffix in (".npy", ".tmp")]


def test_a_truncated_file_is_an_error(few, cache):
    data.load("fashion_mnist_c/fog/3", "test")
    (file,) = cache.rglob("*.npy")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="truncated.*Delete it"):
        data.load("fashion_mnist_c/fog/3", "test")
    file.write_bytes(b"")
    with pytest.raises(ValueError, match="truncated.*Delete it"):
        data.load("fashion_mnist_c/fog/3", "test")


def test_large_sets_are_corrupted_when_they_are_read(few, cache, monkeypatch):
    expected = data.load("fashion_mnist_c/glass_blur/2", "test").images
    monkeypatch.setattr(image_data, "LARGEST", 0)
    lazy = data.load("fashion_mnist_c/glass_blur/2", "test")
    assert len(list(cache.rglob("*.npy"))) == 1
    assert len(lazy) == 20
    assert lazy.input_shape == (28, 28, 1)
    for index in (
        slice(3, 9),
        slice(9, 2, -2),
        np.array([7, 7, 0]),
        4,
        -1,
        slice(None),
    ):
        np.testing.assert_array_equal(lazy.images[index], expected[index])
    np.testing.assert_array_equal(lazy.take(5).images[:], expected[:5])


def test_a_folder_of_images_can_be_corrupted(tmp_path, cache):
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        folder = tmp_path / "pets" / "test" / label
        folder.mkdir(parents=True)
        for i in range(2):
            pixels = rng.integers(0, 256, (40, 50, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    (tmp_path / "pets" / "train").mkdir()
    name = str(tmp_path / "pets")
    clean = data.load(name, "test", image_size=(32, 32))
    foggy = data.load(f"{name}_c/fog/5", "test", image_size=(32, 32))
    expected = corruptions.corrupt_all(clean.images[:], "fog", 5)
    np.testing.assert_array_equal(foggy.images, expected)
    assert foggy.classes == ("cat", "dog")
    assert len(list(cache.glob("pets-test/fog-5-*.npy"))) == 1


def test_the_folders_of_imagenet_c_are_taken_as_they_are(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), np.uint8)
    for name, label, image in zip("abc", (0, 1, 1), pixels, strict=True):
        folder = tmp_path / "fog" / "3" / f"n0144076{label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{name}.JPEG", quality=95)
    loaded = data.load("imagenet2012_c/fog/3", "test", str(tmp_path), (64, 64))
    assert loaded.images.shape == (3, 224, 224, 3)  # No resizing: they are 224 already.
    assert loaded.labels.tolist() == [0, 1, 1]
    assert loaded.classes == ("n01440760", "n01440761")
    for path, image in zip(loaded.images.paths, loaded.images[:], strict=True):
        np.testing.assert_array_equal(image, np.asarray(Image.open(path)))
    with pytest.raises(ValueError, match="test images alone"):
        data.load("imagenet2012_c/fog/3", "train", str(tmp_path))


@pytest.mark.parametrize("name", corruptions.CORRUPTIONS)
def test_labels_of_pixels_stay_with_what_they_are_of(name, blocks):
    for severity in corruptions.SEVERITIES:
        full_name = f"blocks_c/{name}/{severity}"
        made = corrupted.load(full_name, "test", None, lambda: blocks)
        seen = np.asarray(made.images[..., 0], "float64")
        known, inner = made.labels, inside(made.labels)
        if name == "elastic_transform":
            distances = np.abs(seen[..., None] - LEVELS)
            np.testing.assert_array_equal(
                distances.argmin(axis=-1)[inner], known[inner]
            )
            assert np.mean(known != blocks.labels) > 0.01
        else:
            np.testing.assert_array_equal(known, blocks.labels)
            # Values change by a lot, and stay where they were.
            assert np.corrcoef(seen[inner], known[inner])[0, 1] > 0.6


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_published_files_are_mapped(published, severity):
    folder, images = published
    loaded = data.load(f"cifar10_c/fog/{severity}", "test", str(folder))
    assert isinstance(loaded.images, np.memmap)
    rows = slice(4 * severity - 4, 4 * severity)
    np.testing.assert_array_equal(loaded.images, images[rows])
    np.testing.assert_array_equal(loaded.labels, [3, 1, 4, 9])
    assert [loaded.classes[label] for label in (3, 1)] == ["cat", "automobile"]
    hundred = data.load(f"cifar100_c/fog/{severity}", "test", str(folder))
    assert len(hundred.classes) == 100


def test_published_files_in_another_order_say_so(published, monkeypatch):
    folder, _ = published
    for split in ("train", "test"):
        monkeypatch.setitem(cifar_files.LAYOUTS["cifar10"][0].counts, split, 4)
    cifar_layouts.write(folder, "cifar10", 4)
    assert data.load("cifar10_c/fog/1", "test", str(folder)).source == (
        "published fog.npy, in another order than the clean images"
    )
    clean = data.load("cifar10", "test", str(folder)).labels
    np.save(folder / "labels.npy", np.tile(clean.astype("int64"), 5))
    corrupted._clean_labels.cache_clear()
    assert data.load("cifar10_c/fog/1", "test", str(folder)).source == (
        "published fog.npy, in the order of the clean images"
    )
    with pytest.raises(ValueError, match="100 classes, not of the 20"):
        data.load("cifar100/coarse_c/fog/1", "test", str(folder))


def test_published_files_that_are_not_there_are_an_error(published):
    folder, _ = published
    with pytest.raises(FileNotFoundError, match="frost.npy'.*has: fog, labels"):
        data.load("cifar10_c/frost/1", "test", str(folder))
    with pytest.raises(ValueError, match="test images alone.*split=train"):
        data.load("cifar10_c/fog/1", "train", str(folder))


def test_damaged_published_files_are_errors(published):
    folder, images = published
    whole = (folder / "fog.npy").read_bytes()
    (folder / "fog.npy").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="fog.npy' is truncated"):
        data.load("cifar10_c/fog/1", "test", str(folder))
    (folder / "frost.npy").write_bytes(b"")
    with pytest.raises(ValueError, match="frost.npy' is truncated or not an"):
        data.load("cifar10_c/frost/1", "test", str(folder))
    np.save(folder / "fog.npy", images[:19])
    with pytest.raises(ValueError, match=r"one fifth.*shape=\(19, 32, 32, 3\)"):
        data.load("cifar10_c/fog/1", "test", str(folder))
    np.save(folder / "fog.npy", images[:15])
    with pytest.raises(ValueError, match="20 labels, 15 images"):
        data.load("cifar10_c/fog/1", "test", str(folder))
    np.save(folder / "fog.npy", images)
    np.save(folder / "labels.npy", np.tile(np.int64((3, 1, 10, -1)), 5))
    with pytest.raises(ValueError, match=r"\[0, 10\).*labels from -1 to 10"):
        data.load("cifar10_c/fog/1", "test", str(folder))


@pytest.mark.parametrize(
    "name, message",
    [
        ("fashion_mnist_c/frog/3", "mean 'fog'.*name=frog"),
        ("fashion_mnist_c/fog/6", "from 1 to 5.*severity=6"),
        ("fashion_mnist_c/fog/-1", "severity=-1"),
        ("fashion_mnist_c/fog/high", "<severity>.*name=..._c/fog/high"),
        ("fashion_mnist_c/fog", "<severity>.*name=..._c/fog"),
        ("fashion_mnist_c/fog/3/4", "name=..._c/fog/3/4"),
    ],
)
def test_other_names_are_errors(name, message):
    with pytest.raises(ValueError, match=message):
        data.load(name, "test")


def test_the_packaged_test_images_are_there():
    dark = data.load("fashion_mnist", "test").take(50)
    assert len(dark) == 50
    image = dark.images[0]
    assert corruptions.corrupt(image, "fog", 5).mean() > image.mean()
