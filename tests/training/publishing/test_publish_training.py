"""Posteriors are published by name, and load with what they have learned."""

import json

import numpy as np
import PIL.Image
import pytest
from keras import ops

import zoo
from tests.helpers.networks import as_numpy
from training import data
from training.data import identities
from training.publishing import publish_training
from zoo import dataset_name, model_name
from zoo.posterior import POSTERIORS
from zoo.presets import index, snapshots, training_images, weight_file
from zoo.publishing import packaging

CLASSES = "blue", "green", "red"
COUNTS = {"train": 12, "val": 8, "test": 2}
SHAPE = (16, 16, 3)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of pictures of three colors with noise."""
    folder, rng = tmp_path_factory.mktemp("data") / "colors", np.random.default_rng(0)
    for split, count in COUNTS.items():
        for label, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 200, SHAPE)
                pixels[..., 2 - label] += rng.integers(-30, 60)
                pixels = pixels.clip(0, 255).astype("uint8")
                PIL.Image.fromarray(pixels).save(folder / split / name / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def runs(pictures, tmp_path_factory):
    """Folders as of two trainings, which know classes by the means of features."""
    train = data.load(str(pictures), "train", image_size=SHAPE[:2])
    folders = []
    for seed in range(2):
        folder = tmp_path_factory.mktemp("runs") / f"seed{seed}"
        model = zoo.build("resnet20", SHAPE, 3, classes=CLASSES)
        features = _features(model, train.images)
        means = np.stack([features[train.labels == k].mean(axis=0) for k in range(3)])
        means -= means.mean(axis=0)
        scale = 1 / np.square(means).sum(axis=1).mean()
        centre = features.mean(axis=0)
        model.get_layer("head").set_weights([scale * means.T, -scale * means @ centre])
        weight_file.save_weights(model, folder / "model.safetensors")
        record = {
            "model": "resnet20",
            "dataset": "colors",
            "data": {"path": str(pictures), "data_dir": None},
            "recipe": "finetune",
            "settings": {"epochs": 1},
            "seed": seed,
            "command": "zoo-train --workdir=runs/x",
            "commit": "0123abc",
            "classes": list(CLASSES),
            "input_shape": SHAPE,
            "seen": {"images": 36, "held_out": 0},
        }
        (folder / "recipe.json").write_text(json.dumps(record))
        seen = identities.Recorded(train.images).identities()
        training_images.write(folder / training_images.FILE, seen)
        for epoch in (1, 2):
            for variable in model.trainable_weights:
                variable.assign(variable * (1 + 0.01 * epoch))
            weight_file.save_weights(model, snapshots.path_of(folder, epoch))
        folders.append(folder)
    return folders


def _features(model, images):
    body = type(model)(model.input, model.get_layer("head").input)
    return as_numpy(body(images))


def publish(kind, weights, folder, **options):
    settings = {"dtype": "float32", "saved_model": False, "data_license": "mit"}
    settings |= {"num_samples": 2, **options}
    return publish_training.publish_training(
        f"resnet20@{kind}", weights, folder / "it", **settings
    )


def check(kind, preset, models, pictures, folder):
    """Compares what was published with a posterior that was adapted here."""
    key, pairs = model_name.read_posterior(kind)
    of = POSTERIORS[key]
    expected = of.from_models(models, **{"num_samples": 2, **of.parse_settings(pairs)})
    given = [
        data.load(str(pictures), split, image_size=SHAPE[:2])
        for split in expected.adapts_to
    ]
    expected.adapt(*given)
    loaded = zoo.load(f"resnet20.colors@{key}", weights=folder / "it")
    assert loaded.is_adapted
    images = given[0].images[:4]
    np.testing.assert_allclose(
        ops.softmax(loaded(images, seed=3)),
        ops.softmax(expected(images, seed=3)),
        rtol=1e-4,
        atol=1e-5,
    )
    entry = preset.posteriors[key]
    count, split = len(given[0]), expected.adapts_to[0]
    part = dataset_name.part("colors", count if split == "train" else None)
    assert (entry["dataset"], entry["images"]) == (part, count)
    card = (folder / "it" / "README.md").read_text()
    told = f"`@{key}` was fitted to {count} images of `{part}`"
    assert told in " ".join(card.split())
    return loaded, card


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "laplace",
        "laplace:structure=diagonal:predictive=bridge",
        "laplace:subset=subnetwork:subnetwork=stem_conv+head",
        "laplace:predictive=monte_carlo:num_samples=3",
        "temperature",
        "vector",
        "dirichlet:penalty=0.1",
        "isotonic",
        "density:scores=density+mahalanobis",
    ],
)
def test_a_posterior_is_published_by_its_name(kind, runs, pictures, tmp_path):
    preset = publish(kind, runs[0], tmp_path)
    model = zoo.load("resnet20.colors", weights=tmp_path / "it")
    loaded, card = check(kind, preset, [model], pictures, tmp_path)
    _, pairs = model_name.read_posterior(kind)
    for name, value in loaded.parse_settings(pairs).items():
        key, _ = model_name.read_posterior(kind)
        assert preset.posteriors[key]["settings"][name] == value
        assert f"{name} {value}" in " ".join(card.split())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["swa", "swag:rank=2"])
def test_snapshots_are_published_as_what_was_learned(kind, runs, tmp_path, pictures):
    preset = publish(kind, runs[0], tmp_path)
    key, _ = model_name.read_posterior(kind)
    loaded = zoo.load(f"resnet20.colors@{key}", weights=tmp_path / "it")
    paths = [snapshots.path_of(runs[0], epoch) for epoch in (1, 2)]
    models = [zoo.load("resnet20.colors", weights=path) for path in paths]
    expected = zoo.posterior.SWA.from_models(models)
    np.testing.assert_allclose(loaded.mean, expected.mean, rtol=1e-5, atol=1e-7)
    assert preset.posteriors[key]["images"] == 3 * COUNTS["train"]


@pytest.mark.slow
def test_a_mixture_is_published_with_the_weights_of_all_networks(
    runs, pictures, tmp_path, monkeypatch
):
    kind = "mixture:structure=diagonal"
    preset = publish(kind, "+".join(map(str, runs)), tmp_path)
    folder = tmp_path / "it"
    models = [zoo.load("resnet20.colors", weights=run) for run in runs]
    loaded, card = check(kind, preset, models, pictures, tmp_path)
    assert [member.structure for member in loaded.members] == ["diagonal"] * 2
    assert preset.posteriors["mixture"]["settings"]["structure"] == "diagonal"
    assert (
        "It is of 2 networks: the others are in `mixture_member2.safetensors`." in card
    )
    names = {"mixture.safetensors", "mixture_member2.safetensors"}
    assert names < {path.name for path in folder.iterdir()}
    assert {"0/prior_precision", "1/prior_precision"} < {
        *preset.posteriors["mixture"]["values"]
    }
    target = tmp_path / "zoo" / "presets"
    target.mkdir(parents=True)
    packaging.package(folder, target)
    monkeypatch.setattr(index, "FOLDER", target)
    images = np.zeros((2, *SHAPE), "uint8")
    again = zoo.load("resnet20.colors@mixture")
    np.testing.assert_array_equal(again(images), loaded(images))
    assert "@mixture" in zoo.describe("resnet20.colors")
    path = target / "pretrained" / "resnet20.colors@mixture_member2.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="member2.safetensors' was altered"):
        zoo.load("resnet20.colors@mixture")


def test_networks_of_a_posterior_are_alike(runs, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    record = json.loads((runs[0] / "recipe.json").read_text())
    (other / "recipe.json").write_text(json.dumps({**record, "model": "resnet32"}))
    with pytest.raises(ValueError, match="of one model.*'resnet20'.*of 'resnet32'"):
        publish("mixture", f"{runs[0]}+{other}", tmp_path)
    with pytest.raises(ValueError, match="no setting 'subst'.*Known: .*subset"):
        publish("laplace:subst=all", runs[0], tmp_path)
    assert not (tmp_path / "it").exists()
