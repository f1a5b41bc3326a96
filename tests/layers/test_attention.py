"""Attention in windows: against its definition, PyTorch's, and a box blur."""

import keras
import numpy as np
import pytest
from keras import ops

from layers import LocalAttention
from tests.helpers import marks
from tests.helpers.checks import check_layer
from tests.oracles.attention import attention

SIZES = marks.few(
    [(8, 8, 4), (7, 9, 4), (3, 6, 4), (5, 5, 1), (2, 3, 7)], [(5, 5, 1), (2, 3, 7)]
)


def maps(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def random_weights(layer, channels):
    layer.build((None, None, None, channels))
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer


@pytest.mark.parametrize("height, width, window", SIZES)
def test_matches_the_definition_at_any_size(height, width, window):
    x = maps(2, height, width, 5)
    layer = random_weights(LocalAttention(6, 2, 3, window), 5)
    expected, found = attention(layer, x), layer(x)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-5)
    # Sides that are not known beforehand.
    model = keras.Model(inputs := keras.Input((None, None, 5)), layer(inputs))
    np.testing.assert_allclose(model(x) / scale, expected / scale, atol=1e-5)
    assert layer(x[:0]).shape == (0, height, width, 6)


def test_equal_queries_and_keys_give_the_box_mean_of_the_values():
    """Attention is then a blur: the mean of a window, in each of its points."""
    channels, window = 4, 2
    layer = random_weights(LocalAttention(channels, 1, channels, window), channels)
    zeros, one = np.zeros((channels, 2 * channels)), np.eye(channels)
    layer.kernel.assign(np.concatenate([zeros, one], axis=1))
    layer.output_kernel.assign(one)
    for weight in (layer.positions, layer.bias):
        weight.assign(np.zeros(weight.shape))
    x = maps(2, 5, 6, channels)
    # Keras' padding is not counted, and nor are points that fill up windows.
    means = keras.ops.average_pool(x, window, window, padding="same")
    expected = np.repeat(np.repeat(means, window, axis=1), window, axis=2)[:, :5]
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-6)
    # So are keys that differ, if the queries are zero.
    layer.kernel.assign(np.concatenate([0 * one, one, one], axis=1))
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-6)


def test_windows_of_one_point_give_the_projections_of_the_values():
    layer, x = random_weights(LocalAttention(6, 2, 3, 1), 5), maps(2, 4, 3, 5)
    kernel, _, output_kernel, bias = map(ops.convert_to_numpy, layer.weights)
    expected = x @ kernel[:, 2 * 6 :] @ output_kernel + bias
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-4)


def test_a_position_that_outweighs_all_others_moves_the_values():
    channels = 3
    layer = random_weights(LocalAttention(channels, 1, channels, 4), channels)
    layer.kernel.assign(np.tile(np.eye(channels), 3) * [[0] * 6 + [1] * 3])
    layer.output_kernel.assign(np.eye(channels))
    layer.bias.assign(np.zeros(channels))
    positions = np.zeros((7, 7))
    positions[3 + 1, 3 - 2] = 50  # One row down and two columns to the left.
    layer.positions.assign(positions)
    x = maps(1, 4, 8, channels)
    y = ops.convert_to_numpy(layer(x))
    for first in (0, 4):
        for row, column in [(0, 2), (2, 3)]:
            moved = x[0, row + 1, first + column - 2]
            np.testing.assert_allclose(y[0, row, first + column], moved, rtol=1e-5)


def test_is_that_of_pytorch_in_a_block():
    torch = pytest.importorskip("torch")
    from torch.nn import functional

    batch, side, window, heads, dim, filters = 2, 8, 4, 3, 16, 24
    layer = random_weights(LocalAttention(filters, heads, dim, window), filters)
    weights = [torch.tensor(ops.convert_to_numpy(w)) for w in layer.weights]
    kernel, positions, output_kernel, bias = weights
    x, count = maps(batch, side, side, filters), side // window
    # Batch normalization, GELU and a shortcut, as in a block.
    norm = keras.layers.BatchNormalization()
    inputs = keras.Input((side, side, filters))
    branch = layer(keras.layers.Activation("gelu")(norm(inputs)))
    block = keras.Model(inputs, keras.layers.Add()([inputs, branch]))
    norm.moving_mean.assign(maps(filters))
    mean = torch.tensor(maps(filters))

    features = functional.gelu((torch.tensor(x) - mean) / (1 + 1e-3) ** 0.5)
    y = features.reshape(batch, count, window, count, window, filters)
    y = y.permute(0, 1, 3, 2, 4, 5).reshape(-1, window**2, filters)
    y = (y @ kernel).reshape(-1, window**2, 3, heads, dim).permute(2, 0, 3, 1, 4)
    places = torch.cartesian_prod(torch.arange(window), torch.arange(window))
    shift = places[None] - places[:, None] + window - 1
    mask = positions[shift[..., 0], shift[..., 1]]
    y = functional.scaled_dot_product_attention(*y, attn_mask=mask)
    y = y.transpose(1, 2).reshape(-1, window**2, heads * dim) @ output_kernel + bias
    y = y.reshape(batch, count, count, window, window, filters)
    y = y.permute(0, 1, 3, 2, 4, 5).reshape(batch, side, side, filters)
    expected = (torch.tensor(x) + y).numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(block(x) / scale, expected / scale, atol=1e-5)


@pytest.mark.parametrize("window", marks.few([3, 4], [4]))
def test_keeps_the_contract_of_layers(window):
    layer = LocalAttention(6, 2, 3, window, name="attention")
    check_layer(layer, (2, 8, 7, 4))
    shapes = {w.name: tuple(w.shape) for w in layer.weights}
    assert shapes == {
        "kernel": (4, 18),
        "positions": (2 * window - 1,) * 2,
        "output_kernel": (6, 6),
        "bias": (6,),
    }
