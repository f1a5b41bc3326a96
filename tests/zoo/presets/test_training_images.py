"""Which images weights were trained on, in files beside them."""

import numpy as np
import pytest

from tests.helpers.publications import NAME, RECORD
from zoo import finding
from zoo.presets import index, training_images
from zoo.publishing import packaging, publish

IMAGES = np.array([2**63 + 1, 5, 2**64 - 1, 5], "uint64")
SORTED = [5, 2**63 + 1, 2**64 - 1]


def test_a_file_has_each_image_once_and_sorted(tmp_path):
    training_images.write(tmp_path / "file", IMAGES)
    assert training_images.read(tmp_path / "file").tolist() == SORTED
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(ValueError, match="uint64. Received: dtype=float64"):
        training_images.write(tmp_path / "file", IMAGES.astype(float))


@pytest.mark.parametrize("content", [b"", b"text", np.zeros(3), np.zeros((2, 2), "u8")])
def test_another_file_is_named(tmp_path, content):
    path = tmp_path / training_images.FILE
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(ValueError, match=f"'{path}' is .*list of training images"):
        training_images.beside(tmp_path)


def test_the_record_goes_from_a_training_into_the_package(
    toy_model, tmp_path, monkeypatch
):
    (tmp_path / "training").mkdir()
    training_images.write(tmp_path / "training" / training_images.FILE, IMAGES)
    for weights in ("training", "training/model.safetensors"):
        seen = training_images.beside(tmp_path / weights)
    record = {**RECORD, "seen": {"images": 4, "held_out": 1}}
    folder, package = tmp_path / "it", tmp_path / "checkout" / "zoo" / "presets"
    preset = publish.publish(toy_model, folder, record, data_license="mit", seen=seen)
    assert preset.seen["images"] == 4
    assert "training_images.npy" in (folder / "README.md").read_text()
    assert training_images.FILE in (folder / "SHA256SUMS").read_text()
    assert training_images.of_preset(preset, package, folder).tolist() == SORTED
    packaged = packaging.package(folder, package)
    (path,) = (package / "training_images").iterdir()
    monkeypatch.setattr(index, "FOLDER", package)
    preset = finding.find(NAME).preset
    assert training_images.of_preset(preset, package).tolist() == SORTED
    assert packaged.seen["sha256"].startswith(path.stem)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=f"{path}' was altered"):
        training_images.of_preset(packaged, package)


def test_without_a_record_there_are_none(toy_model, tmp_path):
    preset = publish.publish(toy_model, tmp_path / "it", RECORD, data_license="mit")
    assert training_images.of_preset(preset, tmp_path, tmp_path / "it") is None
    assert training_images.beside(tmp_path / "it") is None
    assert "training_images" not in (tmp_path / "it" / "README.md").read_text()
