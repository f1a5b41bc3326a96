"""Priors against quadrature, against TensorFlow Probability, and in their layers."""

import json
import math

import keras
import numpy as np
import pytest

import layers
from layers import priors, random
from tests.helpers.checks import assert_mean_close

LOC, SCALE = 0.3, 0.4  # Of a posterior.


def tfd():
    return pytest.importorskip("tensorflow_probability").distributions


def divergence(log_prob, loc=LOC, scale=SCALE):
    """Returns KL(N(loc, scale**2) || prior) of one weight by quadrature."""
    x = np.linspace(loc - 12 * scale, loc + 12 * scale, 40_001)
    log_q = -0.5 * ((x - loc) / scale) ** 2 - math.log(scale * math.sqrt(2 * math.pi))
    return np.sum(np.exp(log_q) * (log_q - log_prob(x))) * (x[1] - x[0])


def gaussian(x, scale):
    return -0.5 * (x / scale) ** 2 - math.log(scale * math.sqrt(2 * math.pi))


def mixture(x, weight=0.25, scales=(1.0, 0.1)):
    one, two = (np.exp(gaussian(x, scale)) for scale in scales)
    return np.log(weight * one + (1 - weight) * two)


def laplace(x):
    return -np.abs(x) / 0.7 - math.log(2 * 0.7)


CASES = {
    "gaussian": (lambda: layers.GaussianPrior(0.7), lambda x: gaussian(x, 0.7)),
    "mixture": (lambda: layers.ScaleMixturePrior(0.25, (1.0, 0.1)), mixture),
    "laplace": (lambda: layers.DistributionPrior(tfd().Laplace(0.0, 0.7)), laplace),
}


@pytest.mark.parametrize("name", CASES)
def test_estimates_have_the_divergence_as_their_mean(name):
    make, log_prob = CASES[name]
    prior, shape = make(), (500, 8)
    x = np.random.default_rng(0).normal(size=(3, 4))
    np.testing.assert_allclose(prior.log_prob(x), log_prob(x).sum(), rtol=1e-5)
    loc, scale = np.full(shape, LOC, "float32"), np.full(shape, SCALE, "float32")
    exact = divergence(log_prob)

    def estimate(key):
        noise = np.asarray(random.normal(random.uint32(key), shape))
        # By its own method, and by that of every prior.
        return [
            one(loc, scale, lambda: noise) / loc.size
            for one in (prior.divergence, lambda *x: priors.Prior.divergence(prior, *x))
        ]

    found = np.asarray([estimate(key) for key in range(12)])
    assert_mean_close(found, exact)
    if name == "gaussian":  # In closed form.
        np.testing.assert_allclose(found[:, 0], exact, rtol=1e-4)
        assert found[:, 1].std() > 1e-4


def test_the_closed_form_is_that_of_tensorflow_probability():
    normal = tfd().Normal
    loc, scale = np.float32([0.5, -2.0]), np.float32([0.1, 3.0])
    expected = normal(loc, scale).kl_divergence(normal(0.0, 0.6))
    actual = layers.GaussianPrior(0.6).divergence(loc, scale, None)
    np.testing.assert_allclose(actual, np.sum(expected), rtol=1e-5)


def distributions():
    d = tfd()
    return [
        d.Normal(0.0, 0.5),
        d.StudentT(df=np.float32(3), loc=0.0, scale=1.0),
        d.Laplace(0.0, np.linspace(0.5, 1, 3, dtype="float32")),
        d.MixtureSameFamily(
            d.Categorical(probs=[0.3, 0.7]), d.Normal([0.0, 0.0], [1.0, 0.1])
        ),
        d.Independent(d.Normal(np.zeros((4, 3), "float32"), 1.0), 2),
    ]


def test_distributions_are_saved_with_their_layer(tmp_path):
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    for number, distribution in enumerate(distributions()):
        prior = layers.DistributionPrior(distribution)
        expected = np.sum(distribution.log_prob(x))
        layer = layers.DenseReparameterization(3, prior=prior, name="layer")
        config = json.loads(json.dumps(layer.get_config()))
        again = type(layer).from_config(config).prior
        np.testing.assert_allclose(again.log_prob(x), expected, rtol=1e-5)
        if number:
            continue
        model = keras.Sequential([keras.Input((4,)), layer])
        model.save(tmp_path / "model.keras")
        restored = keras.models.load_model(tmp_path / "model.keras").layers[0]
        for key in (0, 5):
            np.testing.assert_allclose(
                restored.divergence(key), layer.divergence(key), rtol=1e-6
            )
        assert abs(float(layer.divergence(0) - layer.divergence(5))) > 1e-3


