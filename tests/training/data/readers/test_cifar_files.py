"""CIFAR in the layouts in which it is published, written here byte by byte."""

import gzip
import io
import pickle
import tarfile

import numpy as np
import pytest

from tests.helpers import cifar_layouts
from tests.helpers.cifar_layouts import python2, python3
from tests.helpers.tfds_folders import colors, prepare
from training import data
from training.data.readers import cifar_files

COUNT = 4
FOLDERS = {
    "cifar10": ("cifar-10-batches-bin", "cifar-10-batches-py"),
    "cifar100": ("cifar-100-binary", "cifar-100-python"),
}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    for layouts in cifar_files.LAYOUTS.values():
        for split in ("train", "test"):
            monkeypatch.setitem(layouts[0].counts, split, COUNT)


def places(root, name):
    """Returns each way to name one layout of a set."""
    kinds = ("binary", "python")
    number = name.removeprefix("cifar")
    archives = [root / "archives" / f"cifar-{number}-{kind}.tar.gz" for kind in kinds]
    return [*(root / folder for folder in FOLDERS[name]), *archives]


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("dump", [python2, python3])
def test_every_layout_gives_the_pixels_and_labels_that_were_written(
    name, dump, tmp_path
):
    written = cifar_layouts.write(tmp_path, name, COUNT, dump)
    for split, (images, fine, coarse) in written.items():
        for place in places(tmp_path, name):
            loaded = data.load(name, split, str(place), holdout=0)
            np.testing.assert_array_equal(loaded.images, images)
            np.testing.assert_array_equal(loaded.labels, fine)
            assert loaded.classes == cifar_layouts.CLASSES
            assert place.name in loaded.source
            assert loaded.images.flags.c_contiguous
            if name == "cifar100":
                loaded = data.load("cifar100/coarse", split, str(place))
                np.testing.assert_array_equal(loaded.images, images)
                np.testing.assert_array_equal(loaded.labels, coarse)
                assert loaded.classes == cifar_layouts.COARSE
                assert loaded.name == "cifar100/coarse"


@pytest.mark.parametrize("name", FOLDERS)
def test_the_folder_that_holds_a_layout_or_its_archive_is_enough(name, tmp_path):
    images, *_ = cifar_layouts.write(tmp_path / "one", name, COUNT)["test"]
    binary, python, *archives = places(tmp_path / "one", name)
    for number, place in enumerate((binary, python, *archives)):
        (root := tmp_path / f"of {number}").mkdir()
        place.rename(root / place.name)
        loaded = data.load(name, "test", str(root))
        np.testing.assert_array_equal(loaded.images, images)
    # As Keras leaves it behind.
    nested = tmp_path / "keras" / f"{python.name}-target"
    nested.mkdir(parents=True)
    (tmp_path / "of 1" / python.name).rename(nested / python.name)
    assert len(data.load(name, "test", str(tmp_path / "keras"))) == COUNT


def test_corrupted_images_are_made_of_the_files(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    cifar_layouts.write(tmp_path, "cifar100", COUNT)
    clean = data.load("cifar100/coarse", "test", str(tmp_path))
    made = data.load("cifar100/coarse_c/contrast/3", "test", str(tmp_path))
    assert made.images.shape == clean.images.shape
    assert made.images[:].std() < clean.images.std()
    assert made.classes == cifar_layouts.COARSE


def test_a_prepared_set_is_read_where_there_are_no_files(tmp_path):
    prepare("cifar10", tmp_path, {"test": colors(2, ((32, 32),))})
    assert "TensorFlow Datasets" in data.load("cifar10", "test", str(tmp_path)).source
    with pytest.raises(FileNotFoundError, match="cifar-100-binary.*as data_dir"):
        data.load("cifar100/coarse", "test", str(tmp_path))


def damaged(path, change):
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content[: -len(content) // COUNT],
        lambda content: content + content,
        lambda content: b"",
        lambda content: b"no such file",
        lambda content: bytes(len(content)),
        lambda content: b"\xff" * len(content),
        lambda content: np.random.default_rng(0).bytes(len(content)),
    ],
)
def test_a_file_that_is_truncated_or_another_one_is_named(change, name, kind, tmp_path):
    cifar_layouts.write(tmp_path, name, COUNT)
    folder = places(tmp_path, name)[kind]
    last = next(iter(cifar_files.LAYOUTS[name][kind].parts["test"]))
    before = (folder / last).read_bytes()
    damaged(folder / last, change)
    if kind == 0 and set(change(before)) == {0}:
        assert not data.load(name, "test", str(folder)).images.any()  # It may be.
    elif kind == 1 and change(before)[: len(before)] == before:
        data.load(name, "test", str(folder))  # A pickle ends where it says.
    else:
        with pytest.raises(ValueError, match=f"'.*{last}' "):
            data.load(name, "test", str(folder))


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("name", FOLDERS)
def test_each_file_of_a_layout_is_missed_by_name(name, kind, tmp_path):
    cifar_layouts.write(tmp_path, name, COUNT)
    layout, folder = cifar_files.LAYOUTS[name][kind], places(tmp_path, name)[kind]
    for split, files in layout.parts.items():
        for label_kind in layout.labels if name == "cifar100" else ("class",):
            full = "cifar100/coarse" if label_kind == "coarse" else name
            for file in (*files, layout.meta[label_kind][0]):
                (folder / file).rename(tmp_path / "away")
                with pytest.raises(FileNotFoundError, match=f"no '.*{file}'"):
                    data.load(full, split, str(folder))
                (tmp_path / "away").rename(folder / file)


