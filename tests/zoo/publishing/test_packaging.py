"""Published weights in the package, and in the folder beside it."""

import dataclasses
import shutil

import numpy as np
import pytest

import zoo
from tests.helpers.publications import NAME, RECORD, logits, make_rows
from zoo import finding
from zoo.presets import index
from zoo.publishing import packaging, publish
from zoo.storage import files


@pytest.fixture(scope="module")
def model(toy_model):
    return toy_model


@pytest.fixture(scope="module")
def published(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "it"
    publish.publish(model, folder, RECORD, data_license="mit")
    return folder


@pytest.fixture
def folder(published, tmp_path):
    return shutil.copytree(published, tmp_path / "copy")


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "FOLDER", tmp_path / "zoo" / "presets")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ZOO_WEIGHTS", raising=False)
    return tmp_path / "zoo" / "presets"


FILE = f"{NAME}.safetensors"


def test_packaged_weights_load_by_their_name(model, folder, package):
    preset = packaging.package(folder)
    assert sorted(path.name for path in package.rglob("*.*[!p]")) == [
        "presets.json",
        f"{NAME}.json",
        f"{NAME}.safetensors",
    ]
    loaded = zoo.load("resnet20_smooth_mcdo")
    np.testing.assert_array_equal(logits(loaded), logits(model))
    assert index.read() == {NAME: preset}
    shutil.rmtree(folder)
    assert zoo.load(NAME).name == NAME


def test_packaging_again_replaces_the_weights(model, folder, package):
    packaging.package(folder)
    publish.publish(model, folder, {**RECORD, "seed": 6}, data_license="mit")
    packaging.package(folder)
    assert [preset.seed for preset in index.read().values()] == [6]
    zoo.load(NAME)


def test_new_results_take_the_place_of_the_old_ones(model, folder, package):
    publish.publish(model, folder, RECORD, make_rows(factor=3), data_license="mit")
    before = packaging.package(folder)
    rows = [*make_rows(), *make_rows(f"{NAME}_seed1", 2), *make_rows("resnet20.others")]
    assert packaging.renew(rows) == [NAME]
    preset = index.read()[NAME]
    kept = dataclasses.replace(before, results=preset.results, others=preset.others)
    assert preset == kept
    nlls = [r["value"] for r in preset.results if r["metric"] == "nll"]
    assert nlls == [0.5, 0.05]
    nlls = [(r["model"], r["value"]) for r in preset.others if r["metric"] == "nll"]
    assert nlls == [(f"{NAME}_seed1", 1.0), (f"{NAME}_seed1", 0.1)]
    with pytest.raises(ValueError, match=r"of packaged weights; .* of resnet20.o"):
        packaging.renew(make_rows("resnet20.others"))
    assert index.read() == {NAME: preset}


def test_results_of_other_seeds_come_beside_those_that_are_there(
    model, folder, package
):
    def corrupted(name, factor):
        return [
            {**row, "dataset": f"fashion_mnist_c/{kind}/{level}"}
            for row in make_rows(name, factor)
            for kind in ("fog", "frost")
            for level in (1, 2)
        ]

    def both(seed, factor):
        name = f"{NAME}_seed{seed}" if seed else NAME
        return [*make_rows(name, factor), *corrupted(name, factor)]

    rows = {seed: both(seed, seed + 1) for seed in (0, 1, 2)}
    publish.publish(model, folder, RECORD, [*rows[0], *rows[2]], data_license="mit")
    packaging.package(folder)
    assert packaging.renew([*both(2, 7), *rows[1]]) == [NAME]
    entry = index.read()[NAME]
    expected = [*rows[0], *rows[1], *both(2, 7)]
    assert packaging.renew(expected) == [NAME]
    assert entry == index.read()[NAME]
    nlls = [r["value"] for r in entry.others if r["metric"] == "nll"]
    assert len(set(nlls)) == 4
    assert any("(4 sets)" in row["dataset"] for row in entry.others)


@pytest.mark.parametrize("name", ["model.safetensors", "preset.json", "README.md"])
def test_altered_files_are_not_packaged(folder, package, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=f"{name}' was altered"):
        packaging.package(folder)
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        packaging.package(folder)
    assert not package.exists()


