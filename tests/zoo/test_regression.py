"""Regressors of the zoo, and posteriors of them."""

import keras
import numpy as np
import pytest
from keras import ops

import layers
import zoo
from training import metrics
from zoo import outputs, posterior
from zoo.posterior import curvature
from zoo.presets import weight_file

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)).astype("float32")
Y = 5 + 2 * X[:, 0] + 0.3 * RNG.normal(size=40)
TARGET = 5.0, 2.0


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    moments = ((0.1, 0, 0), (2.0, 1, 1))
    return zoo.build("mlp50", (3,), normalization=moments, target=TARGET)


def test_regressors_know_their_task_and_are_saved_with_it(model, tmp_path):
    assert outputs.task_of(model) == "regression"
    weight_file.save_weights(model, tmp_path / "model.safetensors")
    loaded = zoo.load("mlp50", weights=tmp_path / "model.safetensors")
    assert loaded.knows()["target"] == list(TARGET)
    np.testing.assert_array_equal(loaded(X), model(X))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert outputs.task_of(again) == "regression"
    np.testing.assert_array_equal(again(X), model(X))


def test_image_families_are_regressors_too():
    made = zoo.build("lenet5", (28, 28, 1), target=TARGET)
    assert made.output_shape == (None, 2)
    assert outputs.task_of(made) == "regression"
    assert zoo.build("mlp", (28, 28, 1), num_classes=10).output_shape == (None, 10)


def test_the_mixture_has_the_moments_of_draws_from_it():
    samples = np.stack([RNG.normal(size=(3, 2)), RNG.uniform(0.5, 2, (3, 2))], axis=-1)
    found = ops.convert_to_numpy(zoo.predictive.gaussian(samples))
    part = RNG.integers(3, size=400_000)
    for place in range(2):
        mean, scale = samples[part, place].T
        drawn = RNG.normal(mean, scale)
        # Five standard errors.
        np.testing.assert_allclose(found[place, 0], drawn.mean(), atol=0.015)
        np.testing.assert_allclose(found[place, 1], drawn.std(), atol=0.015)
    parts = (zoo.predictive.aleatoric_scale, zoo.predictive.epistemic_scale)
    squares = sum(np.square(part(samples)) for part in parts)
    np.testing.assert_allclose(squares, np.square(found[:, 1]), rtol=1e-5)
    means, scales = np.moveaxis(samples, -1, 0)
    density = zoo.predictive.log_density(samples, [0.3, -0.2])
    expected = metrics.REGRESSION["gaussian_nll"](means, scales, [0.3, -0.2])
    np.testing.assert_allclose(-np.mean(density), expected, rtol=1e-5)


def test_laplace_is_bayesian_linear_regression_of_the_features(model):
    made = posterior.Laplace.from_models([model], prior_precision=0.7)
    assert isinstance(made, posterior.LinearLaplace)
    made.adapt(X, labels=Y, batch_size=7)
    body = keras.Model(model.input, model.get_layer("head").input)
    features = np.asarray(body(X), "float64")
    rows = np.concatenate([features, np.ones((len(X), 1))], axis=1)
    means, scales = np.asarray(model(X), "float64").T
    deviations = scales / TARGET[1]
    precision = (rows / deviations[:, None] ** 2).T @ rows + 0.7 * np.eye(rows.shape[1])
    spread = np.sum(rows @ np.linalg.inv(precision) * rows, axis=1)
    (found,) = made.predict(X)
    np.testing.assert_allclose(found[:, 0], means, rtol=1e-5)
    expected = TARGET[1] * np.sqrt(deviations**2 + spread)
    np.testing.assert_allclose(found[:, 1], expected, rtol=1e-4)
    epistemic = TARGET[1] * np.sqrt(spread)
    np.testing.assert_allclose(made.epistemic_scale(X), epistemic, rtol=1e-3)


def test_the_best_prior_precision_has_the_largest_evidence(model):
    made = posterior.LinearLaplace(model)
    made.adapt(X, labels=Y)
    best = float(ops.convert_to_numpy(made.prior_precision))
    middle = made.log_marginal_likelihood()
    assert middle > made.log_marginal_likelihood(0.7 * best)
    assert middle > made.log_marginal_likelihood(1.4 * best)
    values = np.asarray(made.curvature)
    assert curvature.best_prior_precision(values, 0.0) is None


