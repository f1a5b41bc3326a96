"""Fake quantization against NumPy, and its gradients by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
from layers import quantization
from layers.quantization import FakeQuantization, fake_quantized
from tests.helpers.networks import as_numpy
from tests.oracles.integers import rounded

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("low, high", [(-1.3, 2.9), (0.0, 3.0), (-0.7, 0.0)])
def test_numbers_are_the_nearest_of_their_integers(bits, low, high):
    x = RNG.uniform(low - 1, high + 1, 401).astype("float32")
    y = as_numpy(fake_quantized(x, low, high, bits))
    expected, step, (first, last) = rounded(x, low, high, bits)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    inside = (x >= first) & (x <= last)
    assert np.abs(y - x)[inside].max() <= step / 2 + 1e-5
    assert len(np.unique(np.rint(y / step))) <= 2**bits
    # Zero is zero, and what is rounded stays.
    assert float(fake_quantized(np.zeros(1, "float32"), low, high, bits)[0]) == 0
    np.testing.assert_allclose(fake_quantized(y, low, high, bits), y, atol=1e-6)


def test_gradients_are_one_inside_of_the_range_and_zero_outside():
    x = tf.constant([-1.6, -0.9, 0.01, 0.5, 1.9, 2.1])
    with tf.GradientTape() as tape:
        tape.watch(x)
        # Steps of 3 / 255, and -85 of them are -1 exactly.
        y = tf.reduce_sum(fake_quantized(x, -1.0, 2.0) * [1.0, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(tape.gradient(y, x), [0, 2, 3, 4, 5, 0])


def test_ranges_follow_the_batches_until_they_are_frozen():
    layer = FakeQuantization(momentum=0.75)
    x = RNG.normal(size=(4, 3, 3, 2)).astype("float32")
    np.testing.assert_array_equal(layer(x), x)  # It has seen nothing.
    low, high = 0.0, 0.0
    for number in range(4):
        batch = x * (number + 1)
        y = layer(batch, training=True)
        share = 0.75 if number else 0.0
        low = share * low + (1 - share) * min(batch.min(), 0)
        high = share * high + (1 - share) * max(batch.max(), 0)
        found = float(layer.low), float(layer.high)
        np.testing.assert_allclose(found, (low, high), rtol=1e-5)
        np.testing.assert_allclose(y, rounded(batch, low, high)[0], atol=1e-4)
    layer.frozen = True
    layer(100 * x, training=True)
    np.testing.assert_allclose((float(layer.low), float(layer.high)), found)
    np.testing.assert_allclose(layer(x), rounded(x, low, high)[0], atol=1e-4)
    # Positive features have a range from zero.
    layer = FakeQuantization()
    layer(np.abs(x) + 1, training=True)
    assert float(layer.low) == 0


def test_replicas_have_the_range_of_all_images(replicas):
    ranges = replicas["ranges"]
    # By the lowest and the highest of each batch; half of the second one's.
    expected = np.array([[-3, 8], [-4, 6]])[..., None]
    np.testing.assert_array_equal(ranges, np.broadcast_to(expected, (2, 2, 2)))


def test_a_range_that_is_settled_is_a_constant():
    layer = FakeQuantization()
    x = RNG.normal(size=(5, 4)).astype("float32")
    layer.settle()
    np.testing.assert_array_equal(layer(x), x)
    layer(x, training=True)
    layer.settle()
    expected = as_numpy(layer(x))
    layer.low.assign(-100.0)
    np.testing.assert_array_equal(layer(x), expected)


def channels_of(kernel, bits):
    """The kernel as integers hold it, channel by channel."""
    parts = []
    for channel in np.moveaxis(kernel, -1, 0):
        step = max(np.abs(channel).max() / (2 ** (bits - 1) - 1), 1e-12)
        parts.append(np.rint(channel / step) * step)
    return np.stack(parts, axis=-1)


@pytest.mark.parametrize("bits", [4, 8])
def test_each_channel_of_a_kernel_has_a_scale(bits):
    x = RNG.normal(size=(2, 5, 5, 3)).astype("float32")
    kinds = (quantization.QuantizedConv2D(4, 3, weight_bits=bits), x)
    dense = (quantization.QuantizedDense(4, weight_bits=bits), x[:, 0, 0])
    for layer, inputs in (kinds, dense):
        layer(inputs)
        kernel = RNG.normal(size=layer.kernel.shape) * [1, 0.01, 3, 0]
        bias = RNG.normal(size=4)
        layer.kernel.assign(kernel)
        layer.bias.assign(bias)
        expected = channels_of(kernel.astype("float32"), bits)
        found = as_numpy(layer.quantized_kernel())
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        assert len(np.unique(found[..., 2])) <= 2**bits - 1
        plain = type(layer).__mro__[2]
        config = layer.get_config()
        assert config.pop("weight_bits") == bits
        other = plain.from_config(config)
        other(inputs)
        other.set_weights([expected, bias])
        np.testing.assert_allclose(layer(inputs), other(inputs), atol=1e-4)
        restored = type(layer).from_config(layer.get_config())
        assert restored.get_config() == layer.get_config()


def test_the_largest_weights_learn_too():
    layer = quantization.QuantizedDense(5, use_bias=False, weight_bits=4)
    x = np.ones((1, 7), "float32")
    layer(x)
    layer.kernel.assign(RNG.normal(size=(7, 5)))
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(layer(x))
    np.testing.assert_array_equal(tape.gradient(y, layer.kernel.value), np.ones((7, 5)))


def test_dropout_has_the_masks_of_real_numbers():
    x = RNG.normal(size=(3, 4, 4, 2)).astype("float32")
    plain = layers.MCDropout(0.3, name="drop")
    layer = layers.QuantizedMCDropout(0.3, name="drop")
    layer(x, training=True)
    with layers.stream(1):
        expected = as_numpy(plain(x))
    with layers.stream(1):
        found = as_numpy(layer(x))
    low, high = float(layer.range.low), float(layer.range.high)
    np.testing.assert_array_equal(found == 0, rounded(expected, low, high)[0] == 0)
    np.testing.assert_allclose(found, rounded(expected, low, high)[0], atol=1e-5)


def test_dropout_of_nothing_is_rounded_too():
    x = RNG.normal(size=(3, 4)).astype("float32")
    layer = layers.QuantizedMCDropout(0.0)
    found = as_numpy(layer(x, training=True))
    assert float(layer.range.high) == x.max()
    np.testing.assert_allclose(found, rounded(x, x.min(), x.max())[0], atol=1e-5)


def test_smoothing_is_rounded_in_each_step():
    x = 8 * RNG.normal(size=(2, 6, 6, 3)).astype("float32")
    layer = layers.QuantizedSmoothing(temperature=4.0)
    layer(x, training=True)
    low, high = float(layer.range.low), float(layer.range.high)
    inner = rounded(x / 4, low, high)[0]
    inner = rounded(np.tanh(inner), -1, 127 / 128)[0]
    inner = rounded(np.maximum(4 * inner, 0), 0, 4)[0]
    expected = layers.blur(inner.astype("float32"), (1, 1))
    np.testing.assert_allclose(layer(x), expected, atol=1e-4)
    plain = layers.SpatialSmoothing(temperature=4.0)
    assert np.abs(as_numpy(layer(x)) - as_numpy(plain(x))).max() < 0.1
    for probs in ("relu6", "none", "sigmoid"):
        layer = layers.QuantizedSmoothing(probs=probs)
        y = layer(x, training=True)
        other = layers.SpatialSmoothing(probs=probs)(x)
        assert np.abs(as_numpy(y) - as_numpy(other)).max() < 0.2


def test_settings_out_of_their_range_are_errors():
    for bits in (1, 9, 2.5, True):
        with pytest.raises(ValueError, match="2 to 8. Received: num_bits="):
            FakeQuantization(num_bits=bits)
    with pytest.raises(ValueError, match="weight_bits=16"):
        layers.QuantizedDense(3, weight_bits=16)
    for momentum in (1.0, -0.1, "a"):
        with pytest.raises(ValueError, match="`momentum` is the weight"):
            FakeQuantization(momentum=momentum)


def test_layers_are_saved(tmp_path):
    images = x = keras.Input((6, 6, 2))
    x = layers.QuantizedConv2D(3, 3, weight_bits=4)(x)
    x = layers.QuantizedSmoothing()(FakeQuantization(name="range")(x))
    x = layers.QuantizedMCDropout(0.2, seed=3)(x)
    x = layers.QuantizedDense(2)(keras.layers.Flatten()(x))
    model = keras.Model(images, x)
    batch = RNG.normal(size=(4, 6, 6, 2)).astype("float32")
    model(batch, training=True)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    with layers.stream(2):
        expected = as_numpy(model(batch))
    with layers.stream(2):
        np.testing.assert_allclose(again(batch), expected, atol=1e-5)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_kernel_that_is_settled_keeps_its_integers(bits):
    layer = quantization.QuantizedDense(5, weight_bits=bits)
    x = RNG.normal(size=(3, 7)).astype("float32")
    layer(x)
    layer.kernel.assign(RNG.normal(size=(7, 5)))
    expected, step = as_numpy(layer.quantized_kernel()), as_numpy(layer.bounds())
    step = step / (2 ** (bits - 1) - 1)
    maps = RNG.normal(size=(3, 2, 4, 7)).astype("float32")
    batches = x, maps, maps[:, 0]
    outputs = [as_numpy(layer(batch)) for batch in batches]
    layer.settle()
    found = as_numpy(layer.quantized_kernel())
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found / step, np.rint(found / step), atol=1e-4)
    for batch, output in zip(batches, outputs, strict=True):
        np.testing.assert_allclose(layer(batch), output, atol=1e-5)
