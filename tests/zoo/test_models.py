"""What every architecture consists of, and where methods put their layers."""

import itertools
import re

import keras
import pytest

from tests.zoo.graphs import SMALLEST, build_graph, count
from zoo import weights
from zoo.methods import METHODS
from zoo.registry import ARCHITECTURES

PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    # torchvision's `_bn` models have a bias in each convolution, which the
    # normalization behind it takes out.
    "vgg11_mlp": 132_868_840 - 2_752,
    "vgg13_mlp": 133_053_736 - 2_944,
    "vgg16_mlp": 138_365_992 - 4_224,
    "vgg19_mlp": 143_678_248 - 5_504,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts_are_the_published_ones(name):
    assert count(build_graph(name)) == PUBLISHED[name]


def cifar_parameters(num_layers):
    """Section 4.2 of the ResNet paper: 6n + 2 layers of 16, 32 and 64 filters."""
    n = (num_layers - 2) // 6
    widths = [3, 16, *[16] * 2 * n, *[32] * 2 * n, *[64] * 2 * n]
    convs = sum(9 * a * b for a, b in itertools.pairwise(widths))
    return convs + 2 * sum(widths[1:]) + 64 * 10 + 10


@pytest.mark.parametrize(
    "num_layers, published", [(20, 269_722), (32, 464_154), (44, 658_586)]
)
def test_the_table_of_the_paper_gives_the_known_counts(num_layers, published):
    assert cifar_parameters(num_layers) == published


@pytest.mark.parametrize("num_layers", [20, 32, 44, 56, 110])
def test_cifar_networks_have_the_parameters_of_the_paper(num_layers):
    model = build_graph(f"resnet{num_layers}", (32, 32, 3), 10)
    assert count(model) == cifar_parameters(num_layers)
    assert count(model) == 1_727_962 or num_layers != 110


@pytest.mark.parametrize("method", ["smooth", "mcdo", "blurpool"])
@pytest.mark.parametrize("name", SMALLEST)
def test_methods_without_weights_add_none(name, method):
    assert count(build_graph(f"{name}_{method}")) == count(build_graph(name))


# Side and filters at the end of each stage.
STAGES = [
    ("resnet18", 224, [(56, 64), (28, 128), (14, 256), (7, 512)]),
    ("resnet34", 32, [(32, 64), (16, 128), (8, 256), (4, 512)]),
    ("resnet50", 224, [(56, 256), (28, 512), (14, 1024), (7, 2048)]),
    ("resnet101", 64, [(16, 256), (8, 512), (4, 1024), (2, 2048)]),
    ("resnet152", 63, [(63, 256), (32, 512), (16, 1024), (8, 2048)]),
    ("resnet20", 28, [(28, 16), (14, 32), (7, 64)]),
    ("resnet110", 64, [(64, 16), (32, 32), (16, 64)]),
    ("vgg11", 224, [(224, 64), (112, 128), (56, 256), (28, 512), (14, 512)]),
    ("resnet18_smooth_blurpool", 224, [(56, 64), (28, 128), (14, 256), (7, 512)]),
    ("vgg16_blurpool", 64, [(64, 64), (32, 128), (16, 256), (8, 512), (4, 512)]),
    ("vgg16", 33, [(33, 64), (16, 128), (8, 256), (4, 512), (2, 512)]),
]


@pytest.mark.parametrize("name, side, stages", STAGES, ids=[row[0] for row in STAGES])
def test_stages_have_the_sizes_of_the_paper(name, side, stages):
    model = build_graph(name, (side, side, 3), 10)
    for stage, (expected, filters) in enumerate(stages, 1):
        shape = model.get_layer(f"stage{stage}_smooth").output.shape
        assert shape == (None, expected, expected, filters)
    assert f"stage{len(stages) + 1}_smooth" not in {la.name for la in model.layers}


DEPTHS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
    **{f"resnet{6 * n + 2}": (n, n, n) for n in (3, 5, 7, 9, 18)},
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
BOTTLENECKS = ("resnet50", "resnet101", "resnet152")


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
    assert DEPTHS.keys() == ARCHITECTURES.keys()


@pytest.mark.parametrize("name", DEPTHS)
def test_mc_dropout_is_in_front_of_the_last_convolution_of_a_branch(name):
    model = build_graph(f"{name}_smooth_mcdo_flipout")
    dropouts = layers_of(model, "MCDropout")
    assert list(dropouts) == [f"{block}_dropout" for block in blocks(name)]
    assert {layer.rate for layer in dropouts.values()} == {0.3}
    assert not any(layer.channelwise for layer in dropouts.values())
    for block in blocks(name):
        if name.startswith("vgg"):  # Behind the rectifier of each convolution.
            assert producer(dropouts[f"{block}_dropout"]) == f"{block}_relu"
            continue
        last = 3 if name in BOTTLENECKS else 2
        assert producer(dropouts[f"{block}_dropout"]) == f"{block}_{last - 1}_relu"
        conv = model.get_layer(f"{block}_{last}_conv")
        assert producer(conv) == f"{block}_dropout"


@pytest.mark.parametrize("name", DEPTHS)
def test_gaussian_weights_are_in_the_inner_convolutions_and_the_head(name):
    model = build_graph(f"{name}_smooth_mcdo_flipout")
    inner = [f"{block}_2_conv" for block in blocks(name)]
    if name.startswith("vgg"):
        inner = [f"{block}_conv" for block in blocks(name)][1:]
    assert list(layers_of(model, "Conv2DFlipout")) == inner
    assert list(layers_of(model, "DenseFlipout")) == ["head"]


@pytest.mark.parametrize("name", DEPTHS)
def test_smoothing_ends_each_stage(name):
    model = build_graph(f"{name}_smooth_mcdo_flipout")
    smooth = layers_of(model, "SpatialSmoothing")
    assert list(smooth) == [f"stage{i}_smooth" for i in range(1, len(DEPTHS[name]) + 1)]
    for stage, depth in enumerate(DEPTHS[name], 1):
        last = f"stage{stage}_block{depth}"
        last += "_dropout" if name.startswith("vgg") else "_relu"
        assert producer(smooth[f"stage{stage}_smooth"]) == last
    assert producer(model.get_layer("pool")) == f"stage{len(DEPTHS[name])}_smooth"


@pytest.mark.parametrize("name", ["resnet18", "resnet20", "resnet50", "vgg11"])
def test_blur_pooling_takes_every_stride_but_that_of_the_stem(name):
    model = build_graph(f"{name}_blurpool")
    pools = layers_of(model, "BlurPool2D")
    for layer in model.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.MaxPooling2D)):
            strides = (2, 2) if layer.name == "stem_conv" else (1, 1)
            cifar = name.startswith("resnet") and len(DEPTHS[name]) == 3
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


@pytest.mark.parametrize("method", ["", *METHODS])
@pytest.mark.parametrize("name", ["resnet18", "resnet20", "vgg11"])
def test_names_of_layers_are_of_the_documented_form(name, method):
    model = build_graph("_".join(filter(None, (name, method))))
    odd = [layer.name for layer in model.layers if not NAMES.fullmatch(layer.name)]
    assert not odd
    assert {"images", "normalize", "head", "stage1_smooth"} <= {
        layer.name for layer in model.layers
    }


def test_names_of_weights_are_these():
    names = list(weights.variables(build_graph("resnet18")))
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
    smallest = {}
    for name, row in ARCHITECTURES.items():
        size = count(build_graph(name))
        family = smallest.setdefault(row.func, (size, name))
        smallest[row.func] = min(family, (size, name))
    assert {name for _, name in smallest.values()} == set(SMALLEST)
