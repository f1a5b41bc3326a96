import keras
import numpy as np
import pytest
import tensorflow as tf

from layers import Dropout, MCDropout, StochasticDepth, is_stochastic, stream
from tests.helpers.checks import assert_mean_close, check_layer

SHAPE = (4, 5, 6, 7)
RATE = 0.3
COUNT = 3000


def images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def sampler(layer, shape=SHAPE):
    """Returns a compiled function from the first number to 500 samples of masks."""

    @tf.function(autograph=False)
    def sample(start):
        def masks(number):
            with stream(number):
                return layer(tf.ones(shape), training=False) > 0

        return tf.map_fn(masks, start + tf.range(500), fn_output_signature=tf.bool)

    return sample


@pytest.fixture(scope="module", params=[False, True], ids=["elements", "channels"])
def masks(request):
    sample = sampler(MCDropout(RATE, channelwise=request.param))
    drawn = np.concatenate([sample(i) for i in range(0, COUNT, 500)])
    # Spatial positions of a channel are equal, or independent.
    return drawn[:, :, 0, 0] if request.param else drawn


def test_keeps_at_the_rate_in_every_entry(masks):
    assert_mean_close(masks, 1 - RATE)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_calls_examples_and_channels_are_independent(masks, axis):
    centered = masks - (1 - RATE)
    for lag in (1, 2):
        first = np.take(centered, range(lag, masks.shape[axis]), axis)
        second = np.take(centered, range(masks.shape[axis] - lag), axis)
        assert_mean_close((first * second).ravel(), 0.0)


def test_elements_of_neighboring_positions_are_independent():
    sample = sampler(MCDropout(RATE))
    centered = np.concatenate([sample(i) for i in (0, 500)]) - (1 - RATE)
    assert_mean_close((centered[:, :, 1:] * centered[:, :, :-1]).ravel(), 0.0)
    assert_mean_close((centered[:, :, :, 1:] * centered[:, :, :, :-1]).ravel(), 0.0)


def test_two_layers_are_independent():
    first, second = (sampler(MCDropout(RATE, name=name)) for name in ("a", "b"))
    centered = [np.asarray(sample(0)) - (1 - RATE) for sample in (first, second)]
    assert_mean_close((centered[0] * centered[1]).ravel(), 0.0)


@pytest.mark.parametrize("channelwise", [False, True])
def test_outputs_have_the_moments_of_scaled_masks(channelwise):
    layer = MCDropout(RATE, channelwise, seed=0)
    x = images(3, 2, 2, 5)
    sample = tf.function(layer)
    samples = np.stack([sample(x) for _ in range(1500)])
    assert_mean_close(samples, x)
    assert_mean_close((samples - x) ** 2, x**2 * RATE / (1 - RATE))


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.9])
def test_keeps_values_divided_by_the_probability_to_keep(rate):
    x = images(8, 16, 16, 8)
    y = np.asarray(MCDropout(rate)(x))
    kept = y != 0
    np.testing.assert_allclose(y[kept], x[kept] / (1 - rate), rtol=1e-4)
    assert_mean_close(kept.ravel(), 1 - rate)


def test_channelwise_masks_are_constant_over_space():
    y = np.asarray(MCDropout(0.5, channelwise=True)(np.ones((64, 5, 6, 7))))
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1, :1], y.shape))
    assert len(np.unique(y[:, 0, 0], axis=0)) > 32  # Of 2**7 masks.


@pytest.mark.parametrize("shape", [(64, 16), (64, 3, 16), (64, 2, 3, 4, 16)])
def test_channelwise_knows_any_number_of_axes(shape):
    y = np.asarray(MCDropout(0.5, channelwise=True)(np.ones(shape)))
    middle = tuple(range(1, len(shape) - 1))
    np.testing.assert_array_equal(y.max(middle), y.min(middle))


@pytest.mark.parametrize("training", [False, True, None])
def test_is_active_in_training_and_in_inference(training):
    x = np.ones((2, 1000))
    model = keras.Sequential([keras.Input((1000,)), MCDropout(0.5)])
    for call in (MCDropout(0.5), model):
        y = np.asarray(call(x, training=training))
        assert 700 < np.sum(y == 0) < 1300
    assert 700 < np.sum(model.predict(x, verbose=0) == 0) < 1300


