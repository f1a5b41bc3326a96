"""Laplace's approximation against matrices that are written out, and closed forms."""

import keras
import numpy as np
import pytest

import layers
from tests.helpers.checks import assert_mean_close
from tests.helpers.networks import IMAGES, as_numpy, mc_network, network
from zoo.classifier import named
from zoo.posterior import DeepEnsemble, Laplace, MonteCarlo, Temperature, curvature
from zoo.posterior.graph_split import LastLayer

LABELS = np.array([0, 1, 2, 0, 1, 2, 0])
PRIOR = 0.7
STRUCTURES = list(curvature.STRUCTURES)


def headless(model):
    return keras.Model(model.input, model.layers[-1].input)


@pytest.fixture(scope="module")
def model():
    return named(network(), ("ant", "bee", "cat"))


@pytest.fixture(scope="module")
def parts(model):
    """Float64 features with a one behind them, and probabilities."""
    features = as_numpy(headless(model)(IMAGES)).astype("float64")
    logits = as_numpy(model(IMAGES)).astype("float64")
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return np.concatenate([features, np.ones((7, 1))], axis=1), probs, logits


def hessians(probs):
    return [np.diag(p) - np.outer(p, p) for p in probs]


def precision(structure, rows, probs):
    """The matrix with a row for each weight, in the order of Keras, without prior."""
    factors = hessians(probs)
    if structure == "kronecker":
        weights = rows[:, :-1]
        of_features = np.mean([np.outer(x, x) for x in weights], axis=0)
        of_classes = np.sum(factors, axis=0)
        size = 3 * rows.shape[1]
        found = np.zeros((size, size))
        found[:-3, :-3] = np.kron(of_features, of_classes)
        found[-3:, -3:] = of_classes
        return found
    full = 0
    for x, factor in zip(rows, factors, strict=True):
        jacobian = np.kron(x, np.eye(3))  # Of 3 logits by weights.
        full = full + jacobian.T @ factor @ jacobian
    return full if structure == "full" else np.diag(np.diag(full))


def covariances(structure, rows, probs, prior=PRIOR):
    inverse = np.linalg.inv(
        precision(structure, rows, probs) + prior * np.eye(3 * rows.shape[1])
    )
    jacobians = [np.kron(x, np.eye(3)) for x in rows]
    return np.array([j @ inverse @ j.T for j in jacobians])


def adapted(model, *settings, prior=PRIOR, **options):
    posterior = Laplace(model, *settings, prior_precision=prior, **options)
    posterior.adapt(IMAGES, LABELS, batch_size=3)
    return posterior


@pytest.mark.parametrize("structure", STRUCTURES)
def test_variances_and_evidence_are_those_of_the_matrix(structure, model, parts):
    rows, probs, logits = parts
    posterior = adapted(model, structure)
    expected = covariances(structure, rows, probs)
    variance = np.diagonal(expected, axis1=1, axis2=2)
    np.testing.assert_allclose(posterior.logit_variance(IMAGES), variance, 1e-4)
    scaled = logits / np.sqrt(1 + np.pi / 8 * variance)
    np.testing.assert_allclose(as_numpy(posterior(IMAGES))[0], scaled, 1e-4, 1e-5)
    matrix, head = precision(structure, rows, probs), model.layers[-1]
    size = len(matrix)
    log_likelihood = np.log(probs[np.arange(7), LABELS]).sum()
    norm = sum(np.square(as_numpy(w)).sum() for w in head.weights)
    with_prior = np.linalg.slogdet(matrix + PRIOR * np.eye(size))[1]
    evidence = log_likelihood - (with_prior - size * np.log(PRIOR) + PRIOR * norm) / 2
    assert posterior.log_marginal_likelihood() == pytest.approx(evidence, rel=1e-5)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_draws_have_the_covariance_of_the_matrix(structure, model, parts):
    rows, probs, logits = parts
    count = 20_000
    posterior = adapted(model, structure, "monte_carlo", num_samples=count)
    draws = as_numpy(posterior(IMAGES[:2], seed=1)).astype("float64")
    expected = covariances(structure, rows, probs)[:2]
    centered = draws - logits[:2]
    for image in range(2):
        assert_mean_close(draws[:, image], logits[image])
        products = np.einsum("si,sj->sij", centered[:, image], centered[:, image])
        assert_mean_close(products.reshape(count, 9), expected[image].reshape(9))
    # Images and samples draw apart from each other.
    assert_mean_close(centered[:, 0] * centered[:, 1], np.zeros(3))
    assert_mean_close(centered[1:, 0] * centered[:-1, 0], np.zeros(3))


