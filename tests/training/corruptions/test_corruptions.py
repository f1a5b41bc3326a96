"""The corruptions: what all of them keep, golden values, and order of images."""

import json
import pathlib
import re

import cv2
import numpy as np
import pytest

from training import corruptions
from training.corruptions import BENCHMARK, CORRUPTIONS, corrupt, corrupt_all, frost

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "corruptions.json"
# These do not move the image farther at every step: glass repeats more but blurs less,
# motion gets longer but no stronger, frost and fog darken and brighten, snow has fewer
# but larger flakes, spatter turns to mud, colors fade and then glow, elastic shrinks.
NOT_MONOTONE = {
    "motion_blur": (32,),
    "glass_blur": (32, 224),
    "frost": (32, 224),
    "fog": (224,),
    "snow": (224,),
    "spatter": (32,),
    "saturate": (32, 224),
    "elastic_transform": (32, 224),
}


@pytest.fixture(autouse=True)
def _own_textures(monkeypatch):
    monkeypatch.setattr(frost, "_folder", lambda: None)


@pytest.fixture(scope="module")
def photo():
    data = pytest.importorskip("skimage.data")
    image = data.astronaut()
    return {
        side: cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        for side in (32, 224)
    }


def summary(image, corrupted):
    """Mean, mean distance, and mean difference of neighbors."""
    values = corrupted.astype(float)
    rough = np.abs(np.diff(values, axis=0)).mean()
    return [values.mean(), np.abs(values - image).mean(), rough]


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize(
    "shape", [(32, 32, 3), (28, 28, 1), (97, 120, 3), (120, 90, 1)]
)
def test_shape_and_input_stay(name, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    before = image.copy()
    for severity in (1, 5):
        corrupted = corrupt(image, name, severity)
        assert corrupted.shape == shape
        assert corrupted.dtype == np.uint8
        assert not np.shares_memory(corrupted, image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("value", [0, 255])
def test_flat_images_do_not_break(name, value):
    for channels in (1, 3):
        image = np.full((32, 30, channels), value, np.uint8)
        corrupted = corrupt(image, name, 3)
        if name.endswith("_blur") or name in {"contrast", "pixelate", "saturate"}:
            np.testing.assert_array_equal(corrupted, image)


@pytest.mark.parametrize("side", [32, 224])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_values_stay_as_they_were(name, side, photo):
    golden = json.loads(GOLDEN.read_text())[f"{name}/{side}"]
    for severity, expected in enumerate(golden, start=1):
        actual = summary(photo[side], corrupt(photo[side], name, severity))
        # Another version of OpenCV may round a few pixels differently.
        np.testing.assert_allclose(actual, expected, atol=0.1)


@pytest.mark.parametrize("side", [32, 224])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_distance_grows_with_severity(name, side, photo):
    count = 1 if name in corruptions.DETERMINISTIC else 40 if name == "frost" else 8
    image, seeds = photo[side], range(count)
    distances = [
        np.mean([cv2.absdiff(image, corrupt(image, name, severity, i)) for i in seeds])
        for severity in corruptions.SEVERITIES
    ]
    assert min(distances) > 0
    if side not in NOT_MONOTONE.get(name, ()):
        assert distances == sorted(distances)
    elif name != "elastic_transform":
        assert distances[4] > distances[0]


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(14, 28, 28, 1), (6, 28, 36, 3), (6, 96, 100, 3)])
def test_an_array_gives_the_pixels_of_its_images(name, shape):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    singles = [corrupt(image, name, 3, 7, i) for i, image in enumerate(images)]
    for workers in (1, 2, 3):
        together = corrupt_all(images, name, 3, 7, workers)
        np.testing.assert_array_equal(together, singles)


def test_other_processes_give_the_same_pixels(monkeypatch):
    monkeypatch.setattr(corruptions.batch, "_MANY", 10 * 28**2)
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1), np.uint8)
    for name in ("glass_blur", "fog", "shot_noise", "snow", "elastic_transform"):
        expected = corrupt_all(images, name, 5, 1, workers=1)
        for _ in range(2):  # The processes stay for the second time.
            together = corrupt_all(images, name, np.int64(5), np.int64(1), workers=2)
            np.testing.assert_array_equal(together, expected)
        chosen = np.random.default_rng(1).permutation(20)[:15]
        some = corrupt_all(images[chosen], name, 5, 1, workers=2, first=chosen)
        np.testing.assert_array_equal(some, expected[chosen])
    corruptions.worker.stop()


def test_a_process_that_dies_is_reported(monkeypatch, capfd):
    monkeypatch.setattr(corruptions.batch, "_MANY", 2)
    program = "import os, sys; os.read(0, 9999); sys.exit('oh')"
    monkeypatch.setattr(corruptions.worker, "_PROGRAM", program)
    images = np.zeros((800, 28, 28, 1), np.uint8)
    with pytest.raises(RuntimeError, match="`workers=1` does without"):
        corrupt_all(images, "fog", 1, workers=2)
    assert "oh" in capfd.readouterr().err
    monkeypatch.undo()
    corrupt_all(images, "fog", 1, workers=2)
    corruptions.worker.stop()


