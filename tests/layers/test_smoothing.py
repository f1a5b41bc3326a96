import keras
import numpy as np
import pytest
import tensorflow as tf

from layers import SpatialSmoothing, blur, compilation
from layers.smoothing import PROBS
from tests.helpers import marks
from tests.helpers.checks import check_layer

# Written once more, with NumPy alone.
VARIANTS = {
    "tanh": lambda x, t: np.maximum(t * np.tanh(x / t), 0),
    "sigmoid": lambda x, t: np.maximum(4 * t * (1 / (1 + np.exp(-x / t)) - 0.5), 0),
    "softmax": lambda x, t: t * np.exp(x) / np.exp(x).sum(-1, keepdims=True),
    "relu6": lambda x, t: np.minimum(np.maximum(x, 0), 6),
    "scale": lambda x, t: np.maximum(x / t, 0),
    "none": lambda x, t: x,
}


def images(*shape, scale=4):
    return np.random.default_rng(0).normal(size=shape, scale=scale).astype("float32")


def mean_oracle(x, taps, padding):
    """The weighted mean over neighbors, written as loops over the definition."""
    size = len(taps)
    weights = np.outer(taps, taps) / np.sum(taps) ** 2
    before = (size - 1) // 2 if padding == "same" else size - 1
    after = size // 2 if padding == "same" else size - 1
    padded = np.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
    height, width = (n - size + 1 for n in padded.shape[1:3])
    return sum(
        weights[i, j] * padded[:, i : i + height, j : j + width]
        for i in range(size)
        for j in range(size)
    )


def test_every_variant_has_its_oracle():
    assert set(VARIANTS) == set(PROBS)


@pytest.mark.parametrize("probs", VARIANTS)
@pytest.mark.parametrize("padding", ["same", "full"])
@pytest.mark.parametrize("temperature", [0.5, 10.0])
@pytest.mark.parametrize("taps", [(1,), (1, 1), (1, 2, 1), (1, 4, 6, 4, 1), (1, 2, 4)])
def test_matches_the_definition(probs, padding, temperature, taps):
    x = images(2, 5, 7, 3)
    y = SpatialSmoothing(temperature, taps, padding, probs)(x)
    expected = mean_oracle(
        VARIANTS[probs](x.astype("float64"), temperature), taps, padding
    )
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def average_pool_oracle(x):
    """`torch.nn.AvgPool2d(2, stride=1, padding=1)`: padded zeros count."""
    batch, height, width, channels = x.shape
    y = np.zeros((batch, height + 1, width + 1, channels))
    for row in range(height + 1):
        for column in range(width + 1):
            for i in (row - 1, row):
                for j in (column - 1, column):
                    if 0 <= i < height and 0 <= j < width:
                        y[:, row, column] += x[:, i, j] / 4
    return y


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 8)])
def test_full_padding_is_the_published_average_pooling(size):
    x = images(2, *size, 3)
    y = SpatialSmoothing(padding="full", probs="none")(x)
    np.testing.assert_allclose(y, average_pool_oracle(x), rtol=1e-5, atol=1e-6)
    same = SpatialSmoothing(padding="same", probs="none")(x)
    np.testing.assert_allclose(same, y[:, 1:, 1:], rtol=1e-5, atol=1e-6)


def test_spreads_ones_as_computed_by_hand():
    y = SpatialSmoothing(1e4, padding="full")(np.ones((1, 2, 2, 1), "float32"))
    expected = [[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]]
    np.testing.assert_allclose(y[0, :, :, 0], expected, rtol=1e-6)


def test_bounds_features_as_computed_by_hand():
    y = SpatialSmoothing(10.0, taps=(1,))(np.float32([[[[10, -10, 1e6, 0]]]]))
    np.testing.assert_allclose(y[0, 0, 0], [7.6159, 0, 10, 0], rtol=1e-5)


@pytest.mark.parametrize("padding", ["same", "full"])
@pytest.mark.parametrize("temperature", [0.5, 10.0])
def test_stays_between_zero_and_the_temperature(padding, temperature):
    y = SpatialSmoothing(temperature, padding=padding)(images(2, 6, 6, 3, scale=50))
    assert np.min(y) >= 0
    assert np.max(y) <= temperature


