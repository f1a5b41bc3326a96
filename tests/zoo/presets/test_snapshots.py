"""Snapshots of a training become posteriors, which are published beside the weights."""

import json
import shutil

import numpy as np
import pytest

import zoo
from tests.helpers import marks
from tests.helpers.publications import RECORD
from training import initial_weights
from training.evaluation import models as candidates
from training.evaluation import seen
from zoo.posterior import SWA
from zoo.presets import snapshots, training_images, weight_file
from zoo.publishing import publish

NAME = "resnet20.toys"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a training, its model, and the kernels of the heads."""
    folder, kernels = tmp_path_factory.mktemp("training"), []
    model, rng = zoo.build(NAME, (16, 16, 1), 4), np.random.default_rng(0)
    head = model.get_layer("head")
    for epoch in (9, 10, 11):
        kernels.append(rng.normal(size=head.kernel.shape).astype("float32"))
        head.kernel.assign(kernels[-1])
        path = snapshots.path_of(folder, epoch)
        path.parent.mkdir(exist_ok=True)
        weight_file.save_weights(model, path)
    weight_file.save_weights(model, folder / "model.safetensors")
    return folder, model, kernels


def kernel_of(posterior):
    mean = np.asarray(posterior.mean)
    return mean[-4 - 64 * 4 : -4].reshape(64, 4)  # The last weights, before the bias.


@pytest.mark.parametrize("kind", marks.few(["swa", "swag"], ["swa"]))
def test_a_posterior_by_name_is_that_of_the_snapshots(kind, trained, tmp_path):
    folder, _, kernels = trained
    name = f"resnet20@{kind}"
    (named,) = candidates.load([name], [str(folder)], num_samples=7).items()
    paths = [str(snapshots.path_of(folder, epoch)) for epoch in (9, 11)]
    (listed,) = candidates.load([name], ["+".join(paths)], num_samples=7).values()
    loaded = zoo.load(name, weights=folder / "model.safetensors")
    assert named[0] == name
    for posterior, used in ((named[1], kernels), (loaded, kernels)):
        np.testing.assert_allclose(kernel_of(posterior), np.mean(used, axis=0), 1e-5)
    np.testing.assert_allclose(
        kernel_of(listed), (kernels[0] + kernels[2]) / 2, 1e-5, 1e-6
    )
    assert (named[1].num_samples, loaded.num_samples) == (
        (1, 1) if kind == "swa" else (7, 10)
    )
    assert not loaded.is_adapted
    weight_file.save_weights(loaded.model, tmp_path / "model.safetensors")
    with pytest.raises(FileNotFoundError, match="no snapshots in.*--set=snapshots=20"):
        zoo.load(name, weights=tmp_path)
    with pytest.raises(FileNotFoundError) as told:
        zoo.load(f"resnet20.fashion_mnist@{kind}")
    assert "of the published 'resnet20.fashion_mnist'" in str(told.value)
    assert "pretrained" not in str(told.value)


def test_what_was_made_of_snapshots_is_published_with_the_weights(trained, tmp_path):
    folder, model, _ = trained
    posterior = SWA(model, num_images=6)
    posterior.collect(snapshots.models(model, folder))
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 1)).astype("uint8")
    posterior.adapt(images, np.arange(8) % 4)
    facts = {"settings": {"num_images": 6}, "dataset": "toys_train/8", "images": 8}
    options = {"data_license": "mit", "posteriors": {"swa": (posterior, facts)}}
    record = {**RECORD, "model": "resnet20"}
    publish.publish(model, tmp_path / "it", record, **options)
    again = zoo.load(f"{NAME}@swa", weights=tmp_path / "it")
    assert (again.is_adapted, again.num_images) == (True, 6)
    for name, value in posterior.values().items():
        np.testing.assert_array_equal(again.values()[name], value)
    assert np.abs(np.asarray(again.statistics)).max() > 0


def test_a_training_behind_a_url_is_read_as_a_local_one(trained, tmp_path):
    folder, model, kernels = trained
    images = np.arange(3, dtype="uint64")
    training_images.write(folder / training_images.FILE, images)
    record = {**RECORD, "input_shape": [16, 16, 1], "seen": {"images": 3}}
    (folder / "recipe.json").write_text(json.dumps(record))
    url = f"file://{shutil.copytree(folder, tmp_path / 'bucket' / 'run')}"
    before = sorted((tmp_path / "bucket").rglob("*"))

    loaded = zoo.load("resnet20", weights=url)
    for mine, theirs in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert loaded.classes == tuple(RECORD["classes"])
    for weights in (url, f"{url}/"):
        (swag,) = candidates.load(["resnet20@swag"], [weights]).values()
        np.testing.assert_allclose(kernel_of(swag), np.mean(kernels, axis=0), 1e-5)
    for found, local in (
        (initial_weights.find(url), initial_weights.find(str(folder))),
        (seen.find("resnet20", url)[0], seen.find("resnet20", str(folder))[0]),
    ):
        for field in ("sha256", "image_size", "base", "image_shape", "images"):
            expected = getattr(local, field, None)
            np.testing.assert_array_equal(getattr(found, field, None), expected)
    assert initial_weights.find(url).weights == url
    assert sorted((tmp_path / "bucket").rglob("*")) == before  # Nothing is written.

    (tmp_path / "bucket" / "run" / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=f"'{url}/model.safetensors'"):
        zoo.load("resnet20", weights=url)
    (tmp_path / "bucket" / "run" / "recipe.json").unlink()
    with pytest.raises(FileNotFoundError, match="or of zoo-train where"):
        zoo.load("resnet20", weights=url)
