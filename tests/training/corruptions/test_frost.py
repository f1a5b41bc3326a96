"""Which photographs of frost are found, and how they are called."""

import re

import cv2
import numpy as np
import pytest

from training.corruptions import corrupt, frost


@pytest.fixture
def forget():
    caches = frost._folder, frost._described
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def write_package(folder, names=frost._FILES, metadata="other-name 7.8"):
    photos = folder / "imagecorruptions" / "frost"
    photos.mkdir(parents=True)
    for value, name in enumerate(names):
        cv2.imwrite(str(photos / name), np.full((60, 90, 3), 40 * value, np.uint8))
    if metadata:
        (photos.parent / "__init__.py").write_text("raise ImportError")
        name, version = metadata.split()
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
        (info / "top_level.txt").write_text("imagecorruptions\n")


def test_photographs_are_found_under_the_name_by_which_they_are_imported(
    tmp_path, monkeypatch, forget
):
    write_package(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    source = frost.frost_source()
    assert re.fullmatch(r"other-name 7\.8 \(photographs [0-9a-f]{12}\)", source)
    assert [texture.max() for texture in frost.textures(source)] == [
        0,
        40,
        80,
        120,
        160,
    ]
    corrupt(np.zeros((32, 32, 3), np.uint8), "frost", 1)


def test_small_images_get_every_fifth_pixel_of_a_photograph(
    tmp_path, monkeypatch, forget
):
    write_package(tmp_path)
    photo = np.random.default_rng(0).integers(0, 256, (350, 527, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "imagecorruptions/frost/frost1.png"), photo[..., ::-1])
    monkeypatch.syspath_prepend(tmp_path)
    texture = frost._fitting(frost.frost_source(), 0, frost._SMALL, 32, 32, 3)
    np.testing.assert_array_equal(texture, photo[2::5, 2::5])


def test_a_package_that_lacks_a_photograph_is_not_used(tmp_path, monkeypatch, forget):
    write_package(tmp_path / "a", frost._FILES[:4])
    monkeypatch.syspath_prepend(tmp_path / "a")
    assert frost.frost_source() == "procedural"


def test_photographs_without_a_version_are_told_by_their_bytes(
    tmp_path, monkeypatch, forget
):
    write_package(tmp_path, metadata=None)  # A folder, not an installed package.
    monkeypatch.syspath_prepend(tmp_path)
    assert frost.frost_source().startswith("imagecorruptions of unknown version (ph")