def test_a_layer_adds_the_divergence_of_the_kernel_that_it_draws():
    prior = layers.ScaleMixturePrior(0.25, (1.0, 0.1))
    layer = layers.DenseReparameterization(
        3, prior=prior, initial_scale=0.3, use_bias=False, name="layer"
    )
    units = np.eye(4, dtype="float32")
    with layers.stream(7):
        kernel = np.asarray(layer(units))  # The outputs for unit inputs.
    log_q = gaussian(kernel - np.asarray(layer.kernel), 0.3).sum()
    entropy = kernel.size * math.log(0.3 * math.sqrt(2 * math.pi * math.e))
    (loss,) = layer.losses
    expected = -entropy - mixture(kernel).sum()
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    assert abs(log_q + entropy) > 0.1  # The noise that is left out.


def test_gradients_of_estimates_have_those_of_the_closed_form_as_their_mean():
    tf = pytest.importorskip("tensorflow")
    prior = layers.GaussianPrior(0.5)
    loc, scale = tf.fill((2000,), LOC), tf.fill((2000,), SCALE)
    noise = random.normal(random.uint32(3), (2000,))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([loc, scale])
        estimate = priors.Prior.divergence(prior, loc, scale, lambda: noise)
        exact = prior.divergence(loc, scale, None)
    for found, expected in zip(
        tape.gradient(estimate, [loc, scale]),
        tape.gradient(exact, [loc, scale]),
        strict=True,
    ):
        assert_mean_close(found, expected[0])


def refused():
    d = tfd()
    import tensorflow_probability as tfp

    transformed = d.TransformedDistribution(d.Normal(0.0, 1.0), tfp.bijectors.Exp())
    return {
        "finite for every kernel.*Uniform, whose log density is -inf": d.Uniform(-1, 1),
        "finite for every kernel.*HalfNormal": d.HalfNormal(1.0),
        r"broadcast to that of the kernel, \(4, 3\).*of shape \(2,\)": d.Normal(
            [0.0, 0.0], 1.0
        ),
        "must be a distribution of `tfp.distributions`.*Received: Exp": transformed,
        "must be a `tfp.distributions.Distribution`. Received: distribution=3": 3,
    }


def with_prior(distribution):
    prior = layers.DistributionPrior(distribution)
    layers.DenseFlipout(3, prior=prior).build((None, 4))


def test_priors_that_are_not_finite_or_not_to_be_saved_are_refused(monkeypatch):
    for message, distribution in refused().items():
        with pytest.raises(ValueError, match=message):
            with_prior(distribution)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ImportError, match="need TensorFlow.*KERAS_BACKEND=jax"):
        layers.DistributionPrior(tfd().Normal(0.0, 1.0))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"weight": 1}, r"in \(0, 1\). Received: weight=1"),
        ({"scales": (1.0,)}, r"two standard deviations. Received: scales=\(1.0,\)"),
        ({"scales": (1.0, 0.0)}, "must be positive and finite. Received: scales=0"),
    ],
)
def test_a_mixture_has_two_scales_and_a_weight(arguments, message):
    with pytest.raises(ValueError, match=message):
        layers.ScaleMixturePrior(**arguments)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["Flipout", "Reparameterization"])
def test_layers_are_those_of_tensorflow_probability(ending):
    """Mean and variance of the outputs of a convolution, and its KL divergence."""
    tf = pytest.importorskip("tensorflow")
    tfp = pytest.importorskip("tensorflow_probability")
    theirs = getattr(tfp.layers, f"Convolution2D{ending}")(2, 3, padding="same")
    ours = getattr(layers, f"Conv2D{ending}")(2, 3, padding="same", name="layer")
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 2)).astype("float32")
    theirs(x), ours(x)
    scale = np.float32(0.3)
    posterior = theirs.kernel_posterior.distribution
    posterior.loc.assign(ours.kernel)
    raw, ours_raw = theirs.trainable_variables[1], ours.kernel_rho
    raw.assign(tf.fill(raw.shape, math.log(math.expm1(scale))))
    ours_raw.assign(tf.fill(raw.shape, math.log(math.expm1(scale))))
    theirs(x), ours(x)
    np.testing.assert_allclose(theirs.losses[0], ours.losses[0], rtol=1e-3)
    samples = [
        np.asarray(
            tf.function(lambda layer=layer: tf.stack([layer(x) for _ in range(50)]))()
        )
        for layer in (theirs, ours)
        for _ in range(40)
    ]
    one, two = np.concatenate(samples[:40]), np.concatenate(samples[40:])
    for power in (1, 2):
        difference = one**power - two**power
        assert_mean_close(difference, 0.0)
