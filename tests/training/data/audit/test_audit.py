"""What is wrong with data sets is found, to the image."""

import itertools

import numpy as np
import pytest
from PIL import Image

from tests.helpers.data_sets import stripes
from training.data import audit, loading
from training.data.audit import contact_sheet, perceptual_hashes

RNG = np.random.default_rng(0)


def pictures(count):
    """Images of large blotches, none of which looks like another one."""
    coarse = RNG.integers(0, 200, (count, 6, 6, 3)).astype("uint8")
    return [
        Image.fromarray(x).resize((64, 48), Image.Resampling.BICUBIC) for x in coarse
    ]


@pytest.fixture
def folder(tmp_path):
    """Eleven cats, eleven dogs and three owls for training, and what is wrong."""
    cats, dogs, owls, tests = (pictures(n) for n in (11, 11, 3, 3))
    files = {f"train/cat/{n}.png": image for n, image in enumerate(cats)}
    files |= {f"train/dog/{n}.png": image for n, image in enumerate(dogs)}
    files |= {f"train/owl/{n}.png": image for n, image in enumerate(owls)}
    files |= {f"test/cat/{n}.png": image for n, image in enumerate(tests)}
    files["train/cat/again.png"] = cats[0]
    files["train/dog/cat.png"] = cats[1]
    files["test/cat/seen.bmp"] = cats[2]
    brighter = dogs[3].point(lambda value: value + 9)
    files["test/dog/brighter.png"] = brighter.resize((90, 70))
    for name, image in files.items():
        path = tmp_path / "pets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    (tmp_path / "pets/test/dog/notes.png").write_text("no image")
    return tmp_path / "pets"


def names(finding):
    return {"/".join(image["file"].split("/")[-3:]) for image in finding["images"]}


def test_everything_that_was_put_into_a_folder_is_found(folder):
    train, test = parts = audit.read(str(folder))
    assert (train.name, len(train), test.name, len(test)) == (
        *("pets train", 27),
        *("pets test", 5),
    )
    copies = audit.copies(parts)
    assert sorted(map(names, copies), key=sorted) == [
        {"test/cat/seen.bmp", "train/cat/2.png"},
        {"train/cat/0.png", "train/cat/again.png"},
        {"train/cat/1.png", "train/dog/cat.png"},
    ]
    (alike,) = audit.near_copies(parts, 2)
    assert names(alike) == {"test/dog/brighter.png", "train/dog/3.png"}
    rest = list(audit.classes(parts))
    assert [(f["kind"], f["part"], f.get("class"), f.get("count")) for f in rest] == [
        ("tiny class", "pets train", "owl", 3),
        ("tiny class", "pets test", "cat", 4),
        ("tiny class", "pets test", "dog", 1),
        ("missing class", "pets test", "owl", 0),
        ("unreadable", "pets test", None, None),
    ]
    assert rest[-1]["file"].endswith("notes.png")
    assert "Cannot read" in rest[-1]["reason"]
    assert audit.summary(parts, [*rest, *copies, alike]) == [
        "pets train: 27 images of 3 classes\n  tiny class: 1 (owl)",
        "pets test: 5 images of 3 classes\n  tiny class: 2 (cat, dog)\n"
        f"  missing class: 1 (owl)\n  unreadable: 1 ({rest[-1]['file']})",
        "copies within pets train: 2, 1 under another label",
        "copies of pets test in pets train: 1",
        "near copies of pets test in pets train: 1",
    ]


def test_classes_of_a_kind_are_in_one_line_of_the_summary():
    part = audit.Part("a all", "a", np.array([1]), ("x", "y", "z"), np.array([5], "u8"))
    assert audit.summary([part], list(audit.classes([part]))) == [
        "a all: 1 images of 3 classes\n  missing class: 2 (x, z)\n  tiny class: 1 (y)"
    ]


def test_a_folder_without_splits_and_two_folders_are_compared(folder):
    (train,) = audit.read(str(folder / "train"), near=False)
    (test,) = audit.read(str(folder / "test" / "..") + "/test", near=False)
    assert train.perceptual is None
    (found,) = (f for f in audit.copies([train, test]) if "test" in str(names(f)))
    assert [image["part"] for image in found["images"]] == ["train all", "test all"]


def test_sets_by_name_are_compared_in_all_of_their_splits(monkeypatch):
    data = stripes(40)
    wanted = {"train": data.take(30), "test": data}

    def load(name, split, data_dir, holdout):
        assert (name, data_dir, holdout) == ("made_up", "there", 0)
        return wanted[split]

    monkeypatch.setattr(loading, "load", load)
    monkeypatch.setattr(loading, "publishes_validation", lambda *_: False)
    parts = audit.read("made_up", "there")
    assert [part.name for part in parts] == ["made_up train", "made_up test"]
    assert len(audit.copies(parts)) == 30
    assert audit.summary(parts, audit.copies(parts))[-1] == (
        "copies of made_up test in made_up train: 30"
    )


def test_what_is_not_there_is_left_out_unless_nothing_is(monkeypatch):
    def load(name, split, *_, **__):
        if name == "half" and split == "test":
            return stripes(4)
        raise FileNotFoundError(f"no {split} of {name}")

    monkeypatch.setattr(loading, "load", load)
    monkeypatch.setattr(loading, "publishes_validation", lambda *_: False)
    (part,) = audit.read("half", near=False)
    assert part.name == "half test"
    with pytest.raises(FileNotFoundError, match="no test of none"):
        audit.read("none", near=False)


def test_derived_sets_are_refused():
    for name in ("friedman1", "houses.csv", "houses.npz"):
        with pytest.raises(ValueError, match=f"numbers to predict. Received: {name}"):
            audit.read(name)
    with pytest.raises(ValueError, match="Received: fashion_mnist_c/fog/3"):
        audit.read("fashion_mnist_c/fog/3")


@pytest.mark.parametrize("distance", [0, 1, 3, 7])
def test_pairs_of_hashes_are_those_of_a_loop_over_all(distance):
    rng = np.random.default_rng(0)
    values = rng.integers(2**64, size=60, dtype="u8")
    flips = np.bitwise_or.reduce(
        np.uint64(1) << rng.integers(64, size=(60, 4), dtype="u8"), axis=1
    )
    values = np.unique(np.concatenate([values, values ^ flips]))
    expected = {
        (i, j, bits)
        for (i, a), (j, b) in itertools.combinations(enumerate(values.tolist()), 2)
        if (bits := (a ^ b).bit_count()) <= distance
    }
    found = list(perceptual_hashes.near_pairs(values, distance))
    assert sorted(found) == sorted(expected)
    assert bool(expected) == (distance > 1)


def test_a_perceptual_hash_bears_light_and_size_but_no_other_image():
    first, second = pictures(2)
    values = [
        np.asarray(first),
        np.asarray(first.resize((120, 100))),
        np.asarray(second),
    ]
    values.append(np.asarray(first.point(lambda value: value + 20)))
    own, larger, other, brighter = map(perceptual_hashes.perceptual_hash, values)
    assert (own ^ larger).bit_count() <= 2
    assert (own ^ brighter).bit_count() <= 2
    assert (own ^ other).bit_count() > 15
    gray = np.asarray(first.convert("L"))[..., None]
    assert perceptual_hashes.perceptual_hash(gray) == own


def test_images_that_look_alike_are_drawn(folder, tmp_path):
    parts = audit.read(str(folder))
    contact_sheet.draw(parts, audit.near_copies(parts, 2), tmp_path / "a.png")
    image = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    assert np.ptp(image, axis=(0, 1)).min() > 150  # Neither empty nor gray.