def test_ordinary_dropout_is_the_identity_in_inference_alone():
    x = images(2, 1000)
    ordinary, mc = Dropout(0.5, seed=1), MCDropout(0.5, seed=1)
    np.testing.assert_array_equal(ordinary(x), x)
    np.testing.assert_array_equal(ordinary(x, training=False), x)
    np.testing.assert_array_equal(ordinary(x, training=True), mc(x))


@pytest.mark.parametrize("kind, stochastic", [(Dropout, False), (MCDropout, True)])
def test_models_know_whether_they_are_stochastic(kind, stochastic):
    body = keras.Sequential([keras.Input((4,)), kind(0.5)])
    assert is_stochastic(keras.Sequential([body])) is stochastic


def test_rate_zero_is_the_identity():
    x = images(*SHAPE)
    layer = MCDropout(0.0)
    for _ in range(2):
        np.testing.assert_array_equal(layer(x), x)


def test_batch_statistics_hold_still_in_inference():
    norm = keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((6,)), MCDropout(0.5), norm, MCDropout(0.5)])
    before = [np.asarray(v) for v in (norm.moving_mean, norm.moving_variance)]
    x = images(32, 6) + 1
    outputs = [np.asarray(model(x, training=False)) for _ in range(2)]
    assert np.any(outputs[0] != outputs[1])
    np.testing.assert_array_equal(norm.moving_mean, before[0])
    np.testing.assert_array_equal(norm.moving_variance, before[1])
    model(x, training=True)
    assert np.all(norm.moving_mean.numpy() != before[0])


@pytest.mark.parametrize("channelwise", [False, True])
def test_gradient_passes_through_kept_entries_alone(channelwise):
    layer = MCDropout(0.5, channelwise)
    x = tf.constant(images(*SHAPE))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    gradient = tape.gradient(y, x, tf.fill(SHAPE, 3.0))
    np.testing.assert_array_equal(gradient, np.where(y == 0, 0.0, 6.0))


def test_an_infinite_activation_can_be_dropped():
    y = np.asarray(MCDropout(0.5)(np.full((1, 100), np.inf, "float32")))
    assert set(y.ravel().tolist()) == {0.0, np.inf}


CONTRACT = [MCDropout(0.4), MCDropout(0.4, channelwise=True, seed=3), Dropout(0.4)]


@pytest.mark.parametrize("layer", CONTRACT)
@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (3, 7, 10, 2), (2, 5)])
def test_keeps_the_contract(layer, shape):
    twin = type(layer).from_config(layer.get_config())
    check_layer(twin, shape)


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, float("nan"), 1 - 1e-9])
def test_rejects_a_rate_that_is_no_probability_or_drops_all(rate):
    with pytest.raises(ValueError, match=rf"in \[0, 1\).*Received: rate={rate}"):
        MCDropout(rate)


def test_stochastic_depth_drops_examples_as_a_whole_and_in_training_alone():
    layer, x = StochasticDepth(RATE, seed=3), images(COUNT, 3, 2)
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(StochasticDepth(0.0)(x, training=True), x)
    first, second = (np.asarray(layer(x, training=True)) for _ in range(2))
    rate = 19661 / 65536  # The nearest of the 65,536 parts of one.
    kept = np.any(first != 0, axis=(1, 2))
    np.testing.assert_allclose(first[kept], x[kept] / (1 - rate), rtol=1e-6)
    assert_mean_close(kept, 1 - RATE)
    again = np.any(second != 0, axis=(1, 2)) - (1 - RATE)
    centered = kept - (1 - RATE)
    assert_mean_close(centered * again, 0.0)
    assert_mean_close(centered[1:] * centered[:-1], 0.0)
    assert not is_stochastic(keras.Sequential([keras.Input((3, 2)), layer]))
    # Which examples have the branch does not follow from the split of a batch.
    with stream(7):
        whole = layer(x, training=True)
    with stream(7, offset=5):
        np.testing.assert_array_equal(layer(x[5:9], training=True), whole[5:9])


def test_stochastic_depth_keeps_the_contract_of_layers():
    check_layer(StochasticDepth(0.5, seed=1, name="depth"), SHAPE)
