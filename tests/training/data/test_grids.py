"""The names of made data sets: lists, patterns and what is wrong with a name."""

import pytest

from training import corruptions, data
from training.data import grids


def test_a_name_stands_for_itself(tmp_path):
    for name in (
        "fashion_mnist",
        "fashion_mnist_c/fog/3",
        "fashion_mnist_rotation/-7.5",
        "fashion_mnist_translation/-3",
        "fashion_mnist_p/tilt",
        "path/to/folder",
    ):
        assert data.expand(name) == [name]


def test_a_star_stands_for_all_corruptions_or_severities():
    assert data.expand("fashion_mnist_c/*/3") == [
        f"fashion_mnist_c/{name}/3" for name in corruptions.CORRUPTIONS
    ]
    assert data.expand("a/b_c/fog/*") == [f"a/b_c/fog/{s}" for s in range(1, 6)]
    every = data.expand("cifar10_c/*/*")
    assert len(every) == len(set(every)) == 95
    assert every == data.grid("cifar10", "corruptions")
    assert every[:75] == data.grid("cifar10", "benchmark")
    assert data.expand("x_c/*_blur/[15]")[:3] == [
        "x_c/defocus_blur/1",
        "x_c/defocus_blur/5",
        "x_c/glass_blur/1",
    ]
    assert data.expand("x_c/fog/[12]_size/64") == [
        "x_c/fog/1_size/64",
        "x_c/fog/2_size/64",
    ]
    assert len(data.expand("x_c/*/*_size/*")) == 190


def test_the_shifts_have_the_published_steps():
    rotations = data.expand("fashion_mnist_rotation/*")
    assert rotations == [f"fashion_mnist_rotation/{d}" for d in range(15, 181, 15)]
    translations = data.grid("mnist", "translations")
    assert translations == [f"mnist_translation/{p}" for p in range(2, 28, 2)]
    assert len(data.grid("mnist", "perturbations")) == 20


def test_every_name_of_a_grid_is_valid():
    for kind in grids.GRIDS:
        for name in data.grid("x", kind):
            assert data.expand(name) == [name]


def test_the_last_kind_of_a_name_counts_and_folders_are_no_kinds(tmp_path):
    assert grids.split("a_rotation/30_c/fog/3") == ("a_rotation/30", "c", "fog/3")
    folder = tmp_path / "images_c" / "fog" / "3"
    folder.mkdir(parents=True)
    assert grids.split(str(folder)) is None
    assert grids.split("fashion_mnist") is None


@pytest.mark.parametrize(
    "name, message",
    [
        ("x_c/frog/3", "mean 'fog'.*name=frog"),
        ("x_c/fog/6", "from 1 to 5.*severity=6"),
        ("x_c/fog/high", "<severity>.*fog/high"),
        ("x_c/fog", "<severity>"),
        ("x_c/*/7", "No data set matches.*pattern=x_c/"),
        ("x_c/frog/*", "No data set matches"),
        ("x_rotation/far", "<degrees>.*degrees=far"),
        ("x_rotation/nan", "degrees=nan"),
        ("x_rotation/", "degrees="),
        ("x_translation/2.5", "pixels=2.5"),
        ("x_p/brightnes", "mean 'brightness'.*name=brightnes"),
    ],
)
def test_a_wrong_name_is_an_error(name, message):
    with pytest.raises(ValueError, match=message):
        data.expand(name)


def test_an_unknown_grid_is_an_error():
    with pytest.raises(ValueError, match="mean 'rotations'.*kind=rotation"):
        data.grid("x", "rotation")
