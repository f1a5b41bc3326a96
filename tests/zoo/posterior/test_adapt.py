"""What posteriors adapt to, and what that is written into."""

import dataclasses

import keras
import numpy as np
import pytest

from tests.helpers.data_sets import Interrupting
from tests.helpers.marks import few
from tests.helpers.networks import IMAGES, as_numpy, network
from zoo.classifier import named
from zoo.posterior import POSTERIORS, DeepEnsemble, Laplace, MonteCarlo, Temperature
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


PIXELS = np.random.default_rng(2).integers(0, 256, (60, 8, 8, 1)).astype("uint8")
OF_PIXELS = np.random.default_rng(3).integers(0, 3, 60)
KINDS = few(
    [kind for kind, cls in POSTERIORS.items() if "classification" in cls.tasks],
    slow={"vector", "dirichlet", "isotonic", "swa", "ensemble", "priornet"},
)


def made(kind):
    """A posterior that has not learned yet."""
    cls = POSTERIORS[kind]
    several = kind in ("ensemble", "mixture") or cls.takes_snapshots
    models = [network(seed=seed) for seed in range(2 if several else 1)]
    return cls.from_models(models, 2)


def state(posterior):
    values = {k: as_numpy(v).copy() for k, v in posterior.values().items()}
    return values, posterior.is_adapted


@pytest.mark.parametrize("kind", KINDS)
def test_all_check_alike_and_keep_what_they_were_at_an_interrupt(kind):
    posterior = made(kind)
    first = state(posterior)
    for given, message in (
        ({"batch_size": 0}, "`batch_size` must be a positive integer"),
        ({"seed": None}, "`seed` must be an integer of 32 bits. Received: seed=None"),
        ({"seed": 2**32}, "`seed` must be an integer of 32 bits"),
        ({"validation": (PIXELS, OF_PIXELS)}, "`validation` is for what adapts to bo"),
        ({"dataset": PIXELS[:, 1:]}, r"`images` must have the shape \('batch', 8, 8"),
        ({"dataset": PIXELS / 255}, r"must be pixels in \[0, 255\]"),
        ({"labels": OF_PIXELS + 1}, r"must be in \[0, 3\)"),
        ({"labels": None}, "with an array of images, give `labels` too"),
    ):
        with pytest.raises(ValueError, match=message):
            posterior.adapt(**{"dataset": PIXELS, "labels": OF_PIXELS, **given})
    learns = bool(posterior.adapts_to)
    for batch in (1, 2) if learns else ():
        np.testing.assert_equal(state(posterior), first)
        with pytest.raises(KeyboardInterrupt):
            posterior.adapt(Interrupting(PIXELS, batch), OF_PIXELS, 20)
    np.testing.assert_equal(state(posterior), first)
    posterior.adapt(PIXELS, OF_PIXELS, 20, -1)
    learned, is_adapted = state(posterior)
    assert is_adapted
    assert not learns or any((learned[k] != first[0][k]).any() for k in learned)
    if learns:  # What was learned before stays, too.
        with pytest.raises(KeyboardInterrupt):
            posterior.adapt(Interrupting(PIXELS[::-1], 2), OF_PIXELS, 20)
    np.testing.assert_equal(state(posterior), (learned, True))


def test_what_is_inside_has_not_learned_if_what_is_around_it_has_not(monkeypatch):
    posterior = Temperature(Laplace(network()))
    right = Data(PIXELS, OF_PIXELS)
    for times in range(2):
        assert posterior.adapts_to == ("train", "validation")
        cut = Data(Interrupting(PIXELS, 1 + times), OF_PIXELS)
        with pytest.raises(KeyboardInterrupt):
            posterior.adapt(right, None, 20, validation=cut)
        assert not posterior.posterior.is_adapted
    posterior.adapt(right, validation=right)
    assert posterior.is_adapted
    # While values are written, those of all members are no longer there.
    ensemble = DeepEnsemble([Laplace(network(seed=seed)) for seed in range(2)])
    ensemble.adapt(right)
    assert ensemble.is_adapted

    def interrupt(values):
        raise KeyboardInterrupt

    monkeypatch.setattr(ensemble.members[0], "assign", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ensemble.adapt(right)
    assert not any(member.is_adapted for member in ensemble.members)
