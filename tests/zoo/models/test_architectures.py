"""What every architecture consists of, and where methods put their layers."""

import re

import keras
import pytest

from tests.helpers import marks
from tests.helpers.graphs import SMALLEST, build_graph, deep_is_slow, new_graph
from zoo.models.methods import METHODS
from zoo.presets import weight_file
from zoo.registry import CLASSIFIERS

# Side and filters at the end of each stage.
STAGES = [
    ("resnet18", 224, [(56, 64), (28, 128), (14, 256), (7, 512)]),
    ("resnet34", 32, [(32, 64), (16, 128), (8, 256), (4, 512)]),
    ("resnet50", 224, [(56, 256), (28, 512), (14, 1024), (7, 2048)]),
    ("resnet50", 64, [(16, 256), (8, 512), (4, 1024), (2, 2048)]),
    ("resnet50", 63, [(63, 256), (32, 512), (16, 1024), (8, 2048)]),
    ("resnet50_aa", 224, [(56, 256), (28, 512), (14, 1024), (7, 2048)]),
    ("resnet50d_aa", 102, [(25, 256), (13, 512), (7, 1024), (4, 2048)]),
    ("resnet18d_blur", 99, [(25, 64), (13, 128), (7, 256), (4, 512)]),
    ("resnet18d", 63, [(63, 64), (32, 128), (16, 256), (8, 512)]),
    ("resnet20", 28, [(28, 16), (14, 32), (7, 64)]),
    ("resnet20", 64, [(64, 16), (32, 32), (16, 64)]),
    ("vgg11", 224, [(224, 64), (112, 128), (56, 256), (28, 512), (14, 512)]),
    ("resnet18_smooth_blurpool", 224, [(56, 64), (28, 128), (14, 256), (7, 512)]),
    ("vgg16_blurpool", 64, [(64, 64), (32, 128), (16, 256), (8, 512), (4, 512)]),
    ("vgg16", 33, [(33, 64), (16, 128), (8, 256), (4, 512), (2, 512)]),
    ("prevgg13", 32, [(32, 64), (16, 128), (8, 256), (4, 512), (2, 512)]),
    ("resnext50_32x4d", 224, [(56, 256), (28, 512), (14, 1024), (7, 2048)]),
    ("wide_resnet50_2", 32, [(32, 256), (16, 512), (8, 1024), (4, 2048)]),
    ("preresnet18", 224, [(56, 64), (28, 128), (14, 256)]),
    ("preresnet50_blurpool", 63, [(63, 256), (32, 512), (16, 1024)]),
    ("wide_resnet28_10", 32, [(32, 160), (16, 320)]),
    ("alexnet", 224, [(55, 64), (27, 192), (13, 256)]),
    ("alexnet", 32, [(32, 64), (15, 192), (7, 256)]),
    ("lenet5", 28, [(28, 6), (10, 16)]),
]
DEEP = [
    ("resnet101", 64, [(16, 256), (8, 512), (4, 1024), (2, 2048)]),
    ("resnet152", 63, [(63, 256), (32, 512), (16, 1024), (8, 2048)]),
    ("resnet110", 64, [(64, 16), (32, 32), (16, 64)]),
]
# Sizes that others have too.
LIKE_OTHERS = STAGES[3:8:2] + STAGES[11:18:3]
STAGES = marks.few([*STAGES, *DEEP], [*LIKE_OTHERS, *DEEP])


@pytest.mark.parametrize("name, side, stages", STAGES)
def test_stages_have_the_sizes_of_the_paper(name, side, stages):
    model = build_graph(name, (side, side, 3), 10)
    for stage, (expected, filters) in enumerate(stages, 1):
        shape = model.get_layer(f"stage{stage}_smooth").output.shape
        assert shape == (None, expected, expected, filters)
    assert f"stage{len(stages) + 1}_smooth" not in {la.name for la in model.layers}


