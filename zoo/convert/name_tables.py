"""Which weights of other libraries are which of ours: a table of names for each."""

import dataclasses
import re
from collections.abc import Iterable, Mapping


@dataclasses.dataclass(frozen=True)
class Library:
    """How other networks call and lay out their weights.

    Attributes:
        name: For messages.
        modules: The modules that may hold the weights of a layer of ours, by a pattern
            of its name.
        variables: Their names of our variables.
        separator: Between the module and the variable.
        transposed: Whether the output channels of a kernel come first.
    """

    name: str
    modules: Mapping[str, tuple[str, ...]]
    variables: Mapping[str, str]
    separator: str
    transposed: bool

    def key(self, module: str, variable: str = "kernel") -> str:
        """Returns the name of a variable of a module of theirs."""
        return f"{module}{self.separator}{self.variables[variable]}"

    def places(self, layers: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Returns the modules that may hold the weights of layers.

        Args:
            layers: Names of all layers with weights of a network of ours.

        Returns:
            Names of modules by the name of the layer, which is left out if no module
            of the library is like it.

        Example:

        >>> layers = ["stage2_block1_skip_conv", "head"]
        >>> KERAS_HUB.places(layers)["stage2_block1_skip_conv"]
        ('stack1_block0_0_conv',)
        """
        layers = list(layers)
        places = _places(layers)
        found = {}
        for layer in layers:
            for pattern, templates in self.modules.items():
                if match := re.fullmatch(pattern, layer):
                    words = match.groupdict()
                    if "block" in words:
                        stage, block = int(words["stage"]), int(words["block"])
                        place = places.get((stage, block), 0)
                        words |= {"place": place, "next": place + 1}
                        words |= {"stack": stage - 1, "block": block - 1}
                    found[layer] = tuple(t.format(**words) for t in templates)
        return found


def library(state: Iterable[str]) -> Library:
    """Returns the library whose weights have names like these."""
    return KERAS_HUB if any(KERAS_HUB.separator in key for key in state) else TORCH


def ours(name: str) -> str:
    """Returns our name of a network of theirs.

    Args:
        name: Name of timm, or of keras_hub without the data; one that is not known
            comes back as it is.

    Example:

    >>> ours("resnetaa50d"), ours("vgg16_bn"), ours("resnet_vd_50")
    ('resnet50d_aa', 'vgg16_mlp', 'resnet50d')
    """
    for pattern, template in NETWORKS.items():
        if match := re.fullmatch(pattern, name):
            return match.expand(template)
    return name


def _places(layers) -> dict[tuple[int, int], int]:
    """Returns the places of VGG's convolutions among its layers.

    Each convolution has a normalization and a rectifier behind it, each stage a
    pooling.
    """
    matches = [re.fullmatch(f"{_BLOCK}_conv", layer) for layer in layers]
    blocks = sorted((int(m["stage"]), int(m["block"])) for m in matches if m)
    return {
        (stage, block): 3 * number + stage - 1
        for number, (stage, block) in enumerate(blocks)
    }


# A layer of ours. Blocks of others count from 0, and so do the stacks of keras_hub;
# `place` is that of a convolution of VGG among all its layers. Of several modules the
# first one that is there is meant: an average before a projection moves its place.
_BLOCK = r"stage(?P<stage>\d+)_block(?P<block>\d+)"
_TORCH = {
    r"stem_conv": ("conv1",),
    r"stem_norm": ("bn1",),
    r"stem_1_conv": ("conv1.0",),
    r"stem_1_norm": ("conv1.1",),
    r"stem_2_conv": ("conv1.3",),
    r"stem_2_norm": ("conv1.4",),
    r"stem_3_conv": ("conv1.6",),
    r"stem_3_norm": ("bn1",),
    rf"{_BLOCK}_(?P<number>\d)_conv": ("layer{stage}.{block}.conv{number}",),
    rf"{_BLOCK}_(?P<number>\d)_norm": ("layer{stage}.{block}.bn{number}",),
    rf"{_BLOCK}_skip_conv": tuple(
        f"layer{{stage}}.{{block}}.downsample.{i}" for i in (0, 1)
    ),
    rf"{_BLOCK}_skip_norm": tuple(
        f"layer{{stage}}.{{block}}.downsample.{i}" for i in (2, 1)
    ),
    rf"{_BLOCK}_conv": ("features.{place}",),
    rf"{_BLOCK}_norm": ("features.{next}",),
    r"hidden_1": ("pre_logits.fc1", "classifier.0"),
    r"hidden_2": ("pre_logits.fc2", "classifier.3"),
    r"head": ("fc", "head.fc", "classifier.6"),
}
TORCH = Library(
    "torchvision or timm",
    _TORCH,
    {
        "kernel": "weight",
        "bias": "bias",
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    },
    separator=".",
    transposed=True,
)
_STACK = "stack{stack}_block{block}"
_KERAS_HUB = {
    r"stem_conv": ("conv1_conv",),
    r"stem_norm": ("conv1_bn",),
    r"stem_(?P<number>\d)_conv": ("conv{number}_conv",),
    r"stem_(?P<number>\d)_norm": ("conv{number}_bn",),
    rf"{_BLOCK}_(?P<number>\d)_conv": (f"{_STACK}_{{number}}_conv",),
    rf"{_BLOCK}_(?P<number>\d)_norm": (f"{_STACK}_{{number}}_bn",),
    rf"{_BLOCK}_skip_conv": (f"{_STACK}_0_conv",),
    rf"{_BLOCK}_skip_norm": (f"{_STACK}_0_bn",),
    r"head": ("predictions",),
}
KERAS_HUB = Library(
    "keras_hub",
    _KERAS_HUB,
    {key: key for key in TORCH.variables},
    separator="/",
    transposed=False,
)
NETWORKS = {
    r"resnet(aa|blur)(\d+d?)": r"resnet\2_\1",
    r"vgg(\d+)_bn": r"vgg\1_mlp",
    r"resnet_(\d+)": r"resnet\1",
    r"resnet_vd_(\d+)": r"resnet\1d",
}
