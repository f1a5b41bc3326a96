"""Ensembles of several trainings: by name, from folders, published as one, saved."""

import json

import keras
import numpy as np
import pytest

import zoo
from tests.helpers.networks import as_numpy, network
from tests.helpers.publications import RECORD, publish_preset
from training.evaluation import models
from zoo import finding
from zoo.model_name import split_number
from zoo.posterior import DeepEnsemble, MonteCarlo
from zoo.presets import weight_file
from zoo.publishing.publish import publish

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1)).astype("uint8")


@pytest.fixture
def seeds(own_folder, short):
    """The weights of three trainings, and what each predicts."""
    (own_folder / "pretrained").mkdir()
    names = "resnet20.toys", "resnet20.toys_seed1", "resnet20.toys_seed2"
    networks = [publish_preset(own_folder, name) for name in names]
    return dict(zip(names, networks, strict=True))


def alone(model):
    return as_numpy(MonteCarlo(model, 1)(IMAGES, seed=0))[0]


def test_a_name_with_a_star_is_an_ensemble_of_seeds(seeds):
    ensemble = zoo.load("resnet20.toys*3")
    assert type(ensemble) is DeepEnsemble
    samples = as_numpy(ensemble(IMAGES, seed=0))
    for sample, model in zip(samples, seeds.values(), strict=True):
        np.testing.assert_array_equal(sample, alone(model))  # To the bit.
    from_one = as_numpy(zoo.load("resnet20.toys_seed1*2@ensemble")(IMAGES, seed=0))
    np.testing.assert_array_equal(from_one, samples[1:])
    assert finding.members("resnet20.toys*2") == [(name, None) for name in [*seeds][:2]]
    (name,) = models.load(["resnet20.toys*2"])
    assert name == "resnet20.toys+resnet20.toys_seed1"
    for wrong, message in {
        "resnet20.toys*4": "no weights 'resnet20.toys_seed3'.*Known: resnet20.toys, ",
        "resnet20*2": "meant by their tag.*resnet20\\*2",
        "resnet20.toys*1": "two at least.*Received: name=resnet20.toys\\*1",
        "resnet20.toys*": "two at least",
    }.items():
        with pytest.raises(ValueError, match=message):
            zoo.load(wrong)
    assert split_number("a.b*12") == ("a.b", 12)


def test_the_folder_of_several_trainings_is_an_ensemble(seeds, tmp_path):
    for number, model in enumerate(seeds.values()):
        path = tmp_path / "runs" / f"seed{number}" / "model.safetensors"
        path.parent.mkdir(parents=True)
        weight_file.save_weights(model, path)
    folder = tmp_path / "runs"
    names = {"members": ["seed0", "seed1", "seed2"]}
    (folder / finding.ENSEMBLE_FILE).write_text(json.dumps(names))
    expected = [alone(model) for model in seeds.values()]
    ensemble = zoo.load("resnet20", weights=folder)
    np.testing.assert_array_equal(ensemble(IMAGES, seed=0), expected)
    (name,) = models.load(["resnet20"], [str(folder)])
    assert name == "3xresnet20"
    joined = f"{folder}+{folder / 'seed1'}"
    assert len(finding.members("resnet20", joined)) == 4
    with pytest.raises(ValueError, match="as many weights as models"):
        finding.members("resnet20*2", str(folder))


def test_an_ensemble_is_published_as_one(seeds, tmp_path):
    networks = list(seeds.values())
    record = {**RECORD, "model": "resnet20"}
    ensemble = DeepEnsemble(networks)
    publish(
        networks[0],
        tmp_path / "out",
        record,
        data_license="mit",
        posteriors={
            "ensemble": (ensemble, {"settings": {}, "dataset": "toys", "images": 0})
        },
        members=networks[1:],
    )
    loaded = zoo.load("resnet20.toys@ensemble", weights=tmp_path / "out")
    assert type(loaded) is DeepEnsemble
    expected = [alone(model) for model in networks]
    np.testing.assert_array_equal(loaded(IMAGES, seed=0), expected)


def test_a_file_of_keras_holds_an_ensemble_and_predicts(tmp_path):
    networks = [network(seed=n, name=f"n{n}") for n in range(3)]
    ensemble = DeepEnsemble(networks, seed=0)
    inputs = keras.Input((8, 8, 1), name="images")
    keras.Model(inputs, ensemble(inputs)).save(tmp_path / "ensemble.keras")
    restored = keras.models.load_model(tmp_path / "ensemble.keras").layers[-1]
    images = IMAGES[:, :8, :8]
    samples = as_numpy(restored(images, seed=0))
    np.testing.assert_array_equal(samples, ensemble(images, seed=0))
    for model, sample in zip(networks, samples, strict=True):
        np.testing.assert_array_equal(
            as_numpy(MonteCarlo(model, 1)(images, seed=0))[0], sample
        )
    with pytest.raises(ValueError, match="the same `image_shape`"):
        DeepEnsemble([networks[0], zoo.build("resnet20", (16, 16, 1), 3)])