def test_the_files_of_the_other_set_are_refused(tmp_path):
    for name in FOLDERS:
        cifar_layouts.write(tmp_path / name, name, COUNT)
    ten, hundred = (places(tmp_path / name, name) for name in FOLDERS)
    (hundred[0] / "test.bin").replace(ten[0] / "test_batch.bin")
    with pytest.raises(ValueError, match="test_batch.bin' .*records of 3073"):
        data.load("cifar10", "test", str(ten[0]))
    (ten[1] / "test_batch").replace(hundred[1] / "test")
    with pytest.raises(ValueError, match="test' is another file.*no 'coarse_labels'"):
        data.load("cifar100", "test", str(hundred[1]))
    with pytest.raises(ValueError, match="cifar-10-bin.*expected.*cifar-100-binary"):
        data.load("cifar100", "test", str(ten[2]))


def test_labels_out_of_range_name_the_file(tmp_path):
    cifar_layouts.write(tmp_path, "cifar10", COUNT)
    damaged(
        tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin",
        lambda content: b"\x03" + content[1:],
    )
    with pytest.raises(ValueError, match=r"data_batch_3.bin'.*\[0, 3\).*to 3"):
        data.load("cifar10", "train", str(tmp_path))


@pytest.mark.parametrize("kind", ["binary", "python"])
def test_a_damaged_archive_is_named(kind, tmp_path):
    cifar_layouts.write(tmp_path, "cifar10", COUNT)
    path = tmp_path / "archives" / f"cifar-10-{kind}.tar.gz"
    whole = path.read_bytes()
    for content in (
        *(whole[: len(whole) // 2], whole[:-8], whole[:-1], b"", b"no archive"),
        gzip.compress(b"no archive"),
        whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:],  # Its checksum.
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"archive '.*{path.name}' is truncated"):
            data.load("cifar10", "test", str(path))


def test_an_archive_without_a_file_or_with_a_huge_one_is_refused(tmp_path):
    cifar_layouts.write(tmp_path, "cifar10", COUNT)
    folder, path = tmp_path / "cifar-10-batches-bin", tmp_path / "some.tar.gz"
    (folder / "test_batch.bin").rename(tmp_path / "away")
    cifar_layouts.archive(folder, path)
    with pytest.raises(ValueError, match="some.tar.gz' lacks test_batch.bin"):
        data.load("cifar10", "test", str(path))
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)
        info = tarfile.TarInfo(f"{folder.name}/test_batch.bin")
        info.size = 1 << 22
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(ValueError, match="some.tar.gz'.*has 4194304 bytes"):
        data.load("cifar10", "test", str(path))


class Harmful:
    """Unpickled, it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_that_runs_a_program_is_refused_by_name(tmp_path):
    cifar_layouts.write(tmp_path, "cifar10", COUNT)
    file = tmp_path / "cifar-10-batches-py" / "test_batch"
    content = {"data": Harmful(tmp_path / "harm"), "labels": [0] * COUNT}
    file.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match="test_batch' holds an object of '_?io.open'"):
        data.load("cifar10", "test", str(file.parent))
    assert not (tmp_path / "harm").exists()


def test_pixels_of_another_type_or_shape_are_refused(tmp_path):
    cifar_layouts.write(tmp_path, "cifar10", COUNT)
    file = tmp_path / "cifar-10-batches-py" / "test_batch"
    for pixels in (
        *(np.zeros((COUNT, 3072), "float32"), np.zeros((COUNT, 3071), "uint8")),
        *(np.zeros((3072, COUNT), "uint8"), [0], "bytes", None),
        np.zeros((COUNT, 3072), "uint8").astype(object),
        np.zeros((COUNT, 3072), [("a", "u1")]),
    ):
        file.write_bytes(pickle.dumps({"data": pixels, "labels": [0] * COUNT}))
        with pytest.raises(ValueError, match="test_batch' is truncated"):
            data.load("cifar10", "test", str(file.parent))
    for labels in ([0.5] * COUNT, [0] * 3, ["a"] * COUNT, None, [[0]] * COUNT):
        pixels = np.zeros((COUNT, 3072), "uint8")
        file.write_bytes(pickle.dumps({"data": pixels, "labels": labels}))
        with pytest.raises(ValueError, match="test_batch' must have 4 integer labels"):
            data.load("cifar10", "test", str(file.parent))


def test_an_array_in_columns_is_read_as_it_is(tmp_path):
    cifar_layouts.write(tmp_path, "cifar10", COUNT)
    file = tmp_path / "cifar-10-batches-py" / "test_batch"
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 3072), np.uint8)
    content = {"data": np.asfortranarray(pixels), "labels": np.zeros(COUNT, ">i8")}
    file.write_bytes(pickle.dumps(content))
    loaded = data.load("cifar10", "test", str(file.parent)).images
    expected = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(loaded, expected)


def test_a_folder_of_cifar_does_not_hide_the_packaged_test_images(tmp_path):
    found = data.load("fashion_mnist", "test", str(tmp_path))
    assert found.images.shape == (10_000, 28, 28, 1)
