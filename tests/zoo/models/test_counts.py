"""How many parameters every architecture has."""

import itertools

import pytest

from tests.helpers import marks
from tests.helpers.graphs import SMALLEST, build_graph, count, deep_is_slow

PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    # timm's.
    "resnet18d": 11_708_744,
    "resnet34d": 21_816_904,
    "resnet50d": 25_576_264,
    "resnet101d": 44_568_392,
    "resnet152d": 60_212_040,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
    # timm's `resnetv2_*`.
    "preresnet50": 25_549_352,
    "preresnet101": 44_541_480,
    "preresnet152": 60_185_128,
    # torchvision's pools to 6x6 pixels, and `mlp` to 7x7.
    "alexnet_mlp": 61_100_840 + (7 * 7 - 6 * 6) * 256 * 4096,
    # torchvision's `_bn` models have a bias in each convolution, which the
    # normalization behind it takes out.
    "vgg11_mlp": 132_868_840 - 2_752,
    "vgg13_mlp": 133_053_736 - 2_944,
    "vgg16_mlp": 138_365_992 - 4_224,
    "vgg19_mlp": 143_678_248 - 5_504,
    # Its normalizations are of the inputs: of 3 channels, but not of the last 512.
    "prevgg11_mlp": 132_868_840 - 2_752 - 2 * 512 + 2 * 3,
}


@pytest.mark.parametrize("name", deep_is_slow(PUBLISHED))
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


@pytest.mark.parametrize("num_layers", marks.few([20, 32, 44, 56, 110], [44, 56, 110]))
def test_cifar_networks_have_the_parameters_of_the_paper(num_layers):
    model = build_graph(f"resnet{num_layers}", (32, 32, 3), 10)
    assert count(model) == cifar_parameters(num_layers)
    assert count(model) == 1_727_962 or num_layers != 110


CIFAR = [f"preresnet{num_layers}" for num_layers in (20, 32, 44, 56, 110)]


@pytest.mark.parametrize("name", deep_is_slow(CIFAR))
def test_pre_activation_adds_the_projections_alone(name):
    model, num_layers = build_graph(name, (32, 32, 3), 10), int(name[9:])
    assert count(model) == cifar_parameters(num_layers) + 16 * 32 + 32 * 64


@pytest.mark.parametrize(
    "name, side, published",
    [
        *marks.few(
            [("preresnet164", 32, 1_703_258)], [("preresnet164", 32, 1_703_258)]
        ),
        ("wide_resnet28_10", 32, 36_479_194),
        ("lenet5", 28, 61_706),
        ("mlp", 28, 784 * 256 + 256 * 257 + 256 + 257 * 10),
    ],
)
def test_networks_for_ten_classes_have_the_published_parameters(name, side, published):
    channels = 1 if side == 28 else 3
    assert count(build_graph(name, (side, side, channels), 10)) == published


def test_projections_of_pre_activation_have_no_normalization():
    assert count(build_graph("preresnet18")) == 11_689_512 - 2 * (128 + 256 + 512)
    assert count(build_graph("preresnet34")) == 21_797_672 - 2 * (128 + 256 + 512)


@pytest.mark.parametrize(
    "method", marks.few(["smooth", "mcdo", "blurpool", "blur", "aa"], ["blur", "aa"])
)
@pytest.mark.parametrize("name", SMALLEST)
def test_methods_without_weights_add_none(name, method):
    assert count(build_graph(f"{name}_{method}")) == count(build_graph(name))
