"""The residual form of DDU, against NumPy."""

import keras
import numpy as np
import pytest

import layers
import zoo
from tests.helpers.graphs import some_images


def leaky(x):
    return np.where(x > 0, x, 0.01 * x)


def averaged(x, filters):
    """Means of 2x2 points, of fewer at an odd border, and channels of zeros."""
    batch, height, width, channels = x.shape
    found = np.zeros((batch, -(-height // 2), -(-width // 2), filters))
    for row in range(found.shape[1]):
        for column in range(found.shape[2]):
            part = x[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            found[:, row, column, :channels] = part.mean(axis=(1, 2))
    return found


@pytest.mark.parametrize(
    "name, last, size",
    [
        ("resnet20", "stage2_block1_2_norm", 32),
        ("resnet18", "stage2_block1_2_norm", 17),
        ("resnet50d", "stage2_block1_3_norm", 16),
        ("preresnet20", "stage2_block1_2_conv", 18),
    ],
)
def test_shortcuts_average_and_activations_leak(short, name, last, size):
    keras.utils.set_random_seed(0)
    model = zoo.build(f"{name}_ddu", (size, size, 3), 3)
    block = "stage2_block1"
    add = model.get_layer(f"{block}_add")
    before = "stage1_smooth"
    tensors = [model.get_layer(n).output for n in (before, last)]
    tensors += [add.output]
    if not name.startswith("pre"):
        tensors.append(model.get_layer(f"{block}_relu").output)
    images = some_images((size, size, 3))
    x, branch, total, *rest = (
        np.asarray(y, "float64") for y in keras.Model(model.input, tensors)(images)
    )
    expected = averaged(x, branch.shape[-1]) + branch
    np.testing.assert_allclose(total, expected, rtol=1e-5, atol=1e-5)
    for activated in rest:
        np.testing.assert_allclose(activated, leaky(total), rtol=1e-5, atol=1e-6)
        assert activated.min() < 0


@pytest.mark.parametrize("name", ["resnet20", "preresnet20", "vgg11", "alexnet"])
def test_all_convolutions_are_bounded_and_no_activation_is_plain(short, name):
    model = zoo.build(f"{name}_ddu", (32, 32, 3), 3)
    kinds = [type(layer) for layer in model.layers]
    assert keras.layers.Conv2D not in kinds
    assert keras.layers.ReLU not in kinds
    bounds = {
        layer.max_norm
        for layer in model.layers
        if isinstance(layer, layers.SpectralConv2D)
    }
    assert bounds == {3.0}
    slopes = {
        layer.negative_slope
        for layer in model.layers
        if isinstance(layer, keras.layers.LeakyReLU)
    }
    assert slopes == {0.01}


@pytest.mark.parametrize("other", ["blurpool", "flipout", "sngp"])
def test_methods_that_it_cannot_be_with_say_so(other):
    with pytest.raises(ValueError, match="cannot be combined"):
        zoo.build(f"resnet20_ddu_{other}", (32, 32, 3), 3)
