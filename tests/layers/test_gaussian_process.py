"""The Gaussian process head, against exact Bayes in NumPy."""

import keras
import numpy as np
import pytest

from layers import EpochEvents, GaussianProcess
from layers.gaussian_process import orthogonal_features
from tests.helpers.checks import assert_mean_close, check_keras_file, check_layer
from zoo.classifier import named

RNG = np.random.default_rng(0)


def built(dimensions=3, **settings):
    settings = {"units": 2, "num_features": 40, "length_scale": 1.0, **settings}
    layer = GaussianProcess(**settings)
    layer.build((None, dimensions))
    return layer


def features(count, dimensions=3):
    return RNG.normal(size=(count, dimensions)).astype("float32")


def phi_of(layer, x):
    """Returns the random features in float64."""
    frequencies, phases = (
        np.asarray(weight, "float64") for weight in (layer.frequencies, layer.phases)
    )
    return np.cos(x.astype("float64") @ frequencies + phases)


@pytest.mark.parametrize("ridge", [1.0, 0.01, 30.0])
def test_the_variance_is_that_of_an_exact_gaussian_process(ridge):
    layer, seen, x = built(ridge=ridge), features(25), features(6)
    for part in (seen[:10], seen[10:]):
        layer(part, training=True)
    layer.end_epoch()
    found = layer.variance(x)
    phi, new = phi_of(layer, seen), phi_of(layer, x)
    # By functions: the prior covariance, less what the noisy observations explain.
    explained = np.linalg.solve(phi @ phi.T + ridge * np.eye(25), phi @ new.T)
    process = np.sum(new * new, axis=1) - np.sum(new @ phi.T * explained.T, axis=1)
    np.testing.assert_allclose(found, process, rtol=2e-4)
    # By weights: Bayesian linear regression.
    weights = np.linalg.inv(phi.T @ phi / ridge + np.eye(40))
    np.testing.assert_allclose(found, np.sum(new @ weights * new, axis=1), rtol=2e-4)


def test_before_the_first_epoch_it_is_that_of_the_prior():
    layer, x = built(), features(5)
    prior = np.sum(phi_of(layer, x) ** 2, axis=1)
    np.testing.assert_allclose(layer.variance(x), prior, rtol=1e-5)
    layer(x, training=True)
    np.testing.assert_allclose(layer.variance(x), prior, rtol=1e-5)
    layer.end_epoch()
    once = np.asarray(layer.variance(x))
    assert np.all(once < prior)
    layer(x, training=True)  # The same again is twice as much evidence.
    layer.end_epoch()
    assert np.all(np.asarray(layer.variance(x)) < once)
    layer.begin_epoch()
    layer.end_epoch()
    np.testing.assert_allclose(layer.variance(x), prior, rtol=1e-5)


@pytest.mark.parametrize(
    "factor, probs",
    [(np.pi / 8, (0.69386, 0.19932, 0.10683)), (0, np.exp((2.0, 0, -1)))],
)
def test_logits_are_those_of_the_mean_field(factor, probs):
    layer = built(1, units=3, num_features=1, mean_field_factor=factor)
    for name, value in (
        ("frequencies", 0),
        ("phases", 0),
        ("kernel", (2.0, 0.0, -1.0)),
        ("covariance_factor", 2.0),
    ):
        weight = getattr(layer, name)
        weight.assign(np.broadcast_to(np.float32(value), weight.shape))
    x = np.ones((1, 1), "float32")
    assert float(layer.variance(x)[0]) == 4
    expected = np.array(probs) / np.sum(probs)
    np.testing.assert_allclose(keras.ops.softmax(layer(x))[0], expected, atol=1e-5)
    np.testing.assert_allclose(layer(x, training=True), [[2, 0, -1]], rtol=1e-6)


def test_the_products_of_features_have_the_mean_of_the_gaussian_kernel():
    """Over blocks that are drawn apart, within six standard errors."""
    for dimensions, length_scale in ((2, 1.0), (5, 2.0)):
        x, count = features(4, dimensions), 400 * dimensions
        layer = built(dimensions, length_scale=length_scale, num_features=count)
        phi = phi_of(layer, x).reshape(4, 400, dimensions)
        products = 2 / dimensions * np.einsum("abc,dbc->bad", phi, phi)
        squares = np.sum((x[:, None] - x[None]) ** 2, axis=-1)
        kernel = np.exp(-squares / (2 * length_scale**2))
        assert_mean_close(products, kernel)


def test_many_features_are_close_to_the_kernel():
    """The error of `D` independent features has a variance of at most `1 / (2 D)`,
    beside that of the phases; orthogonal ones have less."""
    layer, x = built(16, num_features=4096, length_scale=4.0), features(50, 16)
    phi = np.asarray(layer.random_features(x), "float64")
    squares = np.sum((x[:, None] - x[None]) ** 2, axis=-1)
    error = 2 / 4096 * phi @ phi.T - np.exp(-squares / 32)
    assert np.abs(error).max() < 6 / np.sqrt(4096)