CIFAR = {6 * n + 2: (n, n, n) for n in (3, 5, 7, 9, 18)}
DEPTHS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
    "resnext50_32x4d": (3, 4, 6, 3),
    "resnext101_32x8d": (3, 4, 23, 3),
    "wide_resnet50_2": (3, 4, 6, 3),
    "wide_resnet101_2": (3, 4, 23, 3),
    **{f"resnet{n}": depths for n, depths in CIFAR.items()},
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
    "alexnet": (1, 1, 3),
    "lenet5": (1, 1),
    "mlp": (),
    "alter_resnet18": (2, 2, 2, 2),
    "alter_resnet50": (3, 4, 6, 4),
}
DEPTHS |= {f"resnet{n}d": DEPTHS[f"resnet{n}"] for n in (18, 34, 50, 101, 152)}
PLAIN = [name for name in DEPTHS if re.fullmatch(r"(resnet|vgg)\d+", name)]
DEPTHS |= {f"pre{name}": DEPTHS[name] for name in PLAIN}
DEPTHS |= {"preresnet164": (18, 18, 18), "wide_resnet28_10": (4, 4, 4)}
BOTTLENECK = re.compile(r".*resnex?t(50|101|152|164).*")
CHAIN = re.compile(r".*vgg.*|alexnet|lenet5|mlp")
PRE = re.compile(r"(pre|alter_).*|wide_resnet28_10")


def blocks(name):
    """Prefixes of the names in every block."""
    return [
        f"stage{stage}_block{block}"
        for stage, depth in enumerate(DEPTHS[name], 1)
        for block in range(1, depth + 1)
    ]


def producer(layer):
    """The name of the layer in front of a layer."""
    return layer.input._keras_history.operation.name


def layers_of(model, kind):
    return {la.name: la for la in model.layers if type(la).__name__ == kind}


def test_the_depths_are_those_of_every_architecture():
    of_numbers = {"mlp50", "mlp64x2", "mlp1024x3"}  # See test_regression.py.
    assert DEPTHS.keys() == CLASSIFIERS.keys() - of_numbers


@pytest.mark.parametrize("name", deep_is_slow(DEPTHS, plain=True))
def test_mc_dropout_is_in_front_of_the_last_convolution_of_a_branch(name):
    model = build_graph(f"{name}_smooth_mcdo_flipout")
    dropouts = layers_of(model, "MCDropout")
    hidden = [d for d in dropouts if d.startswith("hidden_")]
    assert list(dropouts) == [*(f"{b}_dropout" for b in blocks(name)), *hidden]
    assert len(hidden) == (2 if name in ("lenet5", "mlp") else 0)
    for dropout in hidden:
        assert producer(dropouts[dropout]) == dropout.replace("dropout", "relu")
    assert {layer.rate for layer in dropouts.values()} == {0.3}
    assert not any(layer.channelwise for layer in dropouts.values())
    names = {layer.name for layer in model.layers}
    for block in blocks(name):
        source = producer(dropouts[f"{block}_dropout"])
        if CHAIN.fullmatch(name):  # Behind each convolution, and its rectifier if any.
            assert source == f"{block}_{'conv' if PRE.fullmatch(name) else 'relu'}"
            continue
        if f"{block}_attention" in names:
            assert source == f"{block}_2_norm"
            assert producer(model.get_layer(f"{block}_attention")) == f"{block}_dropout"
            continue
        last = 3 if BOTTLENECK.fullmatch(name) else 2
        number = last if PRE.fullmatch(name) else last - 1
        assert source == f"{block}_{number}_relu"
        conv = model.get_layer(f"{block}_{last}_conv")
        assert producer(conv) == f"{block}_dropout"


@pytest.mark.parametrize("name", deep_is_slow(DEPTHS, plain=True))
def test_gaussian_weights_are_in_the_inner_convolutions_and_the_head(name):
    model = build_graph(f"{name}_smooth_mcdo_flipout")
    names = {layer.name for layer in model.layers}
    inner = [
        f"{block}_{1 if f'{block}_attention' in names else 2}_conv"
        for block in blocks(name)
    ]
    if CHAIN.fullmatch(name):
        inner = [f"{block}_conv" for block in blocks(name)][1:]
    assert list(layers_of(model, "Conv2DFlipout")) == inner
    assert list(layers_of(model, "DenseFlipout")) == ["head"]


