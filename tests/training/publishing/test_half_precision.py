"""Rounding weights to float16, and when it is refused."""

import keras
import numpy as np
import pytest

from training.data import image_data
from training.publishing import half_precision
from zoo.presets import weight_file


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
    return image_data.ImageData("toys", photos, labels, ("large", "small"))


def contents(model):
    return {k: np.asarray(v) for k, v in weight_file.variables(model).items()}


def test_weights_that_classify_as_well_are_rounded(model):
    kernel, bias = model.get_layer("head").get_weights()
    model.get_layer("head").set_weights([kernel * (1 + 1e-4), bias])
    found = half_precision.round_weights(model, dataset([0, 0, 9, 8, 7]))
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


def tipping(model, factor):
    """Sets weights that make `(factor - 1) * 4` more of images of ones than the bias.

    In float16 the two are equal, and the first logit, which is the label 0, is taken.
    """
    kernel, bias = model.get_layer("head").get_weights()
    model.get_layer("head").set_weights([kernel * factor, bias])


@pytest.mark.parametrize("lost, count", [(3, 117), (5, 10_000)])
def test_as_many_decisions_may_tip_over_as_chance_allows(model, lost, count):
    tipping(model, 1 - 1e-4)
    pixels = [1] * lost + [0] * (count - lost)
    found = half_precision.round_weights(model, dataset(pixels))
    assert found["correct_in_float32"] - found["correct"] == lost


@pytest.mark.parametrize("lost, count", [(4, 117), (6, 10_000)])
def test_more_decisions_that_tip_over_are_refused_and_leave_the_weights(
    model, lost, count
):
    tipping(model, 1 - 1e-4)
    before = contents(model)
    data = dataset([1] * lost + [0] * (count - lost))
    with pytest.raises(
        ValueError, match=f"of {count} images {count - lost} are right.*float32"
    ):
        half_precision.round_weights(model, data)
    for name, value in contents(model).items():
        np.testing.assert_array_equal(value, before[name])
    assert (
        half_precision.round_weights(model, data, tolerance=0.5)["correct"]
        == count - lost
    )


def test_decisions_that_become_right_are_no_reason_to_refuse(model):
    tipping(model, 1 - 1e-4)
    data = dataset([1] * 50)
    data.labels[:] = 0  # Wrong before, and right where the sums are equal.
    found = half_precision.round_weights(model, data)
    assert (found["correct_in_float32"], found["correct"]) == (0, 50)


def nll_grows(model, bias, growth):
    """Rounding moves the first logit by so much that the NLL of label 1 grows so."""
    slope = 1 / (1 + np.exp(bias - 64))
    kernel, _ = model.get_layer("head").get_weights()
    biases = np.array([64 - growth / slope, bias])
    model.get_layer("head").set_weights([np.zeros_like(kernel), biases])
    return np.log1p(np.exp(64 - bias))


@pytest.mark.parametrize("growth, count", [(0.0018, 2000), (0.0038, 400)])
@pytest.mark.parametrize("factor", [1, 1.2])
def test_an_nll_may_grow_by_as_much_as_chance_allows(model, growth, count, factor):
    nll = nll_grows(model, 63.5, factor * growth)
    assert nll < 1
    data = dataset([0] * count)
    data.labels[:] = 1
    if factor == 1:
        found = half_precision.round_weights(model, data)
        assert found["nll"] == pytest.approx(nll)
        assert found["nll"] - found["nll_in_float32"] == pytest.approx(growth, abs=3e-5)
    else:
        with pytest.raises(ValueError, match="NLL is 0.9741 in place of 0.9[67]"):
            half_precision.round_weights(model, data)


@pytest.mark.parametrize("growth, rounds", [(0.0118, True), (0.0131, False)])
def test_a_large_nll_may_grow_by_its_share(model, growth, rounds):
    assert nll_grows(model, 57.875, growth) == pytest.approx(6.127, abs=1e-3)
    data = dataset([0] * 2000)
    data.labels[:] = 1
    if rounds:
        half_precision.round_weights(model, data)
    else:
        with pytest.raises(ValueError, match="and 0.0122 added"):
            half_precision.round_weights(model, data)


def test_an_nll_that_falls_is_no_reason_to_refuse(model):
    kernel, _ = model.get_layer("head").get_weights()
    model.get_layer("head").set_weights([np.zeros_like(kernel), np.array([64.01, 0])])
    data = dataset([0] * 9)
    data.labels[:] = 1
    assert half_precision.round_weights(model, data)["nll"] == pytest.approx(64)


def test_weights_out_of_range_are_named(model):
    kernel, bias = model.get_layer("head").get_weights()
    model.get_layer("head").set_weights([kernel * 1e6, bias])
    before = contents(model)
    with pytest.raises(ValueError, match="'head/kernel' of 'sums' has values up to 1e"):
        half_precision.round_weights(model, dataset([0, 9]))
    np.testing.assert_array_equal(contents(model)["head/kernel"], before["head/kernel"])
