import keras
import numpy as np
import pytest
import tensorflow as tf

from layers import BlurPool2D, blur
from layers.blur import convolved
from tests.helpers.checks import check_layer

BINOMIAL = {
    1: (1,),
    2: (1, 1),
    3: (1, 2, 1),
    4: (1, 3, 3, 1),
    5: (1, 4, 6, 4, 1),
    6: (1, 5, 10, 10, 5, 1),
    7: (1, 6, 15, 20, 15, 6, 1),
}
TAPS = [*BINOMIAL.values(), (2, 4, 2), (1, 1, 1), (1, 0, 2), (0.5, -0.25, 1, 3)]
# Numbers of padded rows before and after, for m taps; and NumPy's name of the mode.
PADDINGS = {
    "same": (lambda m: ((m - 1) // 2, m // 2), "constant"),
    "full": (lambda m: (m - 1, m - 1), "constant"),
    "reflect": (lambda m: ((m - 1) // 2, m // 2), "reflect"),
    "valid": (lambda m: (0, 0), "constant"),
}


def images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def blur_oracle(x, taps, padding="same", strides=1):
    """A blur written as loops over the definition."""
    amounts, mode = PADDINGS[padding]
    amounts = amounts(len(taps))
    x = np.pad(x.astype("float64"), ((0, 0), amounts, amounts, (0, 0)), mode)
    size = len(taps)
    rows = range(0, x.shape[1] - size + 1, strides)
    columns = range(0, x.shape[2] - size + 1, strides)
    y = np.zeros((len(x), len(rows), len(columns), x.shape[3]))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            for a, first in enumerate(taps):
                for b, second in enumerate(taps):
                    y[:, i, j] += first * second * x[:, row + a, column + b]
    return y / np.sum(taps) ** 2


@pytest.mark.parametrize("taps", TAPS, ids=str)
@pytest.mark.parametrize("padding", PADDINGS)
def test_blur_matches_the_definition(taps, padding):
    x = images(2, 8, 11, 3)
    for strides in (1, 2, 3):
        y = blur(x, taps, padding, strides)
        expected = blur_oracle(x, taps, padding, strides)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_convolutions_of_exports_are_the_same_blur():
    x = images(2, 8, 11, 3)
    for taps in ((1, 1), (1, 2, 1), (1, 0, 2)):
        for padding in PADDINGS:
            for strides in (1, 2):
                with convolved():
                    y = blur(x, taps, padding, strides)
                expected = blur_oracle(x, taps, padding, strides)
                np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("taps", [(1, 3, 3, 1), BINOMIAL[7]], ids=str)
def test_reflection_works_on_maps_smaller_than_the_filter(size, taps):
    x = images(2, size, 5, 3)
    expected = blur_oracle(x, taps, "reflect", 2)
    layer = BlurPool2D(taps)
    size_unknown = tf.function(layer, [tf.TensorSpec((None, None, None, 3))])
    for y in (layer(x), size_unknown(x)):
        assert y.shape == expected.shape
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("taps", TAPS, ids=str)
@pytest.mark.parametrize("strides", [1, 2, 3])
def test_keeps_a_constant_map_and_has_the_size_of_a_stride(taps, strides):
    for height, width in ((8, 8), (7, 9), (4, 13)):
        x = np.full((1, height, width, 2), 3, "float32")
        y = BlurPool2D(taps, strides)(x)
        assert y.shape == x[:, ::strides, ::strides].shape
        np.testing.assert_allclose(y, 3, rtol=1e-5)


@pytest.mark.parametrize("num_taps", [2, 3, 4, 5, 6, 7])
def test_removes_the_highest_frequency(num_taps):
    wave = np.cos(np.pi * np.arange(32)).astype("float32")
    for grid in (wave[:, None], wave[None, :], wave[:, None] * wave[None, :]):
        x = np.broadcast_to(grid, (32, 32))[None, :, :, None]
        y = blur(x, BINOMIAL[num_taps], "valid")
        np.testing.assert_allclose(y, 0, atol=1e-6)


@pytest.mark.parametrize(
    "num_taps, gain", [(2, 0.7071), (3, 0.5), (4, 0.3536), (5, 0.25)]
)
def test_has_the_gain_of_the_binomial_at_half_the_band(num_taps, gain):
    phase = np.pi / 2 * np.arange(64)
    x = np.stack([np.cos(phase), np.sin(phase)], -1).astype("float32")
    x = np.broadcast_to(x, (1, 64, 64, 2))  # A wave along the width.
    y = np.asarray(blur(x, BINOMIAL[num_taps], "valid"))
    np.testing.assert_allclose(np.hypot(y[..., 0], y[..., 1]), gain, atol=5e-5)


@pytest.mark.parametrize("num_taps", BINOMIAL)
@pytest.mark.parametrize("padding", ["reflect", "same"])
def test_a_shift_by_the_stride_shifts_the_output_by_one(num_taps, padding):
    x = images(1, 34, 34, 2)
    layer = BlurPool2D(BINOMIAL[num_taps], padding=padding)
    y, shifted = layer(x[:, :32, :32]), layer(x[:, 2:, 2:])
    inside = slice(4, -4)
    np.testing.assert_allclose(
        shifted[:, inside, inside], y[:, 5:-3, 5:-3], rtol=1e-5, atol=1e-6
    )


def test_one_tap_is_plain_subsampling():
    x = images(2, 7, 8, 3)
    np.testing.assert_array_equal(BlurPool2D((1,))(x), x[:, ::2, ::2])
    np.testing.assert_array_equal(BlurPool2D((5.0,), strides=3)(x), x[:, ::3, ::3])


@pytest.mark.parametrize("padding", PADDINGS)
def test_blur_is_a_part_of_functional_models(padding):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, blur(inputs, (1, 3, 3, 1), padding, 2))
    x = images(2, 9, 8, 3)
    np.testing.assert_allclose(
        model(x), blur_oracle(x, (1, 3, 3, 1), padding, 2), rtol=1e-4, atol=1e-5
    )


def test_has_no_weights():
    layer = BlurPool2D()
    layer(images(1, 8, 8, 3))
    assert layer.weights == []


@pytest.mark.parametrize(
    "layer",
    [
        BlurPool2D(),
        BlurPool2D((1, 2, 1), strides=3, padding="same"),
        BlurPool2D((1, 2, 3)),
    ],
)
@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (2, 9, 12, 1)])
def test_keeps_the_contract(layer, shape):
    check_layer(layer, shape)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"taps": ()}, r"positive sum.*Received: taps=\(\)"),
        ({"taps": (1, -1)}, r"positive sum.*Received: taps=\(1, -1\)"),
        ({"taps": (1, float("nan"))}, "positive sum.*Received: taps="),
        ({"taps": ((1, 1), (1, 1))}, "1-D filter.*Received: taps="),
        ({"strides": 0}, "`strides` must be.*Received: strides=0"),
        ({"strides": 1.5}, "`strides` must be.*Received: strides=1.5"),
        ({"padding": "full"}, "must be one of reflect, same.*padding=full"),
        ({"data_format": "channels_first"}, "channels last.*data_format=channels_fi"),
    ],
)
def test_rejects(arguments, message):
    with pytest.raises(ValueError, match=message):
        BlurPool2D(**arguments)


def test_rejects_channels_first_as_the_setting_of_keras():
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="channels last.*=channels_first"):
            BlurPool2D()
    finally:
        keras.config.set_image_data_format("channels_last")


def test_blur_keeps_channels_last_whatever_keras_is_set_to():
    x = images(2, 6, 7, 3)
    expected = [np.asarray(blur(x, taps)) for taps in TAPS]
    keras.config.set_image_data_format("channels_first")
    try:
        for taps, y in zip(TAPS, expected, strict=True):
            np.testing.assert_array_equal(blur(x, taps), y)
    finally:
        keras.config.set_image_data_format("channels_last")


def test_a_replica_without_images_reflects_none(monkeypatch):
    import tensorflow as tf

    from layers import replicas

    monkeypatch.setattr(replicas, "may_be_empty", lambda inputs: True)
    signature = [tf.TensorSpec((None, 6, 6, 2))]
    blurred = tf.function(BlurPool2D(), input_signature=signature)
    assert blurred(np.zeros((0, 6, 6, 2), "float32")).shape == (0, 3, 3, 2)
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 2)).astype("float32")
    np.testing.assert_allclose(blurred(x), BlurPool2D()(x), atol=1e-6)
