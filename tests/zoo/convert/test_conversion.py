import functools
import warnings

import numpy as np
import pytest
from keras import ops

from tests.helpers import graphs, torch_states
from tests.oracles import torch_networks
from zoo import convert, registry
from zoo.convert.name_tables import TORCH
from zoo.models import vgg
from zoo.presets.weight_file import variables

MEAN, STD = np.array((0.485, 0.456, 0.406)), np.array((0.229, 0.224, 0.225))


def make_source(state, **config):
    return convert.Source("it.safetensors", "0" * 64, state, config)


def preprocessed(images, mean=MEAN, std=STD):
    """As torchvision does it: into [0, 1], then by mean and standard deviation."""
    return ((images / 255 - mean) / std).transpose(0, 3, 1, 2)


def logits(model, images):
    return ops.convert_to_numpy(model(images, training=False))


@pytest.mark.parametrize("bottleneck", [False, True])
def test_a_resnet_computes_what_it_computed_there(short, bottleneck):
    state = torch_states.resnet(bottleneck, base=32 if bottleneck else 64)
    name = "resnet50" if bottleneck else "resnet18"
    model = convert.convert(make_source(state), name, (None, None, 3))
    for shape in ((64, 64, 3), (80, 101, 3)):
        images = graphs.some_images(shape)
        expected = torch_networks.resnet(state, preprocessed(images))
        np.testing.assert_allclose(logits(model, images), expected, atol=1e-4)
        assert np.std(expected) > 0.1


@pytest.mark.parametrize("side", [32, 224])
def test_a_vgg_computes_what_it_computed_there(short, side, monkeypatch):
    row, depths = registry.ARCHITECTURES["vgg11"], (1, 1, 2, 1, 1)
    row = type(row)(row.func, depths=depths)
    monkeypatch.setitem(registry.ARCHITECTURES, "vgg11", row)
    state = torch_states.vgg(vgg.FILTERS, depths, units=32)
    model = convert.convert(make_source(state), "vgg11_mlp", (side, side, 3))
    images = graphs.some_images((side, side, 3))
    expected = torch_networks.vgg(state, preprocessed(images), depths)
    np.testing.assert_allclose(logits(model, images), expected, atol=1e-4)


def test_a_bias_before_a_normalization_is_kept_in_its_mean(short):
    state = torch_states.resnet()
    biased = {**state, "layer2.0.conv1.bias": np.full(128, 0.7, "float32")}
    shifted = {**state}
    shifted["layer2.0.bn1.running_mean"] = state["layer2.0.bn1.running_mean"] - 0.7
    images = graphs.some_images((64, 64, 3))
    found, expected, plain = (
        logits(convert.convert(make_source(s), "resnet18", (64, 64, 3)), images)
        for s in (biased, shifted, state)
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - plain).max() > 1e-3


def test_the_normalization_is_that_of_the_source(short):
    state = torch_states.resnet()
    source = make_source(state, mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.4))
    model = convert.convert(source, "resnet18", (64, 64, 3))
    images = graphs.some_images((64, 64, 3))
    pixels = preprocessed(images, (0.5, 0.4, 0.3), (0.1, 0.2, 0.4))
    expected = torch_networks.resnet(state, pixels)
    np.testing.assert_allclose(logits(model, images), expected, atol=1e-4)


def test_the_classifier_of_timm_is_that_of_torchvision_in_another_shape(short):
    state = torch_states.vgg(vgg.FILTERS, (1,) * 5, units=32)
    renamed = {
        key.replace("classifier.0", "pre_logits.fc1")
        .replace("classifier.3", "pre_logits.fc2")
        .replace("classifier.6", "head.fc"): array
        for key, array in state.items()
    }
    for i, side in ((1, 7), (2, 1)):
        kernel = renamed[f"pre_logits.fc{i}.weight"]
        renamed[f"pre_logits.fc{i}.weight"] = kernel.reshape(32, -1, side, side)
    ours, theirs = (
        convert.convert(make_source(s), "vgg16_mlp", (32, 32, 3))
        for s in (state, renamed)
    )
    theirs = variables(theirs)
    for key, variable in variables(ours).items():
        np.testing.assert_array_equal(variable, theirs[key])