def test_is_relu_and_blur_at_a_high_temperature():
    x = images(2, 6, 7, 3)
    expected = blur(np.maximum(x, 0))
    np.testing.assert_allclose(SpatialSmoothing(1e4)(x), expected, rtol=1e-5, atol=1e-5)


def test_gives_zero_where_all_features_are_negative():
    x = images(2, 6, 7, 3)
    negative = SpatialSmoothing()(-np.abs(x))
    np.testing.assert_array_equal(negative, np.zeros_like(x))


def test_one_tap_does_not_blur():
    x = images(2, 6, 7, 3)
    y = SpatialSmoothing(5.0, taps=(1,))(x)
    np.testing.assert_allclose(y, VARIANTS["tanh"](x, 5.0), rtol=1e-5, atol=1e-6)


def test_keeps_a_constant_map_away_from_the_border():
    y = SpatialSmoothing(temperature=1e4)(np.full((1, 8, 8, 1), 3, "float32"))
    np.testing.assert_allclose(y[0, 1:-1, 1:-1, 0], 3, rtol=1e-5)


def test_full_padding_keeps_the_sum():
    x = np.abs(images(2, 6, 7, 3))
    for taps in ((1, 1), (1, 4, 6, 4, 1), (1, 2, 4)):
        y = SpatialSmoothing(1e5, taps, "full")(x)
        np.testing.assert_allclose(np.sum(y, (1, 2)), x.sum((1, 2)), rtol=1e-4)


def test_a_full_window_is_global_average_pooling():
    x = images(2, 6, 6, 3)
    y = blur(x, (1,) * 6, "valid")
    np.testing.assert_allclose(y, x.mean((1, 2), keepdims=True), rtol=1e-4, atol=1e-6)


def test_lowers_the_variance_of_features():
    x = images(4, 32, 32, 8)
    y = np.asarray(blur(x, (1, 1), "valid"))
    assert np.all(y.var((1, 2)) < x.var((1, 2)))
    assert abs(y.var() / x.var() - 1 / 4) < 0.01  # Four independent values.


@pytest.mark.parametrize("frequency", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_has_the_gain_of_a_box(frequency):
    phase = frequency * np.pi * np.arange(64)
    x = np.stack([np.cos(phase), np.sin(phase)], -1).astype("float32")
    x = np.broadcast_to(x, (1, 64, 64, 2))
    y = np.asarray(SpatialSmoothing(probs="none")(x))[:, :-1, :-1]
    gain = np.hypot(y[..., 0], y[..., 1])
    if frequency < 1:  # The sine of the highest frequency is zero.
        np.testing.assert_allclose(gain, np.cos(frequency * np.pi / 2), atol=1e-5)
    else:
        np.testing.assert_allclose(gain, 0, atol=1e-5)


def test_adds_no_weights():
    layer = SpatialSmoothing()
    layer(images(1, 8, 8, 3))
    assert layer.weights == []


def test_batch_norm_comes_first_and_follows_training():
    layer = SpatialSmoothing(batch_norm=True)
    x = images(8, 6, 6, 3) + 2
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    in_training = mean_oracle(
        VARIANTS["tanh"]((x - mean) / np.sqrt(variance + 1e-5), 10.0), (1, 1), "same"
    )
    y = layer(x, training=True)
    np.testing.assert_allclose(y, in_training, rtol=1e-3, atol=1e-4)
    moved = layer.norm.moving_mean.numpy()
    np.testing.assert_allclose(moved, 0.1 * mean, rtol=1e-4)
    layer(x, training=False)
    np.testing.assert_array_equal(layer.norm.moving_mean, moved)
    assert len(layer.trainable_weights) == len(layer.non_trainable_weights) == 2


def test_gradient_passes_through_positive_features_only():
    x = tf.constant(images(1, 6, 6, 3))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(SpatialSmoothing(10.0, padding="full")(x))
    slope = np.where(x > 0, 1 - np.tanh(x / 10) ** 2, 0)
    np.testing.assert_allclose(tape.gradient(y, x), slope, rtol=1e-4, atol=1e-5)


CONTRACT = {
    "default": SpatialSmoothing(),
    "full": SpatialSmoothing(2.0, (1, 4, 6, 4, 1), "full"),
    "batch_norm": SpatialSmoothing(taps=(1, 5, 2), probs="softmax", batch_norm=True),
}


@pytest.mark.parametrize("layer", CONTRACT.values(), ids=CONTRACT)
@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (2, 7, 10, 3)])
def test_keeps_the_contract(layer, shape):
    check_layer(layer, shape)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"temperature": 0}, "must be positive.*temperature=0"),
        ({"temperature": float("nan")}, "must be positive.*temperature=nan"),
        ({"taps": ()}, "positive sum.*taps="),
        ({"padding": "valid"}, "must be one of same, full.*padding=valid"),
        ({"probs": "relu"}, "must be one of tanh, .*probs=relu"),
        ({"data_format": "channels_first"}, "channels last.*data_format=channels_fi"),
    ],
)
def test_rejects(arguments, message):
    with pytest.raises(ValueError, match=message):
        SpatialSmoothing(**arguments)


