"""Convolutions, poolings and shortcuts against slow versions of their definitions."""

import keras
import numpy as np
import pytest
from keras import ops

import zoo
from tests.helpers import marks
from tests.helpers.graphs import outputs, some_images
from tests.oracles import networks
from zoo.presets import weight_file

SHAPE = (32, 32, 3)


# Layers with a stride: where their inputs come from, and the sides of their kernels.
STRIDED = {
    "resnet18": {
        "stem_conv": ("normalize", 7),
        "stage2_block1_1_conv": ("stage1_smooth", 3),
        "stage3_block1_skip_conv": ("stage2_smooth", 1),
    },
    "resnet50": {"stage2_block1_2_conv": ("stage2_block1_1_relu", 3)},
}


@pytest.mark.parametrize("side", marks.few([64, 66, 70], [66]))
@pytest.mark.parametrize("name", STRIDED)
def test_strided_convolutions_pad_both_sides(short, name, side):
    keras.utils.set_random_seed(0)
    model = zoo.build(name, (side, side, 3), 2)
    sources = [source for source, _ in STRIDED[name].values()]
    found = outputs(model, [*sources, *STRIDED[name]], some_images((side, side, 3)))
    inputs, strided = found[: len(sources)], found[len(sources) :]
    for (layer, (_, size)), x, y in zip(
        STRIDED[name].items(), inputs, strided, strict=True
    ):
        kernel = ops.convert_to_numpy(model.get_layer(layer).kernel)
        assert kernel.shape[:2] == (size, size)
        expected = networks.conv(x, kernel, size // 2, 2)
        np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-3, err_msg=layer)


@pytest.mark.parametrize("side", [64, 66])
def test_the_pooling_of_the_stem_pads_both_sides(short, side):
    model = zoo.build("resnet18", (side, side, 3), 2)
    x, y = outputs(model, ["stem_relu", "stem_pool"], some_images((side, side, 3)))
    np.testing.assert_allclose(y, networks.max_pool(x, 1))


def test_the_network_starts_with_normalized_pixels(short):
    normalization = ((10.0, 20.0, 30.0), (4.0, 9.0, 16.0))
    model = zoo.build("resnet20", SHAPE, 2, normalization)
    images = some_images()
    (x,) = outputs(model, ["normalize"], images)
    expected = (images - np.array(normalization[0])) / np.sqrt(normalization[1])
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-5)


def test_shortcuts_of_cifar_networks_have_no_weights(short):
    model = zoo.build("resnet20", SHAPE, 2)
    assert not [name for name in weight_file.variables(model) if "skip" in name]
    norm = model.get_layer("stage2_block1_2_norm")
    norm.gamma.assign(np.zeros(32))  # The branch is zero: only the shortcut is left.
    x, y = outputs(model, ["stage1_smooth", "stage2_block1_relu"], some_images())
    expected = np.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (0, 16)))
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_shortcuts_of_wide_networks_are_projections(short):
    model = zoo.build("resnet18", SHAPE, 2)
    model.get_layer("stage2_block1_2_norm").gamma.assign(np.zeros(128))
    names = ["stage2_block1_skip_norm", "stage2_block1_relu"]
    skip, y = outputs(model, names, some_images())
    np.testing.assert_allclose(y, np.maximum(skip, 0))
