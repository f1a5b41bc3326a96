import keras
import numpy as np
import pytest

import zoo
from tests.helpers.networks import IMAGES, as_numpy, mc_network, network
from training import metrics
from zoo import predictive
from zoo.posterior import MonteCarlo, Temperature
from zoo.posterior.temperature import best_temperature

RNG = np.random.default_rng(0)
LABELS = np.array([0, 1, 2, 0, 1, 2, 0])


def overconfident(count=400, factor=3.0):
    """Logits that are `factor` times as large as those the labels are drawn from."""
    logits = RNG.normal(size=(count, 5), scale=2)
    noise = RNG.gumbel(size=logits.shape)
    return factor * logits, np.argmax(logits + noise, axis=1)


def mean_nll(logits, labels, temperature):
    logits = np.asarray(logits, "float64") / temperature
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -log_probs[np.arange(len(labels)), labels].mean()


@pytest.mark.parametrize("factor", [0.2, 1.0, 3.0, 20.0])
def test_the_temperature_is_that_of_a_search(factor):
    from scipy import optimize

    logits, labels = overconfident(factor=factor)
    found = best_temperature(logits, labels)
    grid = factor * np.geomspace(0.5, 2, 2001)
    values = [mean_nll(logits, labels, t) for t in grid]
    assert found == pytest.approx(grid[np.argmin(values)], rel=1e-3)
    result = optimize.minimize_scalar(
        lambda log_t: mean_nll(logits, labels, np.exp(log_t)),
        bracket=(np.log(factor) - 0.1, np.log(factor) + 0.1),
        tol=1e-10,
    )
    assert found == pytest.approx(np.exp(result.x), rel=1e-6)
    assert 0.7 * factor < found < 1.4 * factor  # The factor, and chance.


def test_a_temperature_of_one_changes_nothing_and_none_changes_the_class():
    model = mc_network()
    samples = MonteCarlo(model, 4)(IMAGES, seed=2)
    expected = as_numpy(predictive.probs(samples))
    for temperature in (0.2, 1.0, 7.0):
        posterior = Temperature(MonteCarlo(model, 4), temperature)
        logits = posterior(IMAGES, seed=2)
        assert tuple(logits.shape) == (1, 7, 3)
        probs = as_numpy(predictive.probs(logits))
        np.testing.assert_array_equal(probs.argmax(1), expected.argmax(1))
        powers = expected ** (1 / temperature)
        np.testing.assert_allclose(
            probs, powers / powers.sum(1, keepdims=True), atol=1e-5
        )


def test_the_logits_of_one_sample_are_divided():
    model = network()
    logits = Temperature(model, 2.5)(IMAGES, seed=0)
    np.testing.assert_allclose(
        as_numpy(logits)[0], as_numpy(model(IMAGES)) / 2.5, rtol=1e-5, atol=1e-5
    )


def test_adapting_lowers_the_nll_and_changes_the_temperature_alone():
    model = mc_network()
    posterior = Temperature(MonteCarlo(model, 3))
    before = [as_numpy(v) for v in model.variables]

    def value():
        probs = as_numpy(predictive.probs(posterior(IMAGES, seed=0)))
        return metrics.nll(probs, LABELS)

    first = value()
    posterior.adapt(IMAGES, LABELS, batch_size=3)
    best = as_numpy(posterior.temperature)
    assert best != 1.0
    lowest = value()
    assert lowest < first
    for factor in (0.97, 1.03):
        posterior.temperature.assign(best * factor)
        assert value() > lowest
    for old, new in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, as_numpy(new))


def test_an_adapted_posterior_survives_a_round_trip(tmp_path):
    posterior = Temperature(network(), seed=1)
    posterior.adapt(IMAGES, LABELS)
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(posterior)
    )
    assert as_numpy(again.temperature) == as_numpy(posterior.temperature) != 1
    images = keras.Input((8, 8, 1))
    keras.Model(images, posterior(images, seed=3)).save(tmp_path / "scaled.keras")
    loaded = keras.saving.load_model(tmp_path / "scaled.keras")
    np.testing.assert_allclose(
        as_numpy(loaded(IMAGES)), as_numpy(posterior(IMAGES, seed=3)), atol=1e-6
    )


@pytest.mark.parametrize(
    "logits, labels, message",
    [
        (2 * np.eye(3), np.arange(3), "falling at temperature=0.01.*of the training"),
        (2 * np.eye(3), (np.arange(3) + 1) % 3, "falling at temperature=100"),
        (2 * np.eye(3), np.arange(2), r"labels.shape=\(2,\)"),
        (np.zeros((0, 3)), np.zeros(0, int), r"logits.shape=\(0, 3\)"),
    ],
)
def test_data_that_say_nothing_about_the_temperature_are_refused(
    logits, labels, message
):
    with pytest.raises(ValueError, match=message):
        best_temperature(logits, labels)


@pytest.mark.parametrize("temperature", [0, -1, float("inf"), float("nan")])
def test_temperatures_that_are_not_positive_are_refused(temperature):
    with pytest.raises(ValueError, match=f"temperature={temperature}"):
        Temperature(network(), temperature)


def test_last_layer_dropout_takes_the_plain_weights_and_samples_the_features(tmp_path):
    plain = zoo.build("resnet20", (16, 16, 1), 4)
    zoo.presets.weight_file.save_weights(plain, tmp_path / "plain.safetensors", {})
    model = zoo.build("resnet20_lldo", (16, 16, 1), 4)
    zoo.presets.weight_file.load_weights(model, tmp_path / "plain.safetensors")
    names = [layer.name for layer in model.layers]
    assert names[-2:] == ["head_dropout", "head"]
    assert model.get_layer("head_dropout").rate == 0.32
    images = RNG.integers(0, 256, size=(2, 16, 16, 1)).astype("uint8")
    features = keras.Model(plain.input, plain.get_layer("head").input)(images)
    model.get_layer("head_dropout").rate = 0
    np.testing.assert_allclose(
        as_numpy(model(images)), as_numpy(plain(images)), atol=1e-5
    )
    model.get_layer("head_dropout").rate = 0.32
    samples = as_numpy(MonteCarlo(model, 50)(images, seed=0)).astype("float64")
    # The exact covariance of a linear map of dropped features.
    kernel = as_numpy(plain.get_layer("head").kernel).astype("float64")
    factor = 0.32 / 0.68
    variance = factor * (as_numpy(features).astype("float64") ** 2) @ kernel**2
    ratio = samples.var(axis=0, ddof=1) / variance
    assert np.all(np.abs(ratio - 1) < 6 * np.sqrt(2 / 49) * 1.5)
