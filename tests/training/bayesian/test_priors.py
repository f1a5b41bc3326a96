"""Priors of whole networks, and the covariance of what a first layer sees."""

import keras
import numpy as np
import pytest

from layers import priors
from training.bayesian.priors import ModelPrior, first_layer, input_covariance, parse

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (9, 7, 6, 2)).astype("uint8")
IMAGES[:, 0] = 0  # Dead pixels.


def network(*first, shape=(7, 6, 2)):
    """A network that begins with some layers."""
    images = x = keras.Input(shape)
    x = keras.layers.Rescaling(1 / 255, 0.25)(x)
    for layer in first:
        x = layer(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(images, keras.layers.Dense(3, name="head")(x))


CONVS = {
    "valid": {"strides": 2, "padding": "valid"},
    "same": {"strides": 1, "padding": "same"},
}


@pytest.mark.parametrize("padding", CONVS)
def test_the_covariance_of_patches_is_that_of_loops(padding):
    conv = keras.layers.Conv2D(4, (3, 2), **CONVS[padding])
    model, pixels = network(conv), IMAGES / 255 + 0.25
    if padding == "same":  # One row on each side, and a column behind.
        pixels = np.pad(pixels, ((0, 0), (1, 1), (0, 1), (0, 0)))
    step = CONVS[padding]["strides"]
    patches = [
        image[i : i + 3, j : j + 2].ravel()
        for image in pixels
        for i in range(0, pixels.shape[1] - 2, step)
        for j in range(0, pixels.shape[2] - 1, step)
    ]
    found = input_covariance(model, IMAGES, first_layer(model), batch_size=4)
    np.testing.assert_allclose(found, np.cov(np.array(patches).T), rtol=1e-5, atol=1e-7)


def test_a_prior_of_the_first_layer_leaves_the_others_gaussian():
    model = network()
    prior = ModelPrior("empcov:scale=0.5:covariance_scale=2:jitter=0.01", model)
    weights = [RNG.normal(size=v.shape) for v in model.trainable_variables]
    with pytest.raises(ValueError, match="call its `adapt`"):
        prior.log_prob(weights)
    prior.adapt(IMAGES, batch_size=4)
    rows = (IMAGES / 255 + 0.25).reshape(9, -1)
    inverse = np.linalg.inv(np.cov(rows.T) + 0.01 * np.eye(84)) / 4 + np.eye(84) * 4
    kernel, bias = weights
    expected = -0.5 * np.einsum("ic,ij,jc->", kernel, inverse, kernel)
    expected -= 0.5 * np.sum(np.square(bias / 0.5)) + 0.5 * 255 * np.log(2 * np.pi)
    np.testing.assert_allclose(float(prior.log_prob(weights)), expected, rtol=1e-5)
    # A weight of a dead pixel is near zero: of variance .01 times the square of two.
    first, other = prior.of_weights
    standard = np.eye(84)
    factor = np.asarray(first.from_standard(keras.ops.convert_to_tensor(standard)))
    np.testing.assert_allclose((factor @ factor.T)[0, 0], 1 / (25 + 4), rtol=1e-4)
    assert other.get_config() == priors.GaussianPrior(0.5).get_config()
    filters = ModelPrior("sum_filter:scale=0.5", network(keras.layers.Conv2D(2, 3)))
    kinds = [type(prior) for prior in filters.of_weights]
    assert kinds == [priors.SumFilterPrior, *[priors.GaussianPrior] * 3]


@pytest.mark.parametrize(
    "text, message",
    [
        ("gausian", "Unknown prior 'gausian'.*Did you mean 'gaussian'"),
        ("laplace:scal=1", "no setting 'scal'.*Did you mean 'scale'"),
        ("gaussian:scale=wide", "are numbers.*prior=gaussian:scale=wide"),
        ("gaussian:scale=-1", "`scale` must be positive.*scale=-1"),
        ("empcov:jitter=0", "jitter=0"),
        ("empcov:covariance=1", "no setting 'covariance'"),
    ],
)
def test_what_is_no_name_of_a_prior_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


@pytest.mark.parametrize(
    "text, model, message",
    [
        ("sum_filter", network(), "begin with a convolution.*'head'"),
        (
            "empcov",
            network(keras.layers.DepthwiseConv2D(3)),
            "dense layer or a convolution without groups.*DepthwiseConv2D",
        ),
    ],
)
def test_a_network_that_begins_otherwise_is_refused(text, model, message):
    with pytest.raises(ValueError, match=message):
        ModelPrior(text, model)