def test_a_stochastic_sibling_has_the_weights_and_a_warning(short):
    state = torch_states.resnet()
    source = make_source(state, tag="a1_in1k")
    with pytest.warns(UserWarning, match="trained without smooth, flipout: "):
        model = convert.convert(source, "resnet18_smooth_flipout", (64, 64, 3))
    assert model.name == "resnet18_smooth_flipout.a1_in1k"
    inner = model.get_layer("stage2_block1_2_conv")
    expected = state["layer2.0.conv2.weight"][5, 7, 1, 2]
    assert ops.convert_to_numpy(inner.kernel)[1, 2, 7, 5] == expected


def test_a_plain_network_needs_no_warning(short):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = convert.convert(make_source(torch_states.resnet()), "resnet18.mine")
    assert (model.name, model.input_shape) == ("resnet18.mine", (None, 224, 224, 3))


@pytest.mark.parametrize(
    "name, count",
    [("resnet18", 102), ("resnet50", 267), ("vgg16_mlp", 71)],
)
def test_every_weight_has_one_name_there(name, count):
    model = graphs.build_graph(name)
    own = variables(model)
    assert len(own) == count  # As torchvision's state dict, without VGG's own biases.
    found = TORCH.places(name.partition("/")[0] for name in own)
    keys = set()
    for name in own:
        layer, _, inner = name.partition("/")
        keys.add(TORCH.key(found[layer][-1 if "skip_norm" in layer else 0], inner))
    assert len(keys) == count


def changed(**changes):
    def make_state():
        state = torch_states.resnet()
        for name, value in changes.items():
            key = name.replace("__", ".")
            if value is None:
                del state[key]
            else:
                state[key] = value
        return state

    return make_state


@pytest.mark.parametrize(
    "make_state, name, message",
    [
        (
            changed(layer2__0__bn1__running_var=None),
            "resnet18",
            r"no 'layer2.0.bn1.running_var', which 'stage2_block1_1_norm/moving_vari"
            r"ance' needs with shape \(128,\)",
        ),
        (
            changed(layer3__0__conv1__weight=np.zeros((3, 3, 128, 256), "f4")),
            "resnet18",
            r"'layer3.0.conv1.weight' has shape \(3, 3, 128, 256\), and "
            r"'stage3_block1_1_conv/kernel' needs \(256, 128, 3, 3\)",
        ),
        (
            changed(layer1__0__se__fc1__weight=np.zeros((4, 64, 1, 1), "f4")),
            "resnet18",
            r"also hold 'layer1.0.se.fc1.weight' of shape \(4, 64, 1, 1\)",
        ),
        (
            changed(bn1__weight=np.full(64, np.nan, "f4")),
            "resnet18",
            "'bn1.weight' holds float32 that are not all finite",
        ),
        (changed(bn1__bias=np.zeros(64, "i4")), "resnet18", "holds int32"),
        (
            functools.partial(torch_states.resnet, bottleneck=True),
            "resnet18",
            r"'layer1.0.conv1.weight' has shape \(64, 64, 1, 1\), and .* needs "
            r"\(64, 64, 3, 3\)",
        ),
        (
            functools.partial(torch_states.vgg, (8, 8, 16, 16, 16), (1,) * 5, 32),
            "vgg11",
            r"'classifier.0.weight' of shape \(32, 784\).*the method `mlp`",
        ),
        (
            functools.partial(torch_states.vgg, (8, 8, 16, 16, 16), (1,) * 5, 32),
            "resnet18",
            r"'classifier.0.weight'",
        ),
        (
            lambda: {"patch_embed.proj.weight": np.zeros((4, 3, 16, 16), "f4")},
            "resnet18",
            "no classifier of a network of torch.*found 'patch_embed.proj.weight'",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(short, make_state, name, message):
    source = make_source(make_state())
    with pytest.raises(ValueError, match=message):
        convert.convert(source, name, (64, 64, 3))


def test_a_refused_state_changes_nothing(short):
    model = registry.build("resnet18", (64, 64, 3), 5)
    before = [np.array(weight) for weight in model.weights]
    with pytest.raises(ValueError, match=r"there is no 'fc\.bias'"):
        convert.load_state(model, changed(fc__bias=None)())
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new)
