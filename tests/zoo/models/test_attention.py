"""Networks with attention at the ends of their stages."""

import functools

import keras
import numpy as np
import pytest
import scipy.special

import layers
import zoo
from tests.helpers import marks
from tests.helpers.exports import invoke, operators, softmax
from tests.helpers.graphs import build_graph, count, outputs, some_images
from tests.oracles.attention import attention
from tests.oracles.networks import convolved, norm, relu
from training import export
from training.export import onnx
from zoo import registry

# Stage, blocks with attention, and heads, at the end of a network for ImageNet.
PLACES = [
    ("alter_resnet18", {2: ([2], 6), 3: ([2], 12), 4: ([2], 24)}),
    ("alter_resnet50", {2: ([4], 6), 3: ([2, 4, 6], 12), 4: ([2, 4], 24)}),
    ("resnet50_msa", {2: ([4], 6), 3: ([2, 4, 6], 12), 4: ([3], 24)}),
    ("resnet56_msa", {2: ([5, 7, 9], 6), 3: ([7, 9], 12)}),
    ("preresnet20_msa", {2: ([3], 6), 3: ([3], 12)}),
    ("wide_resnet28_10_msa", {2: ([2, 4], 15), 3: ([2, 4], 30)}),
]


def attending(model):
    return {
        layer.name.removesuffix("_attention"): layer
        for layer in model.layers
        if isinstance(layer, layers.LocalAttention)
    }


@pytest.mark.parametrize("name, stages", marks.few(PLACES, PLACES[2:]))
def test_attention_ends_all_stages_but_the_first(name, stages):
    model = build_graph(name)
    expected = {
        f"stage{stage}_block{block}": heads
        for stage, (blocks, heads) in stages.items()
        for block in blocks
    }
    found = attending(model)
    assert {block: layer.num_heads for block, layer in found.items()} == expected
    cifar = len(registry.ARCHITECTURES[zoo.parse(name).architecture].keywords["depths"])
    dims = {layer.key_dim for layer in found.values()}
    windows = {layer.window_size for layer in found.values()}
    assert dims == {64 if cifar == 4 or "wide" in name else 16}
    assert windows == {7 if cifar == 4 else 4}
    # It is as wide as the block in whose place it is.
    plain = build_graph(name.replace("_msa", "").replace("alter_", "pre"))
    for block in expected.keys() & {la.name[:-4] for la in plain.layers}:
        shape = plain.get_layer(f"{block}_add").output.shape
        assert model.get_layer(f"{block}_add").output.shape == shape


def test_alter_networks_have_the_parameters_of_their_blocks():
    plain, size = count(build_graph("preresnet18", (32, 32, 3), 10)), 2 * 4 - 1
    # A block has two 3x3 and two normalizations; or a 1x1, the same normalizations, and
    # queries, keys, values and outputs of 3 x 64 channels for each 64.
    for width in (128, 256, 512):
        plain += width**2 + 4 * 3 * width**2 + size**2 + width - 2 * 9 * width**2
    assert count(build_graph("alter_resnet18", (32, 32, 3), 10)) == plain
    # Another window has another table, and nothing else.
    large = build_graph("alter_resnet18", (224, 224, 3), 10)
    stem = (49 - 9) * 3 * 64
    assert count(large) == plain + stem + 3 * (13**2 - 7**2)


@pytest.fixture
def two_blocks(monkeypatch):
    """Makes two narrow stages, of which the second has a block with attention."""
    narrow = {
        name: functools.partial(registry.ARCHITECTURES[name], depths=(1, 2), filters=8)
        for name in ("resnet18", "preresnet18", "preresnet50", "resnet20", "resnet50")
    }
    monkeypatch.setattr(registry, "ARCHITECTURES", narrow)


def gelu(x):
    return x * scipy.special.ndtr(x)


@pytest.mark.parametrize(
    "name",
    marks.few(
        ["resnet18", "preresnet50", "resnet50", "preresnet18"],
        ["resnet18", "preresnet18"],
    ),
)
def test_blocks_are_those_of_the_paper(two_blocks, name):
    keras.utils.set_random_seed(0)
    model, rng = zoo.build(f"{name}_msa", (28, 28, 3), 2), np.random.default_rng(0)
    for variable in model.variables:
        if variable.name in ("gamma", "moving_variance", "positions"):
            variable.assign(0.5 + rng.random(variable.shape))
        elif variable.name in ("beta", "moving_mean", "bias"):
            variable.assign(rng.normal(size=variable.shape))
    post, block = name.startswith("resnet"), "stage2_block2"
    names = f"stage2_block1_{'relu' if post else 'add'}", f"{block}_add"
    x, y = outputs(model, names, some_images((28, 28, 3)))
    layer = attending(model)[block]
    if post:
        branch = norm(model, f"{block}_1", convolved(model, f"{block}_1", x, 0))
        branch = norm(model, f"{block}_2", attention(layer, gelu(branch)))
    else:
        branch = gelu(norm(model, f"{block}_1", x))
        branch = norm(model, f"{block}_2", convolved(model, f"{block}_1", branch, 0))
        branch = attention(layer, branch)
    scale = np.abs(y).max()
    np.testing.assert_allclose(y / scale, (x + branch) / scale, atol=1e-5)
    assert np.abs(branch).max() > 0.01 * scale
    if post:
        (after,) = outputs(model, [f"{block}_relu"], some_images((28, 28, 3)))
        np.testing.assert_allclose(after, relu(y))


def test_networks_without_residual_blocks_refuse_it():
    for name in ("vgg11", "alexnet", "lenet5", "mlp"):
        with pytest.raises(ValueError, match="take a ResNet, such as 'resnet20_msa'"):
            zoo.build(f"{name}_msa", (28, 28, 1), 10)
    with pytest.raises(ValueError, match="'msa' and 'packed' cannot be combined"):
        zoo.build("resnet18_packed_msa", (32, 32, 3), 10)


def test_exports_have_operators_of_litert_alone(two_blocks, tmp_path):
    # Of 14 points, which windows of 4 do not divide.
    model = zoo.build("resnet20_msa_smooth", (28, 28, 1), 3)
    images = some_images((28, 28, 1), 3).astype("float32")
    expected = softmax(model(images, training=False))
    export.export_tflite(model, tmp_path / "lite", images=images)
    found = invoke(tmp_path / "lite", images=images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert operators(tmp_path / "lite")[1] == []


@pytest.mark.slow
@pytest.mark.parametrize("methods", ["", "_smooth_mcdo", "_smooth_mcdo_flipout"])
@pytest.mark.parametrize("name", ["resnet20_msa", "preresnet50_msa"])
def test_networks_are_exported_which_compares_the_outputs(
    two_blocks, name, methods, tmp_path
):
    model = zoo.build(f"{name}{methods}", (32, 32, 3), 10)
    export.export_saved_model(model, tmp_path / "saved", num_samples=3)
    export.export_tflite(model, tmp_path / "lite", num_samples=3)
    assert operators(tmp_path / "lite")[1] == []
    for package in ("onnxruntime", "tf2onnx"):
        pytest.importorskip(package)
    report = onnx.export_onnx(model, tmp_path / "it.onnx", num_samples=3)
    assert report["max_difference"] < 1e-4
