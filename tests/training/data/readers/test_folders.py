"""Which images of a folder are of which class and of which split."""

import os
import zlib

import numpy as np
import pytest
from PIL import Image

from training import data
from training.data.readers import folders


def put(folder, *names, size=(20, 20)):
    """Writes an image for each name, of a color that is its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        color = [len(name) % 256, sum(map(ord, name)) % 256, 3]
        image = Image.new("RGB", size[::-1], tuple(color))
        image.save(folder / name, None if "." in name[1:] else "PNG")


def put_classes(root, **counts):
    for name, count in counts.items():
        put(root / name, *(f"{i}.png" for i in range(count)))


def counts(root, split, **options):
    found = data.load(str(root), split, image_size=(16, 16), **options)
    each = np.bincount(found.labels, minlength=len(found.classes)).tolist()
    return dict(zip(found.classes, each, strict=True))


@pytest.mark.parametrize(
    "first, second",
    [
        ("train", "val"),
        ("train", "valid"),
        ("train", "validation"),
        ("Train", "Test"),
        ("TRAIN", "VAL"),
        ("training", "testing"),
        ("train", "dev"),
        ("training", "evaluation"),
    ],
)
def test_folders_of_splits_are_no_classes(tmp_path, first, second):
    put_classes(tmp_path / first, ant=3, bee=4)
    put_classes(tmp_path / second, ant=2, bee=1)
    assert counts(tmp_path, "train") == {"ant": 3, "bee": 4}
    assert counts(tmp_path, "test") == {"ant": 2, "bee": 1}
    test = data.load(str(tmp_path), "test")
    assert test.source == f"folder {tmp_path.name}, its {second}/"
    assert {path.parts[-3] for path in test.images.paths} == {second}


def test_with_a_test_set_the_validation_set_is_for_validation(tmp_path):
    for split, count in (("train", 5), ("val", 2), ("test", 3)):
        put_classes(tmp_path / split, ant=count, bee=count)
    assert counts(tmp_path, "test") == {"ant": 3, "bee": 3}
    assert counts(tmp_path, "train") == {"ant": 5, "bee": 5}
    found = data.load(str(tmp_path), "validation")
    assert len(found) == 4
    assert "its val/" in found.source


def test_what_lies_beside_the_splits_is_left_out_and_named(tmp_path):
    for split in ("train", "val", "unlabeled", "__MACOSX", ".cache"):
        put_classes(tmp_path / split, ant=2, bee=2)
    put(tmp_path / "train", "loose.png")
    train = data.load(str(tmp_path), "train")
    assert len(train) == 4
    text = "its train/, without unlabeled/, without 1 images in no folder of a class"
    assert train.source.endswith(text)


def test_folders_inside_of_each_class_are_named(tmp_path):
    for patient in ("p1", "p2", "p3"):
        put_classes(tmp_path / patient, benign=20, malignant=20)
    text = "of each class its folders benign, malignant together"
    assert data.load(str(tmp_path), "all").source.endswith(text)
    put_classes(tmp_path / "p4", benign=20)
    assert "together" not in data.load(str(tmp_path), "all").source


@pytest.mark.parametrize("link, target", [("cat", "ant"), ("a/test", "a/train")])
def test_two_names_of_one_folder_are_refused(tmp_path, link, target):
    put_classes(tmp_path / "d", ant=20, bee=20)
    put_classes(tmp_path / "d" / "a" / "train", ant=20, bee=20)
    root = tmp_path / "d" / link
    root.symlink_to(tmp_path / "d" / target, target_is_directory=True)
    root = root.parent
    with pytest.raises(ValueError, match="are one folder, by a link"):
        data.load(str(root), "train")


def test_a_folder_for_training_alone_is_divided(tmp_path):
    put_classes(tmp_path / "train", ant=40, bee=40)
    parts = [counts(tmp_path, split) for split in data.SPLITS]
    assert sum(sum(part.values()) for part in parts) == 80
    assert {*parts[0]} == {"ant", "bee"}


def test_a_class_may_be_called_train(tmp_path):
    put_classes(tmp_path, car=30, train=30)
    assert set(counts(tmp_path, "train")) == {"car", "train"}


@pytest.mark.parametrize("pair", [("train", "Train"), ("val", "valid")])
def test_two_folders_of_one_split_are_refused(tmp_path, pair):
    for name in ("train", *pair):
        put_classes(tmp_path / name, ant=2, bee=2)
    with pytest.raises(ValueError, match="two folders of one kind"):
        data.load(str(tmp_path), "train")


@pytest.mark.parametrize(
    "places, message",
    [
        (("seg_train/ant", "seg_test/ant"), "seems to be a split with classes in it"),
        (("ant", "bee", "test/ant"), "seems to be a split with classes in it: ant"),
        (("trainset/ant", "testset/ant"), "seems to be a split with classes in it"),
        (("TrainData/ant", "TestData/ant"), "seems to be a split with classes in it"),
        (("fold1/ant", "fold2/ant", "fold3/ant"), "seems to be a split with classes"),
        (("train/ant", "train/bee", "cat"), "seems to be a split with classes in it"),
        (("all/ant", "all/bee", "ant", "bee"), "has folders of other classes in it"),
        (("ant/train", "ant/test", "bee/train"), "has folders of splits in it"),
        (("bottle/train/good", "bottle/test/broken"), "has folders of splits in it"),
        (("train", "test"), "holds images, but no folders of classes"),
    ],
)
def test_splits_that_are_not_understood_are_refused(tmp_path, places, message):
    for place in places:
        put(tmp_path / place, "0.png", "1.png")
    with pytest.raises(ValueError, match=message):
        data.load(str(tmp_path), "train")


def test_hidden_and_system_folders_and_files_are_left_out(tmp_path):
    put_classes(tmp_path, ant=40, bee=40)
    for name in (
        ".ipynb_checkpoints",
        "__MACOSX",
        "@eaDir",
        "__pycache__",
        "$RECYCLE.BIN",
    ):
        put(tmp_path / name, "0.png")
    put(tmp_path / "ant" / ".ipynb_checkpoints", "0-checkpoint.png")
    (tmp_path / "ant" / "._0.png").write_bytes(b"of macOS")
    assert counts(tmp_path, "all") == {"ant": 40, "bee": 40}


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_a_class_whose_files_cannot_be_read_is_refused(tmp_path, split):
    put_classes(tmp_path, ant=40, bee=40)
    (tmp_path / "cat").mkdir()
    for i in range(3):
        (tmp_path / "cat" / f"{i}.heic").touch()
    (tmp_path / "cat" / "note").touch()
    with pytest.raises(ValueError, match=r"cat' holds no image.*1 -, 3 \.heic.*\.tif"):
        data.load(str(tmp_path), split)


def test_other_files_beside_images_are_counted(tmp_path):
    put_classes(tmp_path, ant=2, bee=2)
    (tmp_path / "bee" / "labels.csv").touch()
    found = data.load(str(tmp_path), "all")
    assert len(found) == 4
    assert found.source.endswith("all images, without 1 .csv")


def test_an_empty_class_is_refused_for_training_and_told_for_testing(tmp_path):
    put_classes(tmp_path / "train", ant=2, bee=2, cat=2)
    put_classes(tmp_path / "test", ant=1, bee=1, cat=0, dog=0)
    test = data.load(str(tmp_path), "test")
    assert test.classes == ("ant", "bee", "cat")
    assert "1 of ant, 1 of bee, 0 of cat (" in test.describe()
    put_classes(tmp_path / "train", dog=0)
    with pytest.raises(ValueError, match="without an image for training: dog"):
        data.load(str(tmp_path), "train")


def test_a_class_that_is_not_trained_cannot_be_tested(tmp_path):
    put_classes(tmp_path / "train", ant=2, bee=2)
    put_classes(tmp_path / "val", ant=1, Bee=1)
    with pytest.raises(ValueError, match="has classes that '.*train' has not: Bee"):
        data.load(str(tmp_path), "test")


def test_each_class_keeps_an_image_for_training(tmp_path):
    rule = folders._is_test
    name = next(
        f"{i}.png" for i in range(99) if rule(tmp_path / "a" / f"{i}.png", tmp_path)
    )
    put(tmp_path / "a", name)
    put_classes(tmp_path, b=90)
    train, held_out, test = (counts(tmp_path, split) for split in data.SPLITS)
    assert (train["a"], held_out["a"], test["a"]) == (1, 0, 0)
    assert train["b"] + held_out["b"] + test["b"] == 90
    assert test["b"]


def test_what_is_drawn_for_testing_follows_from_the_name_alone(tmp_path):
    """The rule is that of the first version: CRC-32 of the path, one in ten."""
    put_classes(tmp_path / "d", ant=60)
    test = data.load(str(tmp_path / "d"), "test", image_size=(16, 16))
    drawn = {f"ant/{path.name}" for path in test.images.paths}

    expected = {
        name
        for name in (f"ant/{i}.png" for i in range(60))
        if zlib.crc32(name.encode()) % 10 == 0
    }
    assert drawn == expected
    assert expected


def test_a_held_out_folder_beside_that_for_training_is_taken_whole(tmp_path):
    put_classes(tmp_path / "train", ant=20, bee=20)
    put_classes(tmp_path / "test", ant=20, bee=0)
    test = data.load(str(tmp_path / "test"), "test")
    assert len(test) == 20
    assert test.classes == ("ant", "bee")
    assert test.source == "folder test, all images"
    with pytest.raises(ValueError, match="Give the folder of both, "):
        data.load(str(tmp_path / "test"), "train")


def test_a_folder_that_is_called_test_is_divided_like_any(tmp_path):
    put_classes(tmp_path / "test", ant=40, bee=40)
    put_classes(tmp_path / "train", locomotive=3)
    parts = [counts(tmp_path / "test", split) for split in data.SPLITS]
    assert sum(sum(part.values()) for part in parts) == 80
    assert sum(parts[2].values()) < 20


def test_what_is_not_divided_is_taken_whole_out_of_distribution(tmp_path):
    put_classes(tmp_path / "unknown", things=50)
    shape = (16, 16, 3)
    assert len(data.load_ood(str(tmp_path / "unknown"), shape)) == 50
    turned = f"{tmp_path / 'unknown'}_rotation/90"
    assert len(data.load_ood(turned, shape)) == 50
    part = data.load(str(tmp_path / "unknown"), "test", image_size=(16, 16))
    assert f"{len(part)} of its 50 images, the others are for training" in part.source
    put_classes(tmp_path / "known" / "train", things=5)
    put_classes(tmp_path / "known" / "test", things=2)
    assert len(data.load_ood(str(tmp_path / "known"), shape)) == 2
    with pytest.raises(ValueError, match="split=all"):
        data.load("fashion_mnist", "all")


def test_images_in_folders_of_a_class_belong_to_it(tmp_path):
    put(tmp_path / "dog" / "beagle", "0.png")
    put(tmp_path / "dog" / "pug" / "young", "1.JPG")
    put(tmp_path / "cat", "2.Jpeg")
    assert counts(tmp_path, "all") == {"cat": 1, "dog": 2}


def test_links_are_followed_and_loops_end(tmp_path):
    put(tmp_path / "store" / "inside", "0.png")
    put(tmp_path / "d" / "cat", "1.png")
    (tmp_path / "d" / "dog").symlink_to(tmp_path / "store")
    (tmp_path / "d" / "cat" / "more").symlink_to(tmp_path / "store" / "inside")
    (tmp_path / "d" / "cat" / "loop").symlink_to(tmp_path / "d" / "cat")
    assert counts(tmp_path / "d", "all") == {"cat": 2, "dog": 1}


def test_a_folder_that_is_called_like_an_image_is_none(tmp_path):
    put_classes(tmp_path, ant=2)
    put(tmp_path / "ant" / "album.png", "deep.png")
    assert counts(tmp_path, "all") == {"ant": 3}


def test_names_need_not_be_ascii_nor_text(tmp_path):
    composed, apart = "caf\u00e9", "cafe\u0301"
    put(tmp_path / "train" / composed, "\u732b.png", "b.png")
    put(tmp_path / "val" / apart, "0.png")
    test = data.load(str(tmp_path), "test")
    assert test.classes == (composed,)
    assert len(test) == 1
    odd = tmp_path / "odd" / "ant"
    put(odd, "0.png")
    os.rename(odd / "0.png", os.fsencode(odd) + b"/\xff.png")
    found = data.load(str(tmp_path / "odd"), "all")
    assert len(found) == 1
    assert found.images.fingerprint()
    assert found.images[0].shape == (20, 20, 3)


def test_a_point_is_the_name_of_the_folder(tmp_path, monkeypatch):
    put_classes(tmp_path / "pets", ant=2)
    monkeypatch.chdir(tmp_path / "pets")
    assert data.load(".", "all").name == "pets"
    monkeypatch.chdir(tmp_path / "pets" / "ant")
    assert data.load("..", "all").name == "pets"
    assert folders.name_of("/") == "root"


def test_images_of_one_size_keep_it(tmp_path):
    put(tmp_path / "train" / "ant", "0.png", "1.png", size=(24, 40))
    put(tmp_path / "val" / "ant", "0.png", size=(90, 90))
    for split in ("train", "test"):
        assert data.load(str(tmp_path), split).input_shape == (24, 40, 3)
    put(tmp_path / "train" / "ant", "2.png", size=(25, 40))
    assert data.own_size(f"{tmp_path}_c/fog/1") is None
    assert data.load(str(tmp_path), "train").input_shape == (224, 224, 3)
    assert data.own_size("fashion_mnist") is None


@pytest.mark.parametrize("size", [(1, 1), (15, 40), (513, 20)])
def test_images_of_a_size_that_no_network_takes_do_not_keep_it(tmp_path, size):
    put(tmp_path / "ant", "0.png", size=size)
    assert folders.own_size(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_a_broken_image_is_named_when_sizes_are_looked_at(tmp_path, content):
    put_classes(tmp_path, ant=2)
    (tmp_path / "ant" / "broken.png").write_bytes(content)
    with pytest.raises(ValueError, match="Cannot read the image .*broken.png"):
        data.load(str(tmp_path), "all")


def test_many_classes_are_told_in_short():
    labels = np.repeat(np.arange(20), 3)[1:]
    images = np.zeros((59, 8, 9, 1), "uint8")
    many = data.ImageData("d", images, labels, tuple("abcdefghijklmnopqrstuvwxyz"))
    assert many.describe() == (
        "d: 59 images of 8 x 9, 26 classes, from 0 to 3 of each, none of 6"
    )
    few = data.ImageData("d", images, labels % 2, ("a", "b"), 1, "somewhere")
    assert few.describe() == "d: 59 images of 8 x 9, 29 of a, 30 of b (somewhere)"
