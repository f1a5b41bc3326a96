"""The networks of timm that subsample behind a low-pass filter, and their `d` form."""

import numpy as np
import pytest
from keras import ops

import zoo
from tests.helpers import graphs, marks, torch_states
from tests.oracles import torch_networks
from zoo import convert

MEAN, STD = np.array((0.485, 0.456, 0.406)), np.array((0.229, 0.224, 0.225))
LOW_PASS = {"aa": torch_networks.average, "blur": torch_networks.blur}
# An odd side after the stem, of 66 or 98, or in most stages, of 75.
ROWS = [
    ("resnet18_aa", (66, 98), "resnetaa18"),
    ("resnet18d", (75, 70), "resnet18d"),
    ("resnet18d_aa", (98, 66), "resnetaa18d"),
    ("resnet18d_aa", (75, 71), None),  # Ours alone takes odd sides there.
    ("resnet50_blur", (75, 70), "resnetblur50"),
    ("resnet50d_blur", (70, 75), "resnetblur50d"),
]


def make_source(name):
    base = 32 if "50" in name else 64
    deep = zoo.parse(name).architecture.endswith("d")
    state = torch_states.resnet("50" in name, base=base, deep=deep)
    return convert.Source("it.safetensors", "0" * 64, state)


@pytest.mark.parametrize("name, size, theirs", marks.few(ROWS, ROWS[::2]))
def test_the_network_computes_what_it_computes_there(short, name, size, theirs):
    source = make_source(name)
    model = convert.convert(source, name, (None, None, 3))
    images = graphs.some_images((*size, 3))
    pixels = ((images / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    low_pass = LOW_PASS.get(name.partition("_")[2])
    expected = torch_networks.resnet(source.state, pixels, low_pass=low_pass)
    found = ops.convert_to_numpy(model(images, training=False))
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert np.std(expected) > 0.1
    assert theirs is None or convert.ours(theirs) == name


@pytest.mark.filterwarnings("ignore:'it.safetensors' was trained without blurpool")
@pytest.mark.parametrize(
    "name",
    marks.few(["resnet50_aa", "resnet50d_blur", "resnet18_blurpool"], ["resnet50_aa"]),
)
def test_a_low_pass_filter_is_no_plain_subsampling(short, name):
    source = make_source(name)
    images = graphs.some_images((96, 96, 3))
    model = convert.convert(source, name, (96, 96, 3))
    plain = convert.convert(source, zoo.parse(name).architecture, (96, 96, 3))
    difference = model(images, training=False) - plain(images, training=False)
    assert ops.max(ops.abs(difference)) > 0.1


@pytest.mark.parametrize(
    "name",
    marks.few(["resnet50_aa", "resnet50_blur", "resnet50d_aa"], ["resnet50_blur"]),
)
def test_methods_are_added_to_it(name):
    model = graphs.build_graph(f"{name}_smooth_mcdo_flipout")
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("SpatialSmoothing") == 4
    assert kinds.count("MCDropout") == kinds.count("Conv2DFlipout") == 16
    assert kinds.count("DenseFlipout") == 1


def test_shortcuts_keep_their_strides_in_timm_and_not_in_blurpool():
    for name, strides in (("aa", 2), ("blur", 2), ("blurpool", 1)):
        skip = graphs.build_graph(f"resnet18_{name}").get_layer(
            "stage2_block1_skip_conv"
        )
        assert skip.strides == (strides, strides)


def test_filters_cannot_be_combined():
    for pair in ("aa_blur", "blur_blurpool", "aa_blurpool"):
        with pytest.raises(ValueError, match="both replace the `downsample`"):
            zoo.build(f"resnet18_{pair}")


def test_the_stem_of_a_deep_network_is_refused_elsewhere(short):
    source = make_source("resnet18d")
    with pytest.raises(ValueError, match=r"no 'conv1\.weight', which 'stem_conv/ker"):
        convert.convert(source, "resnet18", (64, 64, 3))
    source = make_source("resnet18")
    with pytest.raises(ValueError, match=r"no 'conv1\.0\.weight', which 'stem_1_conv"):
        convert.convert(source, "resnet18d", (64, 64, 3))


@pytest.mark.parametrize(
    "name, trained, words",
    [
        ("resnet18_aa_smooth", "resnetaa18", "without smooth:"),
        ("resnet18_smooth", "resnetaa18", "with aa, without smooth:"),
        ("resnet18", "resnetblur18", "with blur:"),
        ("resnet18_aa", "resnet18", "without aa:"),
        ("resnet18_aa_mcdo", None, "without mcdo:"),
    ],
)
def test_what_the_weights_were_trained_with_is_said(short, name, trained, words):
    config = {"architecture": trained} if trained else {}
    source = convert.Source("it", "0" * 64, torch_states.resnet(), config)
    with pytest.warns(UserWarning, match=f"'it' was trained {words} '{name}' has"):
        convert.convert(source, name, (64, 64, 3))


def test_what_fits_is_not_warned_of(short):
    config = {"architecture": "resnetaa18"}
    source = convert.Source("it", "0" * 64, torch_states.resnet(), config)
    assert source.network == "resnet18_aa"
    convert.convert(source, "resnet18_aa", (64, 64, 3))