@pytest.mark.parametrize("name", sorted({*CORRUPTIONS} - corruptions.DETERMINISTIC))
def test_numbers_depend_on_seed_and_index_and_nothing_else(name):
    image = np.random.default_rng(0).integers(60, 200, (32, 32, 3), np.uint8)
    first = corrupt(image, name, 5, seed=1, index=2)
    np.testing.assert_array_equal(first, corrupt(image, name, 5, seed=1, index=2))
    assert (first != corrupt(image, name, 5, seed=2, index=2)).any()
    assert (first != corrupt(image, name, 5, seed=1, index=3)).any()


def test_the_benchmark_is_fifteen_of_nineteen():
    assert len(CORRUPTIONS) == 19
    assert len(BENCHMARK) == 15
    assert set(CORRUPTIONS) - set(BENCHMARK) == {
        "speckle_noise",
        "gaussian_blur",
        "spatter",
        "saturate",
    }


@pytest.mark.parametrize("side, nearest", [(28, 32), (64, 32), (84, 32), (85, 224)])
def test_other_sizes_take_the_nearest_constants(side, nearest):
    image = np.full((side + 40, side, 1), 100, np.uint8)
    added = {32: 12, 224: 25}[nearest]
    assert corrupt(image, "brightness", 1).mean() == 100 + added


def test_an_unknown_corruption_is_an_error_that_names_the_nearest():
    image = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match="mean 'glass_blur'.*name=glas_blur"):
        corrupt(image, "glas_blur", 1)
    with pytest.raises(ValueError, match=r"Unknown.*name=\['fog'\]"):
        corrupt(image, ["fog"], 1)


@pytest.mark.parametrize("severity", [0, 6, -1, 2.0, True, "3", None, (1,)])
def test_an_unknown_severity_is_an_error(severity):
    message = re.escape(f"from 1 to 5. Received: severity={severity!r}")
    with pytest.raises(ValueError, match=message):
        corrupt(np.zeros((32, 32, 3), np.uint8), "fog", severity)


@pytest.mark.parametrize(
    "image, message",
    [
        (np.zeros((32, 32, 3), "float32"), "uint8.*float32"),
        ([[1, 2]], "uint8.*list"),
        (np.zeros((32, 32), "uint8"), r"shape=\(32, 32\)"),
        (np.zeros((32, 32, 4), "uint8"), r"channels.*shape=\(32, 32, 4\)"),
        (np.zeros((4, 32, 3), "uint8"), r"8 x 8.*shape=\(4, 32, 3\)"),
        (np.zeros((0, 32, 3), "uint8"), r"8 x 8.*shape=\(0, 32, 3\)"),
        (np.zeros((2, 32, 32, 3), "uint8"), r"shape=\(2, 32, 32, 3\)"),
        (np.zeros(0, "uint8"), r"shape=\(0,\)"),
    ],
)
def test_other_pixels_are_an_error(image, message):
    with pytest.raises(ValueError, match=message):
        corrupt(image, "fog", 1)


@pytest.mark.parametrize("name", ["seed", "index"])
def test_numbers_that_are_not_natural_are_an_error(name):
    image = np.zeros((32, 32, 3), np.uint8)
    for value in (-1, 0.5, "1"):
        with pytest.raises(ValueError, match=f"{name}={value!r}"):
            corrupt(image, "fog", 1, **{name: value})


def test_an_array_has_the_same_errors():
    images = np.zeros((2, 32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match="Unknown corruption"):
        corrupt_all(images, "frog", 1)
    with pytest.raises(ValueError, match=r"\(images, height.*shape=\(32, 32, 3\)"):
        corrupt_all(images[0], "fog", 1)
    with pytest.raises(ValueError, match="workers=-1"):
        corrupt_all(images, "fog", 1, workers=-1)
    with pytest.raises(ValueError, match="uint8.*float64"):
        corrupt_all(images / 255, "fog", 1)
    with pytest.raises(ValueError, match=r"8 x 8.*shape=\(2, 0, 32, 3\)"):
        corrupt_all(images[:, :0], "fog", 1)
    for first in (1.5, -1, [1], [1.0, 2.0], [-1, 2], [[1, 2]]):
        with pytest.raises(ValueError, match=re.escape(f"first={first}")):
            corrupt_all(images, "fog", 1, first=first)
    assert corrupt_all(images[:0], "fog", 1).shape == (0, 32, 32, 3)


def main():
    """Writes the golden values; `python -m` this module."""
    from skimage import data

    frost._folder = lambda: None
    golden = {}
    for side in (32, 224):
        size = side, side
        image = cv2.resize(data.astronaut(), size, interpolation=cv2.INTER_AREA)
        for name in CORRUPTIONS:
            golden[f"{name}/{side}"] = [
                np.round(summary(image, corrupt(image, name, severity)), 3).tolist()
                for severity in corruptions.SEVERITIES
            ]
    GOLDEN.parent.mkdir(exist_ok=True)
    lines = (f'"{key}": {json.dumps(value)}' for key, value in golden.items())
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