@pytest.mark.parametrize("structure", ["kronecker", "full"])
def test_draws_depend_on_seed_and_image_and_on_no_eigenvector(structure, model):
    posterior = adapted(model, structure, "monte_carlo", num_samples=4)
    whole = posterior.predict(IMAGES, seed=3)
    np.testing.assert_allclose(posterior.predict(IMAGES, 3, seed=3), whole, 1e-4, 1e-4)
    assert np.abs(posterior.predict(IMAGES, seed=4) - whole).min() > 0
    for name in posterior.adapted_weights:
        if name.endswith("basis"):  # The signs of eigenvectors are arbitrary.
            basis = getattr(posterior, name)
            signs = np.resize([1.0, -1.0, -1.0], basis.shape[0]).astype("float32")
            basis.assign(as_numpy(basis) * signs)
    np.testing.assert_allclose(posterior.predict(IMAGES, seed=3), whole, 1e-3, 1e-3)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_bridge_has_the_mean_of_its_dirichlet_distribution(structure, model, parts):
    rows, probs, logits = parts
    found = as_numpy(adapted(model, structure, "bridge")(IMAGES))[0].astype("float64")
    expected = bridge(logits, covariances(structure, rows, probs))
    np.testing.assert_allclose(np.exp(found), expected, 1e-3)


def bridge(logits, covariance):
    """The parameters of the Dirichlet distributions, from all of the covariances."""
    classes, sums = logits.shape[1], covariance.sum(axis=2)
    total = covariance.sum(axis=(1, 2))
    mean = logits - sums * (logits.sum(axis=1) / total)[:, None]
    np.testing.assert_allclose(mean.sum(axis=1), 0, atol=1e-9)
    changed = covariance - sums[:, :, None] * sums[:, None] / total[:, None, None]
    variance = np.diagonal(changed, axis1=1, axis2=2)
    inverses = np.exp(-mean).sum(axis=1, keepdims=True)
    return (1 - 2 / classes + np.exp(mean) * inverses / classes**2) / variance


def test_the_bridge_of_two_classes_is_that_of_their_difference(model, parts):
    images = keras.Input((8, 8, 1))
    head = keras.layers.Dense(2, kernel_initializer="ones", bias_initializer="ones")
    pair = keras.Model(images, head(headless(model)(images)))
    head.kernel.assign(np.linspace(-1, 1, 16).reshape(8, 2))
    posterior = Laplace(pair, "full", "bridge", PRIOR)
    posterior.adapt(IMAGES, LABELS % 2)
    rows, logits = parts[0], as_numpy(pair(IMAGES)).astype("float64")
    odds = 1 / (1 + np.exp(logits[:, ::-1] - logits))
    matrix = PRIOR * np.eye(18)
    jacobians = [np.kron(x, np.eye(2)) for x in rows]
    for jacobian, factor in zip(jacobians, hessians(odds), strict=True):
        matrix += jacobian.T @ factor @ jacobian
    inverse = np.linalg.inv(matrix)
    covariance = np.array([j @ inverse @ j.T for j in jacobians])
    found = np.exp(as_numpy(posterior(IMAGES))[0].astype("float64"))
    np.testing.assert_allclose(found, bridge(logits, covariance), 1e-3)


def test_the_bridge_stands_a_wide_prior(model, parts):
    posterior = adapted(model, "kronecker", "bridge", prior=1e-6)
    found = as_numpy(posterior(IMAGES))[0].astype("float64")
    rows, probs, logits = parts
    covariance = covariances("kronecker", rows, probs, 1e-6)
    np.testing.assert_allclose(np.exp(found), bridge(logits, covariance), 1e-2)


@pytest.mark.parametrize(
    "structure, predictive",
    [("kronecker", "probit"), ("diagonal", "monte_carlo"), ("full", "monte_carlo")],
)
def test_a_narrow_prior_leaves_the_trained_network(structure, predictive, model):
    found = adapted(model, structure, predictive, prior=1e12)(IMAGES, seed=0)
    expected = np.broadcast_to(as_numpy(model(IMAGES)), found.shape)
    np.testing.assert_allclose(as_numpy(found), expected, atol=1e-4)


def test_of_one_image_the_kronecker_product_is_all_of_the_matrix(parts):
    rows, probs, _ = parts
    values = {}
    for name in ("kronecker", "full"):
        found = curvature.STRUCTURES[name](8, 3, False)
        found.add(rows[:1, :-1], probs[:1])
        values[name] = {**found.solve(), "prior_precision": PRIOR}
        features = keras.ops.convert_to_tensor(rows[:, :-1], "float32")
        own = {k: np.asarray(v, "float32") for k, v in values[name].items()}
        values[name]["variance"] = as_numpy(found.variance(features, own))
    kronecker, full = values.values()
    np.testing.assert_allclose(kronecker["variance"], full["variance"], 1e-4)
    eigenvalues = np.sort(kronecker["curvature"].ravel())
    np.testing.assert_allclose(eigenvalues, full["curvature"], atol=1e-9)


