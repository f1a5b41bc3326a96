"""What posteriors adapt to, and what that is written into."""

import dataclasses

import keras
import numpy as np
import pytest

from tests.helpers.networks import IMAGES, as_numpy, network
from zoo.classifier import named
from zoo.posterior import POSTERIORS, DeepEnsemble, MonteCarlo, Temperature
from zoo.posterior.temperature import best_temperature

LABELS = np.array([0, 1, 2, 0, 1, 2, 0])
CLASSES = "ant", "bee", "cat"


@dataclasses.dataclass
class Data:
    images: np.ndarray
    labels: np.ndarray
    classes: tuple = CLASSES


@pytest.fixture(scope="module")
def model():
    return named(network(), CLASSES)


@pytest.fixture(scope="module")
def expected(model):
    return best_temperature(as_numpy(model(IMAGES)), LABELS)


def forms():
    yield "arrays", (IMAGES, LABELS)
    yield "a pair", ((IMAGES, LABELS),)
    yield "a data set", (Data(IMAGES, LABELS),)
    yield "numbered", (Data(IMAGES, LABELS, ("0", "1", "2")),)
    order = np.array([2, 0, 1])  # Ours among those of the data set.
    shuffled = Data(IMAGES, order[LABELS], ("bee", "cat", "ant"))
    yield "other order", (shuffled,)
    yield "batches", ([(IMAGES[:3], LABELS[:3]), (IMAGES[3:], LABELS[3:])],)


@pytest.mark.parametrize("form", dict(forms()))
def test_a_temperature_adapts_to_images_in_any_form(form, model, expected):
    posterior = Temperature(model)
    assert not posterior.is_adapted
    posterior.adapt(*dict(forms())[form], batch_size=4)
    assert posterior.is_adapted
    assert float(as_numpy(posterior.temperature)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "dataset, labels, message",
    [
        (IMAGES, None, "with an array of images, give `labels`.*type ndarray"),
        (IMAGES, LABELS[:3], r"one integer for each image.*labels.shape=\(3,\)"),
        (IMAGES[:0], LABELS[:0], "Received: 0 images"),
        ([IMAGES], None, r"pairs `\(images, labels\)`"),
        (IMAGES, LABELS + 1, r"must be in \[0, 3\)"),
        (Data(IMAGES, LABELS, ("ant", "bee", "dog")), None, "'dog'.*'cat'"),
        (7, None, "type int"),
    ],
)
def test_what_nothing_can_be_learned_from_is_refused(dataset, labels, message, model):
    posterior = Temperature(model)
    with pytest.raises(ValueError, match=message):
        posterior.adapt(dataset, labels)
    assert not posterior.is_adapted


def test_an_ensemble_adapts_its_members_and_a_temperature_what_is_inside(model):
    other = named(network(seed=1), CLASSES)
    ensemble = DeepEnsemble([Temperature(model), other])
    posterior = Temperature(ensemble, 2.0)
    assert not posterior.is_adapted
    posterior.adapt(IMAGES, LABELS)
    assert posterior.is_adapted
    expected = best_temperature(as_numpy(model(IMAGES)), LABELS)
    found = float(as_numpy(ensemble.members[0].temperature))
    assert found == pytest.approx(expected, rel=1e-4)
    MonteCarlo(model, 1).adapt(IMAGES, LABELS)  # It has nothing to learn.


def test_a_copy_knows_whether_it_has_learned(model):
    posterior = Temperature(model)
    for is_adapted in (False, True):
        again = keras.saving.deserialize_keras_object(
            keras.saving.serialize_keras_object(posterior)
        )
        assert again.is_adapted is is_adapted
        assert as_numpy(again.temperature) == as_numpy(posterior.temperature)
        posterior.adapt(IMAGES, LABELS)


def test_names_of_posteriors_make_them_of_one_model_or_several(model):
    other = network(seed=1)
    assert POSTERIORS["mc"].from_models([model], 5).num_samples == 5
    assert POSTERIORS["ensemble"].from_models([model, other]).num_samples == 2
    scaled = POSTERIORS["temperature"].from_models([model, other])
    assert isinstance(scaled.posterior, DeepEnsemble)
    # A deterministic model takes one pass.
    assert POSTERIORS["temperature"].from_models([model], 5).posterior.num_samples == 1
    with pytest.raises(ValueError, match="made of one model. Received: 2 models"):
        POSTERIORS["mc"].from_models([model, other])
    with pytest.raises(ValueError, match="several models.*Received: 1 models"):
        POSTERIORS["ensemble"].from_models([model])
