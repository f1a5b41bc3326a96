import numpy as np
import pytest
from PIL import Image

from tests.helpers import scenes
from training import data
from training.data.audit import findings
from training.data.readers import image_files, mask_folders


@pytest.fixture
def folder(tmp_path):
    """Scenes in the layout of SegNet, with a number beyond the classes for no label."""
    whole = scenes.scenes(6)
    masks = np.where(whole.labels < 0, 3, whole.labels)
    scenes.write(tmp_path, "train", whole.images[:4], masks[:4])
    scenes.write(tmp_path, "val", whole.images[:2], masks[:2], palette=True)
    (tmp_path / "classes.txt").write_text("dark\nmiddle\nbright\n")
    return tmp_path


def mask(folder, split="train", number=0):
    return folder / f"{split}annot" / f"{number:03}.png"


def test_a_folder_of_masks_is_its_images_and_labels(folder):
    whole = scenes.scenes(6)
    found = data.load(str(folder), "test")  # The validation set, as there is no other.
    np.testing.assert_array_equal(found.images[:], whole.images[:2].repeat(3, axis=-1))
    np.testing.assert_array_equal(found.labels, whole.labels[:2])
    assert found.classes == scenes.CLASSES
    train = data.load(str(folder), "train", holdout=0)
    np.testing.assert_array_equal(train.labels, whole.labels[:4])
    assert (train.labels == -1).any()
    assert data.own_size(str(folder)) == scenes.SHAPE
    assert "its train images" in train.source
    with pytest.raises(ValueError, match="those of this set have one for each pixel"):
        findings.read(str(folder))
    # Without names, a number above the others is a class, and 255 is none.
    (folder / "classes.txt").unlink()
    numbers = data.load(str(folder), "train", holdout=0)
    assert numbers.classes == ("0", "1", "2", "3")
    assert numbers.labels.max() == 3


def test_classes_without_names_are_those_of_all_splits(folder):
    """Also where no mask of a split has the last one, or it is cut off."""
    (folder / "classes.txt").unlink()
    numbers = np.full((17, 22), 1, "uint8")
    numbers[0, 0], numbers[0, 1] = 6, 255
    Image.fromarray(numbers).save(mask(folder, "val", 1))
    train, test = (
        data.load(str(folder), x, None, (8, 8), 0) for x in ("train", "test")
    )
    assert train.classes == test.classes == tuple("0123456")
    assert max(train.labels.max(), test.labels.max()) < 6
    train.check_trained(test)
    Image.fromarray(np.full((17, 22), 40_000, "uint16")).save(mask(folder))
    with pytest.raises(ValueError, match=r"000.png' has numbers.* Received: 40000"):
        data.load(str(folder), "train", holdout=0)


def test_camvid_is_the_same_layout_with_its_names(folder, tmp_path):
    masks = np.full((2, *scenes.SHAPE), 10)
    scenes.write(folder, "test", scenes.scenes(2).images, masks)
    found = data.load("camvid", "test", str(folder))
    assert found.classes[10] == "bicyclist"
    assert (found.labels == 10).all()
    assert len(data.load("camvid", "validation", str(folder))) == 2
    with pytest.raises(FileNotFoundError, match=r"CamVid is read from files: give the"):
        data.load("camvid", "test", str(tmp_path / "nowhere"))


def test_images_and_masks_of_other_sizes_are_cut_alike(folder):
    whole = scenes.scenes(1, shape=(20, 31))
    rgb = Image.fromarray(whole.images[0].repeat(3, axis=-1))
    labels = np.where(whole.labels[0] < 0, 3, whole.labels[0])
    rgb.save(folder / "train" / "000.png")
    Image.fromarray(labels.astype("uint8")).save(mask(folder))
    assert data.own_size(str(folder)) is None
    found = data.load(str(folder), "train", image_size=(10, 10), holdout=0)
    levels = found.images[0][..., 0].astype(int)
    # Where the image is not blended of two classes, the nearest pixel is of its class.
    expected = np.digitize(levels, (85, 170))
    differ = (found.labels[0] != expected) & (found.labels[0] >= 0)
    assert differ.mean() < 0.2
    numbers = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(image_files.cut(numbers, (3, 4)), numbers)
    np.testing.assert_array_equal(image_files.cut(numbers, (3, 2)), numbers[:, 1:3])
    doubled = numbers.repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(image_files.cut(doubled, (3, 4)), numbers)


def test_the_size_is_that_of_the_images_that_there_are(folder):
    for path in (*(folder / "train").iterdir(), *(folder / "trainannot").iterdir()):
        path.unlink()
    assert data.own_size(str(folder)) == scenes.SHAPE
    assert len(data.load(str(folder), "test")) == 2
    for path in (*(folder / "val").iterdir(), *(folder / "valannot").iterdir()):
        path.unlink()
    assert data.own_size(str(folder)) is None
    with pytest.raises(FileNotFoundError, match="holds no images for that that end in"):
        data.load(str(folder), "test")


def test_pascal_voc_has_lists_and_a_palette(tmp_path):
    whole = scenes.scenes(3)
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for name, numbers in {"train": (0, 1), "val": (2,)}.items():
        (lists / f"{name}.txt").write_text("\n".join(f"{n:03}" for n in numbers))
    masks = np.where(whole.labels < 0, 255, whole.labels)
    scenes.write(tmp_path, "train", whole.images, masks, palette=True)
    (tmp_path / "train").rename(tmp_path / "JPEGImages")
    (tmp_path / "trainannot").rename(tmp_path / "SegmentationClass")
    found = data.load(str(tmp_path), "test")
    np.testing.assert_array_equal(found.labels, whole.labels[2:])
    assert found.classes[:2] == ("background", "aeroplane")
    assert len(data.load(str(tmp_path), "train", holdout=0)) == 2
    (lists / "val.txt").write_text("009")
    with pytest.raises(FileNotFoundError, match="no image '.*009' that is on the list"):
        data.load(str(tmp_path), "test")


def test_masks_that_do_not_fit_are_named(folder):
    good = mask(folder).read_bytes()
    Image.new("L", (22, 17), 7).save(mask(folder))
    with pytest.raises(ValueError, match=r"000.png' has numbers that are no classes: "):
        data.load(str(folder), "train", holdout=0)
    Image.new("L", (17, 22), 1).save(mask(folder))
    with pytest.raises(ValueError, match=r"Received: a mask of 22 x 17 for an imag"):
        data.load(str(folder), "train", holdout=0)
    Image.new("RGB", (22, 17), "red").save(mask(folder))
    with pytest.raises(ValueError, match=r"it has colors \(mode RGB\), and a mask has"):
        data.load(str(folder), "train", holdout=0)
    mask(folder).unlink()
    with pytest.raises(FileNotFoundError, match=r"000.png' has no mask: expected '"):
        data.load(str(folder), "train", holdout=0)
    mask(folder).write_bytes(good)
    (folder / "classes.txt").write_text("dark\ndark\n")
    with pytest.raises(ValueError, match=r"classes.txt' must have the names of two or"):
        data.load(str(folder), "train", holdout=0)
    assert not mask_folders.is_one(folder / "train")