def test_of_a_linear_regression_the_evidence_is_that_of_the_labels():
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(12, 4)), rng.normal(size=12)
    matrix = inputs.T @ inputs  # The noise has the variance 1.
    weights = np.linalg.solve(matrix + PRIOR * np.eye(4), inputs.T @ labels)
    errors = labels - inputs @ weights
    log_likelihood = -(errors @ errors + 12 * np.log(2 * np.pi)) / 2
    eigenvalues = np.linalg.eigvalsh(matrix)
    found = curvature.log_evidence(
        log_likelihood, eigenvalues, PRIOR, weights @ weights
    )
    # Labels are sums of noise and inputs times weights.
    covariance = np.eye(12) + inputs @ inputs.T / PRIOR
    expected = -(
        labels @ np.linalg.solve(covariance, labels)
        + np.linalg.slogdet(2 * np.pi * covariance)[1]
    )
    assert found == pytest.approx(expected / 2, rel=1e-12)


def test_the_best_prior_precision_has_the_largest_evidence(model):
    posterior = adapted(model, prior="marginal_likelihood")
    best = float(as_numpy(posterior.prior_precision))
    largest = posterior.log_marginal_likelihood()
    others = [posterior.log_marginal_likelihood(best * x) for x in (0.9, 1.1)]
    assert max(others) < largest
    assert posterior.log_marginal_likelihood(best) == pytest.approx(largest)
    assert curvature.best_prior_precision(np.zeros(3), 1.0) is None


def test_the_evidence_of_a_frozen_network_is_that_of_its_weights(model):
    expected = adapted(model, prior="marginal_likelihood")
    frozen = keras.models.clone_model(model)
    frozen.set_weights(model.get_weights())
    frozen.trainable = False
    found = adapted(frozen, prior="marginal_likelihood")
    for own, other in (
        (found.prior_precision, expected.prior_precision),
        (found.log_marginal_likelihood(), expected.log_marginal_likelihood()),
    ):
        assert float(as_numpy(own)) == pytest.approx(float(as_numpy(other)), rel=1e-6)


def test_the_prior_precision_is_that_of_the_best_validation_images(model):
    others = LABELS[::-1]
    posterior = Laplace(model, prior_precision="validation")
    assert posterior.adapts_to == ("train", "validation")
    with pytest.raises(ValueError, match="train and validation images.*=None"):
        posterior.adapt(IMAGES, LABELS)
    posterior.adapt(IMAGES, LABELS, validation=(IMAGES, others))

    def nll(prior):
        logits = as_numpy(adapted(model, prior=float(prior))(IMAGES))[0]
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return -logs[np.arange(7), others].mean()

    best = as_numpy(posterior.prior_precision)
    assert 1e-5 < best < 1e9
    assert nll(best) < min(nll(best * 1.5), nll(best / 1.5))


def test_the_last_layer_is_found_inside_of_other_models_and_before_what_does_nothing():
    images = keras.Input((8, 8, 1))
    inner = network()
    x = keras.layers.Dropout(0.5)(inner(images))
    outer = keras.Model(images, keras.layers.Activation("linear")(x))
    expected = as_numpy(headless(inner)(IMAGES))
    for model in (inner, outer, keras.Sequential([headless(inner), inner.layers[-1]])):
        last = LastLayer(model)
        assert last.head is inner.layers[-1]
        found = as_numpy(last.features(keras.ops.convert_to_tensor(IMAGES)))
        np.testing.assert_allclose(found, expected, 1e-5)


def ending(*more):
    images = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(images)
    for layer in more:
        x = layer(x)
    return keras.Model(images, x, name="it")


@pytest.mark.parametrize(
    "make, settings, message",
    [
        (mc_network, {}, "does not draw.*model=network"),
        (lambda: ending(keras.layers.Dense(3, "relu")), {}, "without activation.*=it"),
        (lambda: ending(layers.DenseFlipout(3)), {}, "keras.layers.Dense"),
        (lambda: ending(keras.layers.Dense(900)), {"structure": "full"}, "25.5 GiB"),
        (network, {"structure": "low_rank"}, "structure=low_rank"),
        (network, {"predictive": "mean"}, "predictive=mean"),
        (network, {"prior_precision": 0}, "prior_precision=0"),
        (network, {"prior_precision": "evidence"}, "prior_precision=evidence"),
        (network, {"num_samples": 0}, "num_samples=0"),
    ],
)
def test_other_networks_and_settings_are_refused(make, settings, message):
    with pytest.raises(ValueError, match=message):
        Laplace(make(), **settings)