def test_a_factor_of_deviations_is_the_most_likely_one(model):
    made = posterior.Spread(model)
    made.adapt(X, labels=Y)
    factor = float(ops.convert_to_numpy(made.factor))
    means, scales = np.asarray(model(X)).T

    def nll(by):
        return metrics.REGRESSION["gaussian_nll"](means, by * scales, Y)

    assert nll(factor) < min(nll(0.98 * factor), nll(1.02 * factor))
    (found,) = made.predict(X)
    np.testing.assert_allclose(found[:, 1], factor * scales, rtol=1e-5)
    again = type(made).from_config(made.get_config())
    assert again.is_adapted
    assert float(ops.convert_to_numpy(again.factor)) == factor


def test_nomu_has_a_second_network_that_sees_the_features_of_the_first():
    made = zoo.build("mlp50_nomu", (3,), target=(0.0, 1.0))
    assert made.get_layer("head_uncertainty").kernel.shape == (100, 1)
    assert made.get_layer("uncertainty_1").kernel.shape == (3, 50)
    # The mean does not depend on it.
    before = np.asarray(made(X))
    for name in ("uncertainty_1", "head_uncertainty"):
        layer = made.get_layer(name)
        layer.kernel.assign(layer.kernel + 1.0)
    after = np.asarray(made(X))
    np.testing.assert_array_equal(after[:, 0], before[:, 0])
    assert np.any(after[:, 1] != before[:, 1])


@pytest.mark.parametrize(
    "call, message",
    [
        (posterior.Temperature, "is for classification and segmentation"),
        (posterior.Laplace, "is for classification and segmentation, and its net"),
        (posterior.Density, "is for classification and segmentation, and its net"),
        (posterior.Temporal, "is for classification and segmentation"),
        (lambda m: posterior.Spread(m, factor=0), "must be positive.*factor=0"),
        (lambda m: posterior.LinearLaplace(m, 0.0), "must be a positive number"),
        (
            lambda m: posterior.Spread(zoo.build("mlp50", (3,), 4)),
            "is for regression, and its network for classification",
        ),
        (
            lambda m: posterior.DeepEnsemble([m, zoo.build("mlp50", (3,), 2)]),
            "must have the same `task`",
        ),
        (
            lambda m: posterior.LinearLaplace(m, 1.0).adapt(
                X, np.append(Y[:-1], np.inf)
            ),
            "must be finite.*in 1 of 40 examples, the first of them number 39",
        ),
        (lambda m: posterior.MonteCarlo(m, 2).predict(X * np.nan), "must be finite"),
        (lambda m: zoo.build("resnet20", (3,), 2), "'resnet20' takes images"),
        (lambda m: zoo.build("mlp50_nomu", (3,), 2), "are for a regressor; give"),
        (lambda m: zoo.build("mlp50", (3,), target=(0.0, -1.0)), "scale=-1"),
        (
            lambda m: zoo.build("mlp50", (3,), target=(1.0,)),
            "`target` must be the mean",
        ),
        (
            lambda m: zoo.build("unet16", (32, 32, 3), target=TARGET),
            "'unet16' is for pix",
        ),
        (lambda m: zoo.predictive.gaussian(np.zeros((2, 3, 2))), "positive standard"),
        (lambda m: zoo.predictive.gaussian(np.zeros((3, 2))), "shape .samples, batch"),
    ],
)
def test_what_is_of_another_task_or_not_finite_is_an_error(model, call, message):
    with pytest.raises(ValueError, match=message):
        call(model)


def test_features_are_not_taken_for_pixels():
    moments = ((100.0,) * 3, (900.0,) * 3)
    model = zoo.build("mlp50", (3,), normalization=moments, target=TARGET)
    made = posterior.MonteCarlo(model, 1)
    assert not made.takes_bytes
    assert made(np.full((2, 3), 0.5, "float32")).shape == (1, 2, 2)
    assert layers.is_stochastic(model) is False