def test_rejects_channels_first_as_the_setting_of_keras():
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="channels last.*=channels_first"):
            SpatialSmoothing()
    finally:
        keras.config.set_image_data_format("channels_last")


def smoothed_and_gradient(layer, x, weights):
    """The outputs and the gradient of their weighted sum, inside of a graph."""

    @tf.function(autograph=False)
    def compute(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(y * weights)
        return y, tape.gradient(loss, x)

    return compute(x), compute


PLACES = [
    *((probs, "same", (1, 1)) for probs in VARIANTS),
    *(("tanh", "full", taps) for taps in [(1,), (1, 1), (1, 2, 1), (1, 0, 0, 3)]),
    *(("tanh", "same", taps) for taps in [(1, 2, 1), (1, 2, 4)]),
]


# As fast and as exact as the first of them, and the taps that are between others.
@pytest.mark.parametrize(
    "probs, padding, taps",
    marks.few(PLACES, [*PLACES[1:5], *PLACES[6:8], PLACES[10]]),
)
def test_compiled_it_is_the_same_up_to_rounding(probs, padding, taps):
    layer = SpatialSmoothing(2.0, taps, padding, probs)
    x = images(2, 16, 17, 16)
    weights = images(*layer(x).shape, scale=1)
    (expected, expected_gradient), _ = smoothed_and_gradient(layer, x, weights)
    with compilation.fused():
        (y, gradient), graph = smoothed_and_gradient(layer, x, weights)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=1e-5)
    graph = graph.get_concrete_function(tf.TensorSpec(x.shape)).graph.as_graph_def()
    compiled = [f for f in graph.library.function if f.attr["_XlaMustCompile"].b]
    assert compiled


def test_compiled_its_gradient_has_a_gradient():
    x = tf.constant(images(2, 16, 17, 16))
    direction = tf.constant(images(2, 16, 17, 16, scale=1))

    def curvature():
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                value = tf.reduce_sum(SpatialSmoothing(2.0)(x) ** 3)
            slope = tf.reduce_sum(direction * inner.gradient(value, x))
        return outer.gradient(slope, x)

    expected = curvature()
    with compilation.fused():
        found = curvature()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(None, None, None, 64), (None, 4, 4, 8)])
def test_unknown_and_small_maps_are_not_compiled(shape):
    layer = SpatialSmoothing()
    compute = tf.function(layer, autograph=False)
    with compilation.fused():
        graph = compute.get_concrete_function(tf.TensorSpec(shape)).graph
    functions = graph.as_graph_def().library.function
    assert not [f for f in functions if f.attr["_XlaMustCompile"].b]


def test_compiled_the_last_batch_may_be_smaller():
    layer, x = SpatialSmoothing(), images(5, 16, 16, 16)
    compute = tf.function(
        layer, input_signature=[tf.TensorSpec((None, *x.shape[1:]))], autograph=False
    )
    with compilation.fused():
        batches = [compute(x[:3]), compute(x[3:])]
    np.testing.assert_allclose(tf.concat(batches, 0), layer(x), rtol=1e-5, atol=1e-5)