def broken():
    model = network()
    model.layers[3].gamma.assign(np.full(8, np.nan))
    return model


@pytest.mark.parametrize(
    "make, dataset, labels, message",
    [
        (network, IMAGES, None, "give `labels`"),
        (network, IMAGES[:0], LABELS[:0], "0 images"),
        (network, IMAGES[:2], LABELS[:2], "2 images, and none of 1 of 3 classes.* 2$"),
        (broken, IMAGES, LABELS, "must be finite.*NaN or infinity in 7 of 7"),
    ],
)
def test_what_cannot_be_fitted_to_leaves_the_posterior_as_it_was(
    make, dataset, labels, message
):
    posterior = Laplace(make(), prior_precision=1.0)
    with pytest.raises(ValueError, match=message):
        posterior.adapt(dataset, labels)
    assert not posterior.is_adapted
    assert not as_numpy(posterior.curvature).any()
    with pytest.raises(ValueError, match="call its `adapt`"):
        posterior(IMAGES)


def test_validation_images_that_nobody_needs_are_refused(model):
    for posterior in (Laplace(model), Temperature(model), DeepEnsemble([model])):
        with pytest.raises(ValueError, match="`validation` is for what adapts to both"):
            posterior.adapt(IMAGES, LABELS, validation=(IMAGES, LABELS))


def test_an_interrupted_adaptation_is_none(model, monkeypatch):
    posterior = adapted(model)
    before = {k: as_numpy(v) for k, v in posterior.values().items()}

    def batches():
        yield IMAGES, LABELS
        raise KeyboardInterrupt

    def interrupted(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        posterior.adapt(batches())
    assert posterior.is_adapted
    for name, value in posterior.values().items():
        np.testing.assert_array_equal(as_numpy(value), before[name])
    monkeypatch.setattr(type(posterior.prior_precision), "assign", interrupted)
    with pytest.raises(KeyboardInterrupt):
        posterior.assign(before)
    assert not posterior.is_adapted


def test_what_was_learned_is_of_these_weights_alone(model):
    values = {k: as_numpy(v) for k, v in adapted(model).values().items()}
    again = Laplace(model)
    again.assign(values)
    np.testing.assert_array_equal(
        as_numpy(again(IMAGES)), as_numpy(adapted(model)(IMAGES))
    )
    other = Laplace(network(seed=1))
    with pytest.raises(ValueError, match="other weights than those.*fingerprint="):
        other.assign(values)
    with pytest.raises(ValueError, match="weights of the shapes"):
        Laplace(model, "full").assign(values)
    assert not other.is_adapted


def test_posteriors_around_it_pass_on_the_images_that_it_needs(model):
    shuffled = LABELS[::-1]
    expected = adapted(model)
    ensemble = DeepEnsemble([Laplace(model, prior_precision=PRIOR), MonteCarlo(model)])
    assert ensemble.adapts_to == ("train",)
    ensemble.adapt(IMAGES, LABELS)
    scaled = Temperature(Laplace(model, prior_precision=PRIOR))
    assert scaled.adapts_to == ("train", "validation")
    scaled.adapt(IMAGES, LABELS, validation=(IMAGES, shuffled))
    for found in (ensemble.members[0], scaled.posterior):
        assert as_numpy(found.log_likelihood) == as_numpy(expected.log_likelihood)
    alone = Temperature(expected)
    assert alone.adapts_to == ("validation",)
    alone.adapt(IMAGES, shuffled)
    np.testing.assert_allclose(
        as_numpy(scaled.temperature), as_numpy(alone.temperature), 1e-5
    )


def test_the_memory_of_a_variance_is_that_of_the_factors():
    rng = np.random.default_rng(0)
    found = curvature.Kronecker(300, 200, True)
    found.add(rng.normal(size=(8, 300)), rng.dirichlet(np.ones(200), 8))
    values = {k: np.asarray(v, "float32") for k, v in found.solve().items()}
    assert {name: value.shape for name, value in values.items()} == found.shapes
    values["prior_precision"] = np.float32(1)
    features = keras.ops.convert_to_tensor(rng.normal(size=(4, 300)), "float32")
    variance = as_numpy(found.variance(features, values))
    # Of 8 images, most weights keep their prior.
    expected = np.square(as_numpy(features)).sum(axis=1, keepdims=True) + 1
    assert (variance < expected * 1.0001).all()
    np.testing.assert_allclose(variance, np.broadcast_to(expected, (4, 200)), 0.1)
