"""Means and Gaussians of snapshots against closed forms and a slow pass of Keras."""

import functools

import keras
import numpy as np
import pytest

from layers import compilation
from tests.helpers import marks, processes
from tests.helpers.checks import assert_mean_close
from tests.helpers.networks import IMAGES, as_numpy, mc_network, network
from zoo.classifier import named
from zoo.posterior import SWA, SWAG, Laplace, swag

LABELS = np.array([0, 1, 2, 0, 1, 2, 0])


@functools.cache
def snapshots():
    return tuple(network(seed=seed) for seed in range(5))


def row(model):
    """The weights in one row, without batch statistics."""
    arrays = [v for v in model.weights if "moving" not in v.path]
    return np.concatenate([as_numpy(v).ravel() for v in arrays]).astype("float64")


def adapted(kind=SWAG, models=None, **settings):
    posterior = kind.from_models(models or snapshots(), **{"num_samples": 3} | settings)
    posterior.adapt(IMAGES, LABELS, seed=4)
    return posterior


@pytest.fixture(scope="module")
def posterior():
    return adapted(rank=3)


def moments():
    rows = np.array([row(model) for model in snapshots()])
    mean, variance = rows.mean(axis=0), rows.var(axis=0)
    last = rows[-3:] - mean
    return mean, variance, last.T @ last / 2


def test_draws_have_the_mean_and_the_covariance_of_the_snapshots(posterior):
    mean, variance, shared = moments()
    draw = compilation.program(
        lambda numbers: keras.ops.map(
            lambda number: posterior.flat(posterior.values(), number), numbers
        ),
        owner=posterior,
    )
    draws = as_numpy(draw(keras.ops.arange(4000, dtype="int32")))
    centered = draws.astype("float64") - mean
    assert_mean_close(draws, mean)
    chosen = np.arange(0, len(mean), 11)  # Of 123 weights, all pairs of these.
    products = centered[:, chosen, None] * centered[:, None, chosen]
    expected = 0.5 * (np.diag(variance) + shared)[np.ix_(chosen, chosen)]
    assert_mean_close(products.reshape(4000, -1), expected.ravel())
    # Neighboring draws are independent.
    assert_mean_close(centered[1:, chosen] * centered[:-1, chosen], 0.0)
    found = posterior.weight_variance()
    diagonal = 0.5 * (variance + np.diag(shared))
    arrays = [found[v.path] for v in posterior.model.trainable_variables]
    np.testing.assert_allclose(
        np.concatenate([a.ravel() for a in arrays]), diagonal, 1e-5
    )
    assert arrays[0].shape == posterior.model.trainable_variables[0].shape


def slow(posterior, number):
    """A network of the weights of a sample, and what Keras finds in training mode."""
    model = network()
    values = posterior.weights_of(number).values()
    for variable, value in zip(model.trainable_variables, values, strict=True):
        variable.assign(value)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(IMAGES, training=True)
    return model


@pytest.mark.parametrize("kind", [SWA, SWAG])
def test_batch_statistics_are_those_of_a_pass_of_each_sample(kind, posterior):
    posterior = posterior if kind is SWAG else adapted(SWA)
    samples = as_numpy(posterior(IMAGES))
    assert samples.shape == (3 if kind is SWAG else 1, 7, 3)
    members = posterior.members()
    for number, (sample, member) in enumerate(zip(samples, members, strict=True)):
        model = slow(posterior, number)
        np.testing.assert_allclose(sample, as_numpy(model(IMAGES)), 1e-4, 1e-4)
        np.testing.assert_allclose(member(IMAGES), sample, 1e-4, 1e-4)
        for own, other in zip(member.weights, model.weights, strict=True):
            np.testing.assert_allclose(own, other, 1e-4, 1e-5)


def test_the_mean_of_weights_is_that_of_all_snapshots():
    (found,) = adapted(SWA).members()
    np.testing.assert_allclose(row(found), moments()[0], 1e-6, 1e-7)


@pytest.mark.parametrize(
    "models, settings",
    [
        (snapshots(), {"scale": 0}),
        (snapshots()[:1] * 4, {"rank": 2}),
    ],
)
def test_without_a_deviation_all_samples_are_those_of_the_mean(models, settings):
    samples = as_numpy(adapted(SWAG, models, **settings)(IMAGES))
    expected = as_numpy(adapted(SWA, models)(IMAGES))
    np.testing.assert_allclose(samples, np.repeat(expected, 3, 0), 1e-5, 1e-5)


def test_moments_of_two_and_of_one_are_those_worked_out_by_hand():
    found = swag.Moments(2, 3)
    found.add(np.array([1.0, -2.0]))
    alone = found.solve()
    np.testing.assert_array_equal(alone["mean"], [1, -2])
    assert not alone["variance"].any()
    assert not alone["deviations"].any()
    found.add(np.array([3.0, -8.0]))
    pair = found.solve()
    np.testing.assert_array_equal(pair["mean"], [2, -5])
    np.testing.assert_array_equal(pair["variance"], [1, 9])
    np.testing.assert_array_equal(pair["deviations"], [[-1, 3], [1, -3], [0, 0]])
    for number in range(4):  # Those before the last three are left out.
        found.add(np.array([number, 0.0]))
    last = np.array([[1, 0], [2, 0], [3, 0]]) - found.mean
    np.testing.assert_allclose(found.solve()["deviations"], last / np.sqrt(2), 1e-6)


