import keras
import numpy as np
import pytest
from keras import ops

import layers
from tests.helpers.checks import check_layer


def test_outputs_are_in_the_unit_of_the_targets():
    given = np.array([[0.5, -3.0], [-1.0, 40.0]], "float32")
    found = ops.convert_to_numpy(layers.GaussianOutput(10.0, 2.0, 0.25)(given))
    softplus = np.log1p(np.exp(given[:, 1].astype("float64")))
    np.testing.assert_allclose(found[:, 0], [11.0, 8.0])
    np.testing.assert_allclose(found[:, 1], 2 * (0.25 + softplus), rtol=1e-6)
    back = layers.GaussianOutput(10.0, 2.0).standardized(found[:, 0])
    np.testing.assert_allclose(ops.convert_to_numpy(back), given[:, 0])


def test_the_readout_of_nomu_is_the_published_one():
    raw = np.array([-5.0, 0.0, 0.7, 1e4])
    given = np.stack([np.zeros(4), raw], axis=1)
    found = ops.convert_to_numpy(layers.NomuOutput(1.0, 3.0)(given))[:, 1] / 3
    expected = 2 * (1 - np.exp(-(np.maximum(raw, 0) + 1e-3) / 2))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(found[[0, 1, 3]], [9.9975e-4, 9.9975e-4, 2], rtol=1e-5)


def test_the_layers_keep_the_contract():
    check_layer(layers.NomuOutput(2.0, 3.0), (4, 2))


def test_deviations_are_those_of_float32_in_half_precision():
    layer = layers.GaussianOutput(1e4, 1e-2)
    assert layer.compute_dtype == "float32"
    found = layer(ops.cast([[0.0, 0.0]], "float16"))
    assert keras.backend.standardize_dtype(found.dtype) == "float32"


@pytest.mark.parametrize(
    "kind, settings, message",
    [
        (layers.GaussianOutput, {"scale": 0.0}, "finite numbers, the second one pos"),
        (layers.GaussianOutput, {"loc": float("nan")}, "loc=nan"),
        (layers.GaussianOutput, {"smallest": 0}, "must be positive.*smallest=0"),
        (layers.NomuOutput, {"largest": -1.0}, "must be positive.*largest=-1"),
    ],
)
def test_settings_out_of_their_range_are_errors(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**settings)


def test_other_numbers_than_two_are_an_error():
    with pytest.raises(ValueError, match="takes two numbers for each example"):
        layers.GaussianOutput()(np.zeros((3, 4)))