@pytest.mark.parametrize("name", deep_is_slow(DEPTHS, plain=True))
def test_smoothing_ends_each_stage(name):
    model = build_graph(f"{name}_smooth_mcdo_flipout")
    smooth = layers_of(model, "SpatialSmoothing")
    chain, pre = CHAIN.fullmatch(name), PRE.fullmatch(name)
    # The normalization behind the last stage of a pre-activation ResNet would follow.
    depths = DEPTHS[name] if chain or not pre else DEPTHS[name][:-1]
    assert list(smooth) == [f"stage{i + 1}_smooth" for i in range(len(depths))]
    for stage, depth in enumerate(depths, 1):
        last = "dropout" if chain else "add" if pre else "relu"
        source = producer(smooth[f"stage{stage}_smooth"])
        assert source == f"stage{stage}_block{depth}_{last}"
    if not depths:
        return
    source = producer(model.get_layer("pool"))
    assert source == (f"stage{len(depths)}_smooth" if chain or not pre else "pool_relu")


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet20", "resnet50", "preresnet18", "vgg11"]
)
def test_blur_pooling_takes_every_stride_but_that_of_the_stem(name):
    model = build_graph(f"{name}_blurpool")
    pools = layers_of(model, "BlurPool2D")
    for layer in model.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.MaxPooling2D)):
            strides = (2, 2) if layer.name == "stem_conv" else (1, 1)
            cifar = len(DEPTHS[name]) == 3
            assert layer.strides == ((1, 1) if cifar else strides), layer.name
    num_stages = len(DEPTHS[name])
    if name.startswith("vgg"):
        assert len(pools) == num_stages - 1
    else:  # A branch and a shortcut for each stage but the first; the pool of the stem.
        assert len(pools) == 2 * (num_stages - 1) + (num_stages == 4)


NAMES = re.compile(
    r"images|normalize|stem_\w+|stage\d_block\d+_\w+|stage\d_smooth|stage\d_pool\w*"
    r"|pool\w*|flatten|hidden_\d\w*|head(_dropout)?"
)


ENDS = ["", *(f"_{method}" for method in METHODS if method != "nomu")]
# The narrow chains have too few channels for masks, and no residual blocks.
NAMED = [
    name + end
    for name in ("resnet18", *SMALLEST, "prevgg11")
    for end in ENDS
    if end not in ("_masks", "_msa") or name in ("resnet18", *SMALLEST[:2])
]
NINE_OF_TEN = [name for n, name in enumerate(NAMED[len(ENDS) :]) if n % 10]
# What others are like, and what another test has.
NINE_OF_TEN += [f"resnet18_antialias{place}" for place in ("conv", "skip", "pool")]
NINE_OF_TEN += [f"resnet18_{name}" for name in ("gelu", "swish", "qrelu", "lowpass")]


@pytest.mark.parametrize("name", marks.few(NAMED, NINE_OF_TEN))
def test_names_of_layers_are_of_the_documented_form(short, name):
    model = new_graph(name)
    odd = [layer.name for layer in model.layers if not NAMES.fullmatch(layer.name)]
    assert not odd
    stages = {"flatten"} if name.startswith("mlp") else {"stage1_smooth"}
    assert {"images", "normalize", "head", *stages} <= {
        layer.name for layer in model.layers
    }


def test_names_of_weights_are_these():
    names = list(weight_file.variables(build_graph("resnet18")))
    convs = [name.removesuffix("/kernel") for name in names if "conv/kernel" in name]
    assert convs[:6] == [
        "stem_conv",
        *(f"stage1_block{i}_{j}_conv" for i in (1, 2) for j in (1, 2)),
        "stage2_block1_1_conv",
    ]
    skips = {name.partition("/")[0] for name in names if "skip" in name}
    expected = [f"stage{i}_block1_skip" for i in (2, 3, 4)]
    assert skips == {f"{skip}_{kind}" for skip in expected for kind in ("conv", "norm")}
    assert names[1:5] == [
        f"stem_norm/{name}"
        for name in ("gamma", "beta", "moving_mean", "moving_variance")
    ]
    assert names[-2:] == ["head/kernel", "head/bias"]


def test_every_family_has_its_smallest_network_here():
    families = {}
    for name, row in CLASSIFIERS.items():
        form = row.keywords.get("preactivation", False)
        size = row.keywords.get("filters", 64), sum(row.keywords["depths"]), form, name
        families.setdefault(row.func, []).append(size)
    smallest = {min(sizes)[-1] for sizes in families.values()}
    assert smallest == set(SMALLEST)
