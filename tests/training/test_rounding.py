"""Rounding weights to float16, and when it is refused."""

import keras
import numpy as np
import pytest

from training import images, rounding
from zoo import weights


@pytest.fixture
def model():
    """Two logits, the sum of the pixels and half of a bias's; no rounding in it."""
    inputs = keras.Input((2, 2, 1))
    x = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(x), name="sums")
    kernel = np.stack([np.ones(4), np.zeros(4)], -1)
    model.get_layer("head").set_weights([kernel, np.array([0.0, 4.0])])
    return model


def dataset(pixels):
    pixels = np.asarray(pixels, "uint8")
    photos = np.stack([pixels] * 4, -1).reshape(-1, 2, 2, 1)
    labels = (4 * pixels.astype(int) <= 4).astype("int32")  # What the model says.
    return images.ImageData("toys", photos, labels, ("large", "small"))


def contents(model):
    return {k: np.asarray(v) for k, v in weights.variables(model).items()}


def test_weights_that_classify_as_well_are_rounded(model):
    kernel, bias = model.get_layer("head").get_weights()
    model.get_layer("head").set_weights([kernel * (1 + 1e-4), bias])
    found = rounding.round_weights(model, dataset([0, 0, 9, 8, 7]))
    assert (found["images"], found["correct"], found["correct_in_float32"]) == (5, 5, 5)
    assert (found["dtype"], found["dataset"]) == ("float16", "toys")
    # exp(-4) / (1 + exp(-4)) twice, and large margins.
    expected = (
        2 * np.log1p(np.exp(-4.0))
        + sum(np.log1p(np.exp(4 - 4.0 * p)) for p in (9, 8, 7))
    ) / 5
    assert found["nll"] == pytest.approx(expected, abs=1e-6)
    np.testing.assert_array_equal(contents(model)["head/kernel"], kernel)
    assert contents(model)["head/kernel"].dtype == np.float32


def test_a_decision_that_tips_over_is_counted_and_leaves_the_weights(model):
    kernel, bias = model.get_layer("head").get_weights()
    # 4 pixels of 1 sum to 4 - 4e-4, less than the bias; rounded, they are a tie.
    model.get_layer("head").set_weights([kernel * (1 - 1e-4), bias])
    data = dataset([0, 9, 1])
    before = contents(model)
    with pytest.raises(
        ValueError, match="of 3 images 2 are right in place of 3.*float32"
    ):
        rounding.round_weights(model, data)
    for name, value in contents(model).items():
        np.testing.assert_array_equal(value, before[name])
    assert rounding.round_weights(model, data, tolerance=0.34)["correct"] == 2


def test_an_nll_that_moves_is_refused(model):
    kernel, bias = model.get_layer("head").get_weights()
    model.get_layer("head").set_weights([kernel, bias + 2000.6])  # float16 has 2001.
    kernel, bias = model.get_layer("head").get_weights()
    model.get_layer("head").set_weights([kernel, np.array([2000.4, 2004.0])])
    data = dataset([0, 1, 1])
    data.labels[:] = (1, 1, 1)
    with pytest.raises(ValueError, match="the NLL is .* in place of"):
        rounding.round_weights(model, data, tolerance=1.0)


def test_weights_out_of_range_are_named(model):
    kernel, bias = model.get_layer("head").get_weights()
    model.get_layer("head").set_weights([kernel * 1e6, bias])
    before = contents(model)
    with pytest.raises(ValueError, match="'head/kernel' of 'sums' has values up to 1e"):
        rounding.round_weights(model, dataset([0, 9]))
    np.testing.assert_array_equal(contents(model)["head/kernel"], before["head/kernel"])
