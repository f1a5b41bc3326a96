"""The ways to draw outputs under a Gaussian kernel, and streams of several passes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
from layers import Conv2DFlipout, DenseFlipout, MCDropout, compilation, random, stream
from layers.estimators import ESTIMATORS
from tests.helpers import marks
from tests.helpers.checks import assert_mean_close
from tests.helpers.gaussian_layers import CASES, normal, random_scales, twin

X = normal(3, 4)


def build(kind, arguments, shape, **kwargs):
    layer = kind(**arguments, bias_initializer="ones", name="layer", **kwargs)
    layer.build(shape)
    return layer, random_scales(layer)


def slopes(layer, scale, x):
    """Returns the derivative of each output by the noise of each weight."""
    basis = np.eye(scale.size, dtype="float32").reshape(-1, *scale.shape)
    found = np.stack([twin(layer, scale * unit, x) for unit in basis], -1)
    return found.reshape(len(x), -1, scale.size)


@pytest.fixture(
    scope="module",
    params=marks.few(["conv", "dense", "groups", "depthwise"], ["groups", "depthwise"]),
)
def sampled(request):
    """Samples of the noise by estimator, and the slopes that they should have."""
    kind, arguments, shape = CASES[request.param]
    x, noise = normal(*shape), {}
    for estimator in ("weight_sampling", "local_reparameterization"):
        layer, scale = build(kind, arguments, shape, estimator=estimator)

        def outputs(key, layer=layer):
            with stream(key):
                return layer(x, training=False)

        draw = tf.function(
            lambda outputs=outputs: tf.map_fn(
                outputs, tf.range(4000), fn_output_signature="float32"
            ),
            autograph=False,
        )
        mean = twin(layer, layer.kernel, x) + 1
        noise[estimator] = np.asarray(draw() - mean).reshape(4000, len(x), -1)
    return slopes(layer, scale, x), noise


def test_one_kernel_for_the_batch_has_its_covariance_within_and_among_examples(sampled):
    slope, noise = sampled
    noise = noise["weight_sampling"]
    assert_mean_close(noise, 0.0)
    for i, j in ((0, 0), (1, 1), (0, 1)):
        products = noise[:, i, :, None] * noise[:, j, None, :]
        assert_mean_close(products, slope[i] @ slope[j].T)


def test_outputs_have_the_variance_of_the_kernel_and_are_independent(sampled):
    slope, noise = sampled
    noise = noise["local_reparameterization"]
    assert_mean_close(noise, 0.0)
    variance = np.sum(slope**2, axis=-1)
    for example in range(2):
        products = noise[:, example, :, None] * noise[:, example, None, :]
        assert_mean_close(products, np.diag(variance[example]))
    assert_mean_close(noise[:, 0] * noise[:, 1], 0.0)


def test_passes_of_both_are_independent(sampled):
    for noise in sampled[1].values():
        assert_mean_close(noise[1:] * noise[:-1], 0.0)


def test_outputs_of_a_dense_layer_have_exactly_the_mean_and_variance():
    # By hand: x = (1, 2), sigma = (.1, .2), so the variance is .01 + .16.
    layer = DenseFlipout(1, False, estimator="local_reparameterization", name="layer")
    layer.build((None, 2))
    layer.kernel.assign([[3.0], [-1.0]])
    layer.kernel_rho.assign(np.log(np.expm1([[0.1], [0.2]])))
    with stream(5):
        y = np.asarray(layer(np.array([[1.0, 2.0]], "float32")))
    with stream(5):
        key = random.fold(layer.next_key(), 1)
    noise = np.asarray(random.normal(random.fold(key, np.arange(1)), (1, 1)))
    np.testing.assert_allclose(y, 1.0 + np.sqrt(0.17) * noise, rtol=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_training_is_flipout_whatever_the_prediction(estimator):
    layer, _ = build(*CASES["dense"], estimator=estimator)
    flipout, _ = build(*CASES["dense"])
    flipout.set_weights(layer.get_weights())
    x = normal(4, 6)
    with stream(1):
        expected = np.asarray(flipout(x))
    with stream(1):
        np.testing.assert_array_equal(layer(x, training=True), expected)
    with stream(1):
        same = np.allclose(layer(x, training=False), expected)
    assert same == (estimator == "flipout")


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_stream_says_how_to_predict_in_place_of_the_layer(estimator):
    layer, _ = build(*CASES["conv"])
    other, _ = build(*CASES["conv"], estimator=estimator)
    other.set_weights(layer.get_weights())
    x = normal(3, 4, 5, 2)
    with stream(1):
        expected = np.asarray(other(x))
    with stream(1, estimator=estimator):
        np.testing.assert_array_equal(layer(x), expected)


def test_what_is_prepared_is_used():
    layer, _ = build(*CASES["dense"])
    loc, scale = layer.prepare()
    np.testing.assert_allclose(scale, np.log1p(np.exp(layer.kernel_rho)), rtol=1e-5)
    x = normal(4, 6)
    with stream(1):
        expected = np.asarray(layer(x)) - layer.bias
    with stream(1, prepared={layer: (2 * loc, 2 * scale)}):
        twice = np.asarray(layer(x)) - layer.bias
    np.testing.assert_allclose(twice, 2 * expected, rtol=1e-5, atol=1e-5)


ROWS = {
    "dropout": MCDropout(0.5, name="layer"),
    "channelwise": MCDropout(0.5, channelwise=True, name="layer"),
    "dense": DenseFlipout(
        3, initial_scale=1.0, estimator="local_reparameterization", name="layer"
    ),
}


@pytest.mark.parametrize("layer", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("offset", [0, 5])
def test_several_streams_in_one_batch_draw_what_each_would(layer, offset):
    keys, expected = random.fold(3, np.arange(4)), []
    assert layer.by_row
    for key in np.asarray(keys):
        with stream(int(key), offset):
            expected.append(np.asarray([layer(X), layer(X)]))
    with stream(keys, offset):
        tiled = np.tile(X, (4, 1))
        actual = np.asarray([layer(tiled), layer(tiled)])
    expected = np.concatenate(expected, axis=1)
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)
    assert np.all((actual == 0) == (expected == 0))


def test_layers_that_share_a_draw_in_a_batch_say_so():
    assert not DenseFlipout(3).by_row
    assert not DenseFlipout(3, estimator="weight_sampling").by_row
    layer = Conv2DFlipout(3, 3, estimator="weight_sampling")
    with stream(0, estimator="local_reparameterization"):
        assert layer.by_row


def test_draws_compiled_by_themselves_have_the_same_bits():
    keys = random.fold(7, np.arange(3))

    def draws():
        shape = (3, 64, 70)
        normals = random.normal(keys, shape)
        return random.bernoulli(keys, shape, 0.3), random.signs(keys, shape), normals

    def fused():
        with compilation.fused():
            return draws()

    def count(function):
        graph = tf.function(function).get_concrete_function().graph.as_graph_def()
        return sum(node.op == "RightShift" for node in graph.node)

    assert count(draws) > count(fused) == 0
    for one, other in zip(draws(), tf.function(fused)(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_mean_of_a_batch_varies_least_where_examples_have_noise_of_their_own():
    """Of equal examples: signs and local draws average out, one kernel does not."""
    x = np.repeat(normal(1, 6), 8, axis=0)
    variances = {}
    for kind in (
        layers.DenseReparameterization,
        layers.DenseFlipout,
        layers.DenseLocalReparameterization,
    ):
        layer, scale = build(kind, {"units": 2}, x.shape)
        variance = x[0] ** 2 @ scale**2
        layer.kernel.assign(np.zeros((6, 2)))

        def mean(key, layer=layer):
            with stream(key):
                return tf.reduce_mean(layer(x, training=True), axis=0) - 1.0

        means = tf.function(
            lambda mean=mean: tf.map_fn(
                mean, tf.range(4000), fn_output_signature="float32"
            ),
            autograph=False,
        )()
        share = 1 if kind is layers.DenseReparameterization else len(x)
        squares = np.square(means)
        assert_mean_close(squares, variance / share)
        variances[kind] = squares.mean()
    one, *others = variances.values()
    assert max(others) < one / 6


def test_an_unknown_way_is_refused():
    with pytest.raises(
        ValueError, match="`estimator` must be one of flipout, weight_sampling, .*=flip"
    ):
        DenseFlipout(3, estimator="flip")


def test_the_way_is_in_the_config():
    layer = Conv2DFlipout(3, 3, estimator="local_reparameterization")
    config = keras.saving.serialize_keras_object(layer)
    assert (
        keras.saving.deserialize_keras_object(config).estimator
        == "local_reparameterization"
    )


POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


@pytest.mark.parametrize("dtype", POLICIES)
@pytest.mark.parametrize("kind", ["DenseLocalReparameterization", "Conv2DFlipout"])
def test_gradients_are_finite_where_all_inputs_are_zero(kind, dtype):
    """As behind rectifiers that are all off."""
    layer = layers.DenseLocalReparameterization(3, seed=0, dtype=POLICIES[dtype])
    if kind == "Conv2DFlipout":
        settings = {"estimator": "local_reparameterization", "seed": 0}
        layer = Conv2DFlipout(3, 3, **settings, dtype=POLICIES[dtype])
    x = normal(2, 5, 5, 4)
    x[0] = 0
    training = kind.startswith("Dense")
    x = tf.constant(x[:, 0, 0] if training else x, dtype)
    layer.build(x.shape)
    weights = [layer.kernel.value, layer.kernel_rho.value]
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = tf.cast(layer(x, training=training), "float32")
        loss = tf.reduce_sum(outputs)
    np.testing.assert_array_equal(outputs[0], tf.zeros_like(outputs[0]))
    for gradient in tape.gradient(loss, [x, *weights]):
        assert np.isfinite(np.asarray(gradient, "float32")).all()
        assert np.any(np.asarray(gradient, "float32"))
