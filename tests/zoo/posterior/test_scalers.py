"""Vector scaling, Dirichlet calibration and isotonic regression."""

import keras
import numpy as np
import pytest

from tests.helpers.networks import IMAGES, as_numpy, network
from training import metrics
from zoo import predictive
from zoo.posterior import POSTERIORS, Dirichlet, Isotonic, Vector
from zoo.posterior.isotonic import NUM_KNOTS, monotone
from zoo.posterior.scaler import NoBestFitError
from zoo.presets import posterior_file

LABELS = np.array([0, 1, 2, 0, 1, 2, 0])
SCALERS = {"vector": Vector, "dirichlet": Dirichlet, "isotonic": Isotonic}
each = pytest.mark.parametrize("kind", SCALERS)


def biased(count=600, seed=0):
    """Logits of three classes, of which labels follow others."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, 3), scale=2)
    true = logits * [0.4, 1.0, 0.7] + [0.5, 0.0, -0.5]
    return logits, np.argmax(true + rng.gumbel(size=true.shape), axis=1)


def scaled(scaler, logits, values):
    """Returns probabilities, in float64."""
    return softmax(as_numpy(scaler.scale(logits, values)).astype("float64"))


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def nll(probs, labels):
    return -np.log(probs[np.arange(len(labels)), labels]).mean()


def test_vector_scaling_is_where_both_gradients_vanish():
    logits, labels = biased()
    scaler = Vector(network())
    values = scaler.fit(logits, labels)
    probs, truth = scaled(scaler, logits, values), np.eye(3)[labels]
    # The mean prediction is how often classes occur, and so it is weighted by logits.
    np.testing.assert_allclose(probs.mean(axis=0), truth.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(
        np.mean(probs * logits, axis=0), np.mean(truth * logits, axis=0), atol=1e-6
    )
    # Up to chance, the labels were drawn so; one bias for all classes is free.
    np.testing.assert_allclose(values["weight"], [0.4, 1.0, 0.7], atol=0.2)
    offsets = values["bias"] - values["bias"][1]
    np.testing.assert_allclose(offsets, [0.5, 0.0, -0.5], atol=0.5)


def test_dirichlet_calibration_without_penalty_is_a_logistic_regression():
    linear_model = pytest.importorskip("sklearn.linear_model")
    logits, labels = biased()
    log_probs = np.log(softmax(logits))
    regression = linear_model.LogisticRegression(C=np.inf, tol=1e-8, max_iter=2000)
    expected = regression.fit(log_probs, labels).predict_proba(log_probs)
    scaler = Dirichlet(network(), penalty=0)
    probs = scaled(scaler, logits, scaler.fit(logits, labels))
    np.testing.assert_allclose(probs, expected, atol=1e-4)


def test_the_penalty_of_dirichlet_calibration_is_at_its_minimum():
    logits, labels = biased(80)
    scaler = Dirichlet(network(), penalty=0.05)
    found = scaler.fit(logits, labels)

    def objective(values):
        off = values["weight"][~np.eye(3, dtype=bool)]
        penalty = 0.05 * (np.mean(off**2) + np.mean(values["bias"] ** 2))
        return nll(scaled(scaler, logits, values), labels) + penalty

    lowest, rng = objective(found), np.random.default_rng(1)
    for _ in range(20):
        steps = {k: v + rng.normal(size=v.shape, scale=0.01) for k, v in found.items()}
        assert objective(steps) > lowest
    free = Dirichlet(network(), penalty=0).fit(logits, labels)
    off = ~np.eye(3, dtype=bool)
    assert np.mean(found["weight"][off] ** 2) < np.mean(free["weight"][off] ** 2)


def test_isotonic_regression_is_that_of_scikit_learn_in_each_class():
    isotonic = pytest.importorskip("sklearn.isotonic")
    logits, labels = biased()
    scaler = Isotonic(network())
    values = scaler.fit(logits, labels)
    probs = softmax(logits)
    # Others too, at which the functions were not fitted.
    others, _ = biased(seed=1)
    inputs = softmax(others)
    lowest, expected = 1 / (len(labels) + 2), np.empty_like(inputs)
    for k in range(3):
        regression = isotonic.IsotonicRegression(out_of_bounds="clip")
        regression.fit(probs[:, k], labels == k)
        knots = np.maximum(regression.y_thresholds_, lowest)
        expected[:, k] = np.interp(inputs[:, k], regression.X_thresholds_, knots)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scaled(scaler, others, values), expected, atol=1e-9)
    assert np.min(values["heights"]) == pytest.approx(lowest)


def test_a_function_of_many_steps_is_thinned_and_stays_monotone():
    rng = np.random.default_rng(0)
    # As few steps as their number allows: 250,000 images in 200 groups.
    probs = np.repeat(np.linspace(0.01, 0.99, 200), 1250)
    labels = (rng.uniform(size=len(probs)) > probs).astype(int)
    places, heights = monotone(probs, labels == 0)
    assert len(places) == len(heights) == NUM_KNOTS
    assert np.all(np.diff(places) >= 0)
    assert np.all(np.diff(heights) >= 0)
    assert places[0] == pytest.approx(0.01)
    assert places[-1] == pytest.approx(0.99)
    # Five deviations of a group's frequency.
    assert np.abs(np.interp(probs, places, heights) - probs).max() < 5 * 0.5 / 35


@each
def test_adapting_lowers_the_nll_and_survives_a_round_trip(kind, tmp_path):
    model = network()
    posterior = SCALERS[kind](model)
    assert not posterior.is_adapted
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 8, 8, 1)).astype("uint8")
    labels = rng.integers(0, 3, 60)
    logits = as_numpy(model(images)).astype("float64")
    posterior.adapt(images, labels, batch_size=30)
    expected = as_numpy(posterior(images, seed=0))
    assert expected.shape == (1, 60, 3)
    after = metrics.nll(as_numpy(predictive.probs(expected)), labels)
    assert after < metrics.nll(softmax(logits), labels)
    # Of stored predictions the same is learned without an image.
    of_logits = as_numpy(posterior.scale(logits, posterior.fit(logits, labels)))
    np.testing.assert_allclose(of_logits, expected[0], atol=2e-3)
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(posterior)
    )
    assert again.is_adapted
    facts = {"settings": {}, "dataset": "made_up", "images": 60}
    entry = posterior_file.save(posterior, tmp_path, kind, "0" * 64, facts)
    assert entry["values"] == {}  # No single numbers.
    published = SCALERS[kind](model)
    posterior_file.load(published, tmp_path / entry["file"], "0" * 64)
    for name, value in posterior.values().items():
        for other in (again, published):
            found = as_numpy(other.values()[name])
            np.testing.assert_array_equal(found, as_numpy(value))
    inputs = keras.Input((8, 8, 1))
    keras.Model(inputs, posterior(inputs, seed=0)).save(tmp_path / "scaled.keras")
    loaded = keras.saving.load_model(tmp_path / "scaled.keras")
    np.testing.assert_allclose(as_numpy(loaded(images)), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["vector", "dirichlet"])
def test_before_they_are_adapted_they_change_no_probability(kind):
    model = network()
    found = as_numpy(predictive.probs(SCALERS[kind](model)(IMAGES, seed=0)))
    expected = as_numpy(keras.ops.softmax(model(IMAGES)))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@each
def test_what_nothing_can_be_learned_from_is_refused(kind):
    scaler = POSTERIORS[kind].from_models([network()])
    logits, labels = biased(50)
    with pytest.raises(ValueError, match="no image of 1 classes, such as number 2"):
        scaler.fit(logits, np.minimum(labels, 1))
    with pytest.raises(ValueError, match="NaN.*1 of 50"):
        scaler.fit(np.where(np.arange(50)[:, None] == 3, np.nan, logits), labels)
    with pytest.raises(ValueError, match=r"labels.shape=\(49,\)"):
        scaler.fit(logits, labels[1:])
    if kind != "isotonic":
        with pytest.raises(NoBestFitError, match="falling.*all 50 images"):
            scaler.fit(logits, logits.argmax(axis=1))
    assert not scaler.is_adapted


@pytest.mark.parametrize("penalty", [-1, float("inf"), float("nan"), "much"])
def test_penalties_that_mean_nothing_are_refused(penalty):
    with pytest.raises(ValueError, match=f"penalty={penalty}"):
        Dirichlet(network(), penalty)
