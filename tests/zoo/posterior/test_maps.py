"""Posteriors of the features of pixels, against those of images of one pixel each."""

import keras
import numpy as np
import pytest

from tests.helpers import marks
from tests.helpers.networks import as_numpy
from zoo.arrays import UNLABELED
from zoo.posterior import Density, Laplace, Mixture, maps
from zoo.posterior.feature_scores import FEATURE_SCORES
from zoo.posterior.scaler import NoBestFitError

HEIGHT, WIDTH, COUNT = 3, 5, 16
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (COUNT, HEIGHT, WIDTH, 2)).astype("uint8")
OTHERS = RNG.integers(0, 90, (4, HEIGHT, WIDTH, 2)).astype("uint8")


def network(height=HEIGHT, width=WIDTH):
    """A classifier of pixels, for images of any size."""
    keras.utils.set_random_seed(0)
    images = keras.Input((height, width, 2), name="images")
    x = keras.layers.Rescaling(1 / 128, -1, name="normalize")(images)
    x = keras.layers.Conv2D(4, 1, activation="tanh", name="conv")(x)
    x = keras.layers.Reshape((4,))(x) if height == width == 1 else x
    return keras.Model(images, keras.layers.Dense(3, name="head")(x), name="pixels")


def labels_of(images):
    """Mostly the predictions, so that a posterior has something to fit."""
    logits = as_numpy(network()(images))
    labels = (logits + RNG.gumbel(size=logits.shape) / 2).argmax(axis=-1)
    labels[RNG.random(labels.shape) < 0.3] = UNLABELED
    labels[3] = UNLABELED  # An image without any.
    return labels


LABELS = labels_of(IMAGES)


def single(images):
    return images.reshape(-1, 1, 1, 2)


def labeled():
    known = LABELS.ravel() != UNLABELED
    return single(IMAGES)[known], LABELS.ravel()[known]


@pytest.fixture
def _little_memory(monkeypatch):
    """Has two images at once, and then parts of seven pixels."""
    monkeypatch.setattr(maps, "_BYTES", 4 * HEIGHT * WIDTH * 4 * 2)
    monkeypatch.setattr(maps, "_ROWS", 7)


@pytest.mark.usefixtures("_little_memory")
def test_densities_of_pixels_are_those_of_single_pixels(tmp_path):
    found, expected = (Density(network(*size), FEATURE_SCORES) for size in ((), (1, 1)))
    found.adapt(IMAGES, LABELS, batch_size=5)
    expected.adapt(*labeled())
    for name in {*found.adapted_weights} - {"fingerprint"}:
        ours, theirs = found.values()[name], expected.values()[name]
        np.testing.assert_allclose(ours, theirs, 1e-3, 1e-3, err_msg=name)
    logits, scores = found.scored(OTHERS)
    wanted_logits, wanted = expected.scored(single(OTHERS))
    assert logits.shape == (1, 4, HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(np.ravel(logits), np.ravel(wanted_logits), atol=1e-5)
    assert list(scores) == list(FEATURE_SCORES)
    for name, score in scores.items():
        assert score.shape == (4, HEIGHT, WIDTH)
        np.testing.assert_allclose(np.ravel(score), wanted[name], 2e-3, 2e-3)
    assert found.scored(OTHERS[:0])[1]["density"].shape == (0, HEIGHT, WIDTH)
    images = keras.Input((HEIGHT, WIDTH, 2))
    keras.Model(images, found(images)).save(tmp_path / "it.keras")
    again = keras.models.load_model(tmp_path / "it.keras").layers[-1]
    np.testing.assert_allclose(again.scored(OTHERS)[1]["density"], scores["density"])
    # Distances to ten thousand pixels are for those who ask for them.
    assert Density(network()).score_names == tuple(FEATURE_SCORES)[:3]


CASES = [
    (structure, predictive)
    for structure in ("kronecker", "diagonal", "full")
    for predictive in ("probit", "bridge", "monte_carlo")
]
SLOW = [case for case in CASES if case != ("kronecker", "monte_carlo")]


@pytest.mark.usefixtures("_little_memory")
@pytest.mark.parametrize("structure, predictive", marks.few(CASES, SLOW))
def test_laplace_of_pixels_is_that_of_single_pixels(structure, predictive):
    settings = {"structure": structure, "predictive": predictive, "num_samples": 3}
    found, expected = (Laplace(network(*size), **settings) for size in ((), (1, 1)))
    found.adapt(IMAGES, LABELS, batch_size=5)
    expected.adapt(*labeled())
    for name in ("prior_precision", "log_likelihood", "curvature"):
        ours, theirs = found.values()[name], expected.values()[name]
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4, err_msg=name)
    samples = as_numpy(found(OTHERS, seed=4, offset=9))
    wanted = expected(single(OTHERS), seed=4, offset=9 * HEIGHT * WIDTH)
    assert samples.shape == (found.num_samples, 4, HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(samples.reshape(-1, 60, 3), wanted, 1e-3, 1e-3)
    variance = found.logit_variance(OTHERS).reshape(-1, 3)
    np.testing.assert_allclose(variance, expected.logit_variance(single(OTHERS)), 1e-3)


@pytest.mark.slow
def test_a_prior_by_validation_and_a_mixture_take_labeled_pixels():
    settings = {"prior_precision": "validation"}
    found, expected = (Laplace(network(*size), **settings) for size in ((), (1, 1)))
    wrong = np.where(
        LABELS < 0, LABELS, (LABELS + RNG.integers(0, 2, LABELS.shape)) % 3
    )
    known = wrong.ravel() != UNLABELED
    try:
        expected.adapt(
            *labeled(), validation=(single(IMAGES)[known], wrong[wrong >= 0])
        )
    except NoBestFitError:
        pytest.fail("the case must have a best prior")
    found.adapt(IMAGES, LABELS, validation=(IMAGES, wrong))
    np.testing.assert_allclose(found.prior_precision, expected.prior_precision, 1e-4)
    mixture = Mixture([network(), network()], prior_precision=1.0)
    mixture.adapt(IMAGES, LABELS)
    laplace = Laplace(network(), prior_precision=1.0)
    laplace.adapt(IMAGES, LABELS)
    samples, one = mixture(OTHERS), laplace(OTHERS)
    assert samples.shape == (2, 4, HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(samples[1], one[0], atol=1e-5)


def test_what_pixels_cannot_be_fitted_to_is_refused():
    posterior = Density(network(), ["mahalanobis"])
    for labels, message in (
        (LABELS[:, 0, 0] * 0, r"labels of shape \('images', 3, 5\). Received"),
        (
            np.where(LABELS == 2, 1, LABELS),
            "labeled pixels, and none of 1 of 3 classes",
        ),
        (LABELS * 0 + UNLABELED, "Received: 0 labeled pixels"),
        (LABELS + 5, r"must be in \[0, 3\)"),
    ):
        with pytest.raises(ValueError, match=message):
            posterior.adapt(IMAGES, labels)
        assert not posterior.is_adapted
    for subset in ("all", "subnetwork"):
        with pytest.raises(ValueError, match=f'take subset="last_layer".*={subset}, m'):
            Laplace(network(), subset=subset, subnetwork=["head"])
    with pytest.raises(ValueError, match=r"labels of shape \('images',\). Received"):
        Density(network(1, 1)).adapt(single(IMAGES), single(IMAGES)[..., 0] % 3)