def test_a_folder_that_was_not_published_is_not_packaged(package, tmp_path):
    with pytest.raises(FileNotFoundError, match="was not published: .* SHA256SUMS"):
        packaging.package(tmp_path)


def test_what_the_package_has_no_room_for_lies_beside_it(
    model, folder, package, monkeypatch
):
    packaging.package(folder)
    monkeypatch.setattr(packaging, "PACKAGED", 1_000_000)
    preset = packaging.package(folder)
    assert preset.file == FILE
    assert not (package / "pretrained" / FILE).exists()
    assert finding.locate(preset) == package.parents[1] / "weights" / FILE
    np.testing.assert_array_equal(logits(zoo.load(NAME)), logits(model))
    assert f"{package.parents[1] / 'weights'}, sha256" in zoo.describe(NAME)
    monkeypatch.undo()
    monkeypatch.setattr(index, "FOLDER", package)
    packaging.package(folder)
    assert not (package.parents[1] / "weights" / FILE).exists()


def test_the_sizes_of_all_weights_together_count(folder, package, monkeypatch):
    size = packaging.package(folder).size
    other = dataclasses.replace(index.read()[NAME], name="resnet20.b", file="b")
    index.add(other)
    (package / "pretrained" / "b").write_bytes(b"x" * size)
    monkeypatch.setattr(packaging, "PACKAGED", 2 * size)
    packaging.package(folder)  # It takes its own place.
    assert (package / "pretrained" / FILE).exists()
    monkeypatch.setattr(packaging, "PACKAGED", 2 * size - 1)
    monkeypatch.setattr(packaging, "ALL", 2 * size - 1)
    with pytest.raises(ValueError, match=f"With '{NAME}' .* more than 2 MB.*beside 1"):
        packaging.package(folder)
    assert (package / "pretrained" / FILE).exists()


def test_without_a_checkout_the_error_says_where_the_file_is(
    folder, package, monkeypatch, tmp_path
):
    monkeypatch.setattr(packaging, "PACKAGED", 0)
    preset = packaging.package(folder)
    own, beside = tmp_path / "own", package.parents[1] / "weights"
    beside.rename(own)
    message = (
        f"{FILE}' in .*pretrained', '{beside}', '{tmp_path}/cache'. Large weights "
        r"\(1.1 MB\).*folder `weights` of its repository.*set ZOO_WEIGHTS to the folder"
    )
    with pytest.raises(FileNotFoundError, match=message):
        zoo.load(NAME)
    assert "in no known folder" in zoo.describe(NAME)
    monkeypatch.setenv("ZOO_WEIGHTS", str(own))
    assert finding.locate(preset) == own / FILE
    zoo.load(NAME)
    monkeypatch.delenv("ZOO_WEIGHTS")
    own.rename(tmp_path / "cache")
    zoo.load(NAME)


def test_another_file_in_a_folder_of_the_user_is_refused_and_stays(
    folder, package, monkeypatch, tmp_path
):
    monkeypatch.setattr(packaging, "PACKAGED", 0)
    packaging.package(folder)
    (package.parents[1] / "weights" / FILE).unlink()
    monkeypatch.setenv("ZOO_WEIGHTS", str(tmp_path / "own"))
    (tmp_path / "own").mkdir()
    mine = tmp_path / "own" / FILE
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    mine.write_bytes(content)
    with pytest.raises(ValueError, match=f"{mine}' was altered: expected sha256"):
        zoo.load(NAME)
    assert mine.read_bytes() == content


def test_the_repository_holds_what_the_manifest_lists_and_is_small():
    known = index.read().values()
    folders = index.FOLDER / "pretrained", index.FOLDER.parents[1] / "weights"
    sizes = []
    for folder in folders:
        found = {
            path.name: path.stat().st_size for path in folder.glob("*.safetensors")
        }
        assert found.keys() <= {preset.file for preset in known}
        sizes.append(sum(found.values()))
    assert sizes[0] <= packaging.PACKAGED
    assert sum(sizes) <= packaging.ALL
    for preset in known:
        if preset.file and not (preset.url or preset.withdrawn):
            files.check(finding.locate(preset), preset.sha256, preset.size)