def test_of_rank_zero_weights_vary_by_themselves():
    posterior = adapted(rank=0)
    assert "deviations" not in posterior.adapted_weights
    found = np.concatenate([a.ravel() for a in posterior.weight_variance().values()])
    np.testing.assert_allclose(found, moments()[1], 1e-5)
    assert (posterior.scale, SWAG(network()).scale) == (1.0, 0.5)
    assert SWAG(network(), rank=0, scale=0.5).scale == 0.5


def test_the_seed_of_the_adaptation_draws_and_that_of_a_call_does_not(posterior):
    assert not posterior.draws
    whole = posterior.predict(IMAGES, seed=1)
    np.testing.assert_allclose(posterior.predict(IMAGES, 3, seed=2), whole, 1e-4, 1e-4)
    assert np.abs(whole[0] - whole[1]).max() > 1e-2
    other = SWAG.from_models(snapshots(), 3, rank=3)
    other.adapt(IMAGES, LABELS, seed=5)
    assert np.abs(other.predict(IMAGES) - whole).max() > 1e-2
    assert posterior(IMAGES[:0]).shape == (3, 0, 3)


def test_it_is_saved_with_its_weights_and_settled_as_an_ensemble(posterior, tmp_path):
    images = keras.Input((8, 8, 1))
    keras.Model(images, posterior(images)).save(tmp_path / "it.keras")
    again = keras.models.load_model(tmp_path / "it.keras").layers[-1]
    assert again.is_adapted
    assert again.settings() == posterior.settings()
    expected = as_numpy(posterior(IMAGES))
    for other in (again, posterior.settled()):
        np.testing.assert_allclose(other(IMAGES), expected, 1e-4, 1e-4)
    copied = SWAG(network(seed=9), **posterior.settings())
    copied.assign(posterior.values())
    np.testing.assert_allclose(copied(IMAGES), expected, 1e-5, 1e-5)


def test_a_network_without_batch_normalization_needs_its_snapshots_alone():
    images = keras.Input((8, 8, 1))
    models = [
        keras.Model(images, keras.layers.Dense(3)(keras.layers.Flatten()(images)))
        for _ in range(3)
    ]
    posterior = adapted(SWA, models)
    assert posterior.adapted_weights == ("mean",)
    logits = [as_numpy(model(IMAGES)) for model in models]
    np.testing.assert_allclose(
        posterior(IMAGES)[0], np.mean(logits, axis=0), 1e-3, 1e-3
    )


def broken():
    model = network()
    model.layers[-1].bias.assign([0, np.nan, 0])
    return model


def wider():
    images = keras.Input((8, 8, 1))
    return keras.Model(images, keras.layers.Dense(3)(keras.layers.Flatten()(images)))


@pytest.mark.parametrize(
    "models, message",
    [
        ([], "Received: 0 snapshots"),
        ([network(), wider()], "snapshot 1, 'functional.*with others"),
        ([network(), broken()], "snapshot 1, 'network', with NaN"),
    ],
)
def test_snapshots_that_do_not_fit_leave_it_as_it_was(models, message):
    posterior = SWAG(named(network(), ("ant", "bee", "cat")))
    with pytest.raises(ValueError, match=message):
        posterior.collect(models)
    for call in (posterior.weight_variance, lambda: posterior.adapt(IMAGES, LABELS)):
        with pytest.raises(ValueError, match="no snapshots of a training: call"):
            call()
    with pytest.raises(ValueError, match="no batch statistics.*`collect`.*`adapt`"):
        posterior(IMAGES)
    posterior.collect(snapshots())
    with pytest.raises(ValueError, match="give `labels`"):
        posterior.adapt(IMAGES)
    assert not posterior.is_adapted


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"rank": 1}, "rank=1"),
        ({"rank": -2}, "rank=-2"),
        ({"rank": 2.0}, "rank=2.0"),
        ({"scale": -1}, "scale=-1"),
        ({"scale": np.nan}, "scale=nan"),
        ({"num_samples": 0}, "num_samples=0"),
        ({"num_images": 0}, "num_images=0"),
    ],
)
def test_settings_that_are_none_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SWAG(network(), **settings)
    with pytest.raises(ValueError, match="does not draw"):
        SWAG(mc_network())


def test_its_variances_choose_a_subnetwork(posterior):
    laplace = Laplace(posterior.model, subset="subnetwork", subnetwork=5)
    variances = posterior.weight_variance()
    laplace.choose(variances)
    rows = [
        np.ravel(variances[weight.path])
        for layer in laplace.gaussian_layers
        for weight in layer.trainable_variables
    ]
    largest = np.argsort(-np.concatenate(rows))[:5]
    assert set(as_numpy(laplace.indices)) == set(largest)
    laplace.adapt(IMAGES, LABELS)
    assert np.all(laplace.logit_variance(IMAGES) > 0)


@marks.on_others
def test_all_of_this_holds_on_other_backends(backend):
    pytest.importorskip(backend)
    processes.check_on(backend, __file__)
