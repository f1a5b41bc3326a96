"""Blocks of each family against slow versions of their definitions."""

import keras
import numpy as np
import pytest
from keras import ops

import zoo
from tests.helpers.graphs import draw, outputs, some_images
from tests.oracles import networks
from tests.oracles.networks import convolved, norm, relu


def built(name, side=32):
    """A model whose normalizations and biases have random values."""
    keras.utils.set_random_seed(0)
    model, rng = zoo.build(name, (side, side, 3), 2), np.random.default_rng(0)
    for variable in model.variables:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(0.5 + rng.random(variable.shape))
        elif variable.name in ("beta", "moving_mean", "bias"):
            variable.assign(rng.normal(size=variable.shape))
    return model


def close(actual, expected):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual / scale, expected / scale, rtol=0, atol=1e-5)


def pre_activation(model, name, x, strides, bottleneck):
    """A block of a pre-activation ResNet, in the order of the paper."""
    first, skip = relu(norm(model, f"{name}_1", x)), x
    if f"{name}_skip_conv" in {layer.name for layer in model.layers}:
        skip = convolved(model, f"{name}_skip", first, 0, strides)
    if bottleneck:
        x = convolved(model, f"{name}_1", first, 0)
        x = convolved(model, f"{name}_2", relu(norm(model, f"{name}_2", x)), 1, strides)
        x = convolved(model, f"{name}_3", relu(norm(model, f"{name}_3", x)), 0)
    else:
        x = convolved(model, f"{name}_1", first, 1, strides)
        x = convolved(model, f"{name}_2", relu(norm(model, f"{name}_2", x)), 1)
    return skip + x


@pytest.mark.parametrize(
    "name, block, source, strides",
    [
        ("preresnet20", "stage1_block1", "stem_conv", 1),
        ("preresnet20", "stage2_block1", "stage1_smooth", 2),
        ("preresnet50", "stage2_block1", "stage1_smooth", 2),
    ],
)
def test_blocks_normalize_before_they_convolve(short, name, block, source, strides):
    model = built(name)
    x, y = outputs(model, [source, f"{block}_add"], some_images())
    close(y, pre_activation(model, block, x, strides, name == "preresnet50"))
    projected = f"{block}_skip_conv" in {layer.name for layer in model.layers}
    assert projected == (block != "stage1_block1")


def test_pre_activation_ends_with_a_normalization(short):
    model = built("preresnet20")
    x, y, pooled = outputs(
        model, ["stage3_block1_add", "pool_relu", "pool"], some_images()
    )
    close(y, relu(norm(model, "pool", x)))
    close(pooled, y.mean(axis=(1, 2)))


@pytest.mark.parametrize("side", [64, 66])
def test_poolings_of_negative_features_ignore_the_border(short, side):
    model = built("preresnet18", side)
    x, y = outputs(model, ["stem_conv", "stem_pool"], some_images((side, side, 3)))
    assert y[:, 0].min() < 0
    np.testing.assert_array_equal(y, networks.max_pool(x, 1))


def test_bottlenecks_of_resnext_see_the_channels_of_their_group():
    # Wider than in `short`: with four channels in each of the 32 groups.
    row = zoo.registry.ARCHITECTURES["resnext50_32x4d"]
    shape, parts = (32, 32, 3), zoo.models.parts.Parts()
    keras.utils.set_random_seed(0)
    model = row(parts, shape, 2, zoo.registry.IMAGENET, depths=(1, 1), filters=32)
    assert model.get_layer("stage2_block1_2_conv").kernel.shape == (3, 3, 4, 128)
    name = "stage2_block1"
    x, y = outputs(model, ["stage1_smooth", f"{name}_relu"], some_images())
    skip = norm(model, f"{name}_skip", convolved(model, f"{name}_skip", x, 0, 2))
    for i, (pad, strides) in enumerate([(0, 1), (1, 2), (0, 1)], 1):
        x = convolved(model, f"{name}_{i}", x, pad, strides)
        x = norm(model, f"{name}_{i}", x)
        x = relu(x) if i < 3 else x
    close(y, relu(skip + x))


def test_pre_activation_of_vgg_starts_with_a_normalization(short):
    model = built("prevgg11")
    names = ["normalize", "stage1_smooth", "stage2_block1_norm", "stage2_pool"]
    images, first, second, pooled = outputs(model, names, some_images())
    y = relu(norm(model, "stage1_block1", images))
    close(first, convolved(model, "stage1_block1", y, 1))
    close(second, norm(model, "stage2_block1", pooled))
    assert first.min() < 0


@pytest.mark.parametrize("side", [64, 67, 70])
def test_alexnet_pads_its_first_convolution_by_two_and_no_pooling(short, side):
    model = built("alexnet", side)
    names = ["normalize", "stage1_block1_conv", "stage1_smooth", "stage2_pool"]
    names += ["stage2_block1_relu"]
    images, first, x, pooled, second = outputs(
        model, names, some_images((side, side, 3))
    )
    (kernel, bias), (other_kernel, other_bias) = (
        map(ops.convert_to_numpy, model.get_layer(f"stage{i}_block1_conv").variables)
        for i in (1, 2)
    )
    close(first, networks.conv(images, kernel, 2, 4) + bias)
    np.testing.assert_array_equal(x, relu(first))
    np.testing.assert_array_equal(pooled, networks.max_pool(x, 0))
    close(second, relu(networks.conv(pooled, other_kernel, 2, 1) + other_bias))


def test_heads_pool_the_last_map(short):
    images, names = some_images(), ["stage5_smooth", "pool"]
    x, y = outputs(built("vgg11_gmp"), names, images)
    np.testing.assert_array_equal(y, x.max(axis=(1, 2)))
    x, y = outputs(built("vgg11_gap"), names, images)
    close(y, x.mean(axis=(1, 2)))
    np.testing.assert_array_equal(
        draw(built("vgg11_gap"), images), draw(built("vgg11"), images)
    )


def test_heads_cannot_be_combined():
    for pair in ("gap_mlp", "gap_gmp", "mlp_gmp"):
        with pytest.raises(ValueError, match="both replace the `pool`"):
            zoo.build(f"alexnet_{pair}", (32, 32, 3), 2)


def test_lenet_and_perceptron_are_chains_of_dense_layers(short):
    x, *features, y = outputs(
        lenet := built("lenet5", 28),
        ["pool", "hidden_1_relu", "hidden_2_relu", "head"],
        some_images((28, 28, 3)),
    )
    x = x.reshape(len(x), 400)
    check_chain(lenet, x, (*features, y))
    x, *features = outputs(
        model := built("mlp"),
        ["normalize", "hidden_1_relu", "hidden_2_relu", "head"],
        some_images(),
    )
    check_chain(model, x.reshape(len(x), -1), features)
    with pytest.raises(ValueError, match=r"one known size.*\(None, None, 3\)"):
        zoo.build("mlp", (None, None, 3), 2)


def check_chain(model, x, outputs):
    """Compares hidden layers and logits with matrix products."""
    names = "hidden_1", "hidden_2", "head"
    for name, found in zip(names, outputs, strict=True):
        kernel, bias = map(ops.convert_to_numpy, model.get_layer(name).weights)
        x = x @ kernel + bias
        x = x if name == "head" else relu(x)
        close(found, x)
