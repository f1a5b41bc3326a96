"""Which weights a name, a file, a folder or a URL means, and where they lie."""

import pytest

import zoo
from tests.helpers.publications import make_preset
from zoo import finding
from zoo.presets import index


def test_without_a_tag_the_first_one_listed_is_meant(own_folder):
    for name in ("resnet20_mcdo.x", "resnet20.b", "resnet20.a"):
        index.add(make_preset(name))
    assert finding.choose(zoo.parse("resnet20")).name == "resnet20.b"
    assert finding.choose(zoo.parse("resnet20.a")).name == "resnet20.a"


@pytest.mark.parametrize(
    "name, message",
    [
        (
            "resnet50_smooth",
            r"some: resnet20_smooth.fmnist, .*`zoo.build\('resnet",
        ),
        (
            "resnet20.imagenet",
            r"weights for 'resnet20.imagenet'.*: resnet20.fmnist\.",
        ),
        ("vgg11.cifar", r"some: vgg16.cifar, "),
    ],
)
def test_names_without_weights_offer_the_nearest(own_folder, name, message):
    for stem in ("resnet20", "resnet20_mcdo", "resnet20_smooth", "vgg16_mcdo"):
        index.add(make_preset(f"{stem}.fmnist"))
    index.add(make_preset("vgg16.cifar"))
    with pytest.raises(ValueError, match=message):
        finding.choose(zoo.parse(name))


def test_without_any_weights_the_error_says_so(own_folder):
    with pytest.raises(ValueError, match="No weights are published yet.*zoo.build"):
        finding.choose(zoo.parse("resnet20"))


def test_weights_are_taken_from_the_package_before_the_network(own_folder):
    (own_folder / "pretrained").mkdir()
    (own_folder / "pretrained" / "w").touch()
    preset = make_preset("resnet20.a", file="w", url="http://127.0.0.1:9/w")
    assert finding.locate(preset) == own_folder / "pretrained" / "w"


def test_a_file_that_the_package_lost_is_named(own_folder):
    preset = make_preset("resnet20.a", file="w")
    with pytest.raises(
        FileNotFoundError, match=r"'resnet20.a' are missing.*pretrained"
    ):
        finding.locate(preset)


def test_a_downloaded_file_carries_its_sum_in_its_name(own_folder):
    preset = make_preset("resnet20.a", url="http://127.0.0.1:9/w", sha256="12" * 32)
    with pytest.raises(ConnectionError, match=r"resnet20.a-121212121212.safetensors'"):
        finding.locate(preset)


@pytest.mark.parametrize("place", ["own", None])
def test_withdrawn_weights_are_those_of_a_file_of_the_user(
    own_folder, place, monkeypatch
):
    index.add(make_preset("resnet20.a", file="w", withdrawn="0123456789ab"))
    index.add(make_preset("resnet20.b", file="v"))
    if place:
        (own_folder / place).mkdir()
        (own_folder / place / "w").touch()
        monkeypatch.setenv("ZOO_WEIGHTS", str(own_folder / place))
        assert finding.choose(zoo.parse("resnet20")).name == "resnet20.a"
        assert finding.find("resnet20.a").path == own_folder / place / "w"
        assert zoo.list_models(pretrained=True) == ["resnet20.a", "resnet20.b"]
        return
    assert finding.choose(zoo.parse("resnet20")).name == "resnet20.b"
    assert zoo.list_models(pretrained=True) == ["resnet20.b"]
    with pytest.raises(ValueError, match=r"'resnet20.c'. The nearest .*: resnet20.b\."):
        finding.choose(zoo.parse("resnet20.c"))
    assert "withdrawn after commit 0123456789," in zoo.describe("resnet20.a")
    message = "'resnet20.a' are withdrawn.*`git show 0123456789:weights/w`.*ZOO_WEIGHTS"
    with pytest.raises(FileNotFoundError, match=message):
        zoo.load("resnet20.a")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("resnet20_mcdo.mine", False),
        ("resnet20.safetensors", True),
        ("runs/resnet20", True),
        ("hf://owner/resnet20", True),
        ("seed1", True),
        ("seed2", False),
    ],
)
def test_what_exists_or_looks_like_a_path_is_a_place(
    tmp_path, monkeypatch, text, expected
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "seed1").mkdir()
    assert finding.is_place(text) == expected