def test_directions_are_orthogonal_in_blocks_and_gaussian_by_themselves():
    columns = np.asarray(orthogonal_features(3, 8, 28), "float64").T
    lengths = np.linalg.norm(columns, axis=1)
    for start in (0, 8, 16, 24):
        block = columns[start : start + 8]
        products = block @ block.T - np.diag(np.sum(block**2, axis=1))
        np.testing.assert_allclose(products, 0, atol=1e-5)
    assert len(set(np.round(lengths, 4))) == 28
    # Blocks are drawn apart.
    assert np.abs(columns[:8] @ columns[8:16].T).max() > 0.5
    drawn = np.asarray(orthogonal_features(4, 3, 3 * 4000), "float64")
    drawn = np.moveaxis(drawn.reshape(3, 4000, 3), 1, 0)
    moments = [drawn, drawn**2, drawn[:, :1] * drawn[:, 1:], drawn**4]
    for values, expected in zip(moments, (0, 1, 0, 3), strict=True):
        assert_mean_close(values, expected)


def test_seeds_tell_layers_apart_and_are_kept():
    first, second = built(), built()
    assert not np.allclose(first.frequencies, second.frequencies)
    assert not np.allclose(first.phases, second.phases)
    assert not np.allclose(built(seed=1).frequencies, built(seed=2).frequencies)
    copy = GaussianProcess.from_config(built(seed=1).get_config())
    copy.build((None, 3))
    np.testing.assert_array_equal(copy.frequencies, built(seed=1).frequencies)
    np.testing.assert_array_equal(copy.phases, built(seed=1).phases)
    keras.utils.set_random_seed(4)
    one = built()
    keras.utils.set_random_seed(4)
    np.testing.assert_array_equal(one.frequencies, built().frequencies)
    assert 0 <= np.min(one.phases) < 2 < 4 < np.max(one.phases) < 2 * np.pi


def values(layer):
    return [np.array(weight) for weight in layer.weights]


def assert_unchanged(layer, before):
    for weight, value in zip(layer.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value, err_msg=weight.path)


def test_inference_and_a_frozen_layer_change_nothing():
    layer, x = built(), features(5)
    layer(x, training=True)
    layer.end_epoch()
    before, predicted = values(layer), np.asarray(layer(x))
    layer(features(4))
    layer.trainable = False
    np.testing.assert_array_equal(layer(x, training=True), predicted)
    layer.begin_epoch()
    layer.end_epoch()
    for weight in layer.weights:
        np.testing.assert_array_equal(weight, before.pop(_place(before, weight)))


def _place(found, weight):
    """Keras gives the weights of a frozen layer in another order."""
    return next(i for i, value in enumerate(found) if np.array_equal(value, weight))


def trained(by_zoo, **settings):
    """Trains by the `fit` of Keras, which here changes the precision alone."""
    inputs = keras.Input((3,))
    layer = GaussianProcess(2, num_features=16, length_scale=1.0, seed=0)
    model = keras.Model(inputs, layer(inputs))
    model = named(model) if by_zoo else model
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss)
    x, labels = features(22), RNG.integers(0, 2, 22)
    settings = {"validation_data": (x, labels), "batch_size": 8, **settings}
    if not by_zoo:
        settings["callbacks"] = EpochEvents()
    history = model.fit(x, labels, verbose=0, **settings)
    return model, layer, x, labels, history.history


@pytest.mark.parametrize("by_zoo", [True, False])
def test_keras_trains_it_with_the_precision_of_one_epoch(by_zoo):
    model, layer, x, labels, history = trained(by_zoo, epochs=3)
    phi = phi_of(layer, x)
    np.testing.assert_allclose(layer.precision, phi.T @ phi, rtol=1e-4, atol=1e-4)
    # What was measured after each epoch, the first too, has the variance of that.
    loss = model.evaluate(x, labels, verbose=0)
    np.testing.assert_allclose(history["val_loss"], [loss] * 3, rtol=1e-5)
    before = np.sum(phi**2, axis=1)
    assert np.all(np.asarray(layer.variance(x)) < 0.5 * before)


def test_callbacks_of_the_user_come_behind():
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            layer = self.model.layers[-1]
            seen.append(float(layer.covariance_factor[0, 0]))

    _, layer, *_ = trained(True, callbacks=[Watch()], validation_data=None)
    assert seen == [float(layer.covariance_factor[0, 0])] != [1.0]


def test_it_keeps_the_contract_of_a_layer():
    layer = built(8, units=5, length_scale=2.0)
    layer(features(30, 8), training=True)
    layer.end_epoch()
    check_layer(layer, (4, 3, 8))


def test_models_keep_it_in_files(tmp_path):
    model, layer, x, *_ = trained(True, epochs=1)
    check_keras_file(model, x, tmp_path)
    restored = keras.models.load_model(tmp_path / "model.keras").layers[-1]
    assert_unchanged(restored, values(layer))


@pytest.mark.parametrize(
    "name, value",
    [
        *(("units", 0), ("num_features", 1.5), ("num_features", True)),
        *(("length_scale", 0), ("length_scale", "1"), ("ridge", 0)),
        *(("ridge", float("nan")), ("mean_field_factor", -1)),
        *(("mean_field_factor", float("inf")), ("seed", -1), ("seed", 2**32)),
    ],
)
def test_bad_settings_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}"):
        GaussianProcess(**{"units": 2, name: value})


def test_other_features_are_refused():
    with pytest.raises(ValueError, match="expected axis -1"):
        built()(features(3, 4))
