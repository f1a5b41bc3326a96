"""Networks that compute as integers do: where they round, and that they are loaded."""

import keras
import numpy as np
import pytest

import layers
import zoo
from layers import FakeQuantization
from tests.helpers import marks, narrow
from tests.helpers.networks import as_numpy
from zoo import quantization
from zoo.compressed import compression_of
from zoo.presets import weight_file
from zoo.quantization import quantized


@pytest.fixture
def short(monkeypatch):
    narrow.shortened(monkeypatch)


def ranges(model):
    return [x.name for x in model.layers if isinstance(x, FakeQuantization)]


def trained(name, bits=8):
    """A network whose ranges have seen images."""
    model = narrow.built(name)
    made = quantized(model, bits)
    for layer in made.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.frozen = True  # Statistics stay, and ranges are those with them.
    with layers.stream(0):
        made(narrow.images(16, 5), training=True)
    return model, made


@pytest.fixture(scope="module")
def four_bits():
    """A network with noise, and it with weights of 4 bits; tests leave them so."""
    with pytest.MonkeyPatch.context() as patch:
        narrow.shortened(patch)
        return trained("resnet20_smooth_mcdo", 4)


def test_features_are_rounded_where_an_operation_ends(four_bits):
    model, made = four_bits
    stages = [f"stage{number}" for number in (1, 2, 3)]
    blocks = [
        f"{stage}_{name}_range"
        for stage in stages
        for name in (*("block1_1_relu", "block1_2_norm", "block1_relu", "smooth"),)
    ]
    expected = ["normalize", "stem_relu", "pool", "head"]
    assert {*ranges(made)} == {*blocks, *(f"{name}_range" for name in expected)}
    kinds = {type(layer) for layer in made.layers}
    assert layers.QuantizedMCDropout in kinds
    assert layers.QuantizedSmoothing in kinds
    assert not kinds & {keras.layers.Conv2D, keras.layers.Dense, layers.MCDropout}
    # The plain network is what it was, and has layers of its own.
    assert not {*model.layers} & {*made.layers}
    assert type(model.get_layer("head")) is keras.layers.Dense


def test_the_first_and_the_last_layer_have_eight_bits(four_bits):
    _, made = four_bits
    bits = [x.weight_bits for x in made.layers if hasattr(x, "weight_bits")]
    assert bits == [8, *[4] * 6, 8]
    assert quantization.weight_bits(made) == 4


@pytest.mark.parametrize(
    "name",
    marks.few(["resnet20_smooth", "preresnet20_blurpool"], ["preresnet20_blurpool"]),
)
def test_predictions_are_near_those_of_real_numbers_and_stay_when_folded(short, name):
    x, (model, made) = narrow.images(), trained(name)
    expected = as_numpy(model(x, training=False))
    found = as_numpy(made(x, training=False))
    scale = np.abs(expected).max()
    assert 0 < np.abs(found - expected).max() < 0.2 * scale
    fresh = quantized(model)(x, training=False)  # Kernels alone are rounded.
    assert np.abs(fresh - expected).max() < 0.1 * scale
    settled = quantization.settled(made)
    kinds = [type(layer) for layer in settled.layers]
    # One before a rectifier has no convolution to be a part of.
    assert (layers.BatchNormalization in kinds) == name.startswith("pre")
    difference = np.abs(as_numpy(settled(x, training=False)) - found)
    # A number between two integers may become the other one.
    assert difference.mean() < 0.02 * scale
    for conv in ("stem_conv", "stage1_block1_2_conv"):
        kernel = as_numpy(made.get_layer(conv).quantized_kernel())
        folded = as_numpy(settled.get_layer(conv).quantized_kernel())
        axes = (0, 1, 2)
        steps = [np.abs(k).max(axes) / 127 for k in (kernel, folded)]
        first, second = (
            np.rint(np.abs(k) / np.maximum(s, 1e-9))
            for k, s in zip((kernel, folded), steps, strict=True)
        )
        np.testing.assert_array_equal(first, second)


def test_weights_are_saved_and_load_by_their_names(short, four_bits, tmp_path):
    model, made = four_bits
    made.know(compression={"weight_bits": 4})
    path = tmp_path / "model.safetensors"
    weight_file.save_weights(made, path)
    assert weight_file.read_metadata(path)["compression"] == {"weight_bits": 4}
    again = zoo.load("resnet20_smooth_mcdo", weights=path)
    assert compression_of(again) == {"weight_bits": 4}
    x = narrow.images()
    with layers.stream(1):
        expected = as_numpy(made(x, training=False))
    with layers.stream(1):
        np.testing.assert_allclose(again(x, training=False), expected, atol=1e-5)
    # Those of the plain network are there, and ranges are not.
    weight_file.save_weights(model, path)
    weight_file.load_weights(again, path)
    names = weight_file.variables(made)
    assert {name.rpartition("/")[2] for name in names} >= {"low", "high"}


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2DFlipout(2, 1),
        layers.SpectralConv2D(2, 1),
        layers.Conv2DBatchEnsemble(2, 1, num_members=2),
        layers.FiLMBatchNormalization(2),
        keras.layers.DepthwiseConv2D(1),
    ],
)
def test_kernels_that_are_not_what_they_are_are_errors(layer):
    images = keras.Input((4, 4, 2))
    x = keras.layers.Flatten()(layer(images))
    model = keras.Model(images, keras.layers.Dense(2)(x))
    with pytest.raises(ValueError, match="Integers hold kernels that are what they"):
        quantized(model)


def test_what_cannot_be_integers_is_an_error():
    images = keras.Input((4,))
    model = keras.Model(images, keras.layers.Dense(3)(images))
    with pytest.raises(ValueError, match="`weight_bits` must be one of 4, 8"):
        quantized(model, 3)
    with pytest.raises(ValueError, match="quantized already"):
        quantized(quantized(model))
    with pytest.raises(ValueError, match="knows no ranges of its features"):
        quantization.settled(quantized(model))
    empty = keras.Model(images, keras.layers.ReLU()(images))
    with pytest.raises(ValueError, match="nothing to quantize"):
        quantized(empty)
    masked = keras.Sequential(
        [keras.Input((4, 4)), keras.layers.Masking(), keras.layers.Dense(3)]
    )
    with pytest.raises(ValueError, match="cannot be quantized: it is not functional"):
        quantized(masked)
