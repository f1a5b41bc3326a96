"""Which weights of a PyTorch network are which of ours: one table of names."""

import re
from collections.abc import Iterable

# A layer of ours; the modules of torchvision and timm that may hold its weights. Blocks
# count from 0 there; `place` is that of a convolution of VGG among all its layers.
_BLOCK = r"stage(?P<stage>\d+)_block(?P<block>\d+)"
MODULES = {
    r"stem_conv": ("conv1",),
    r"stem_norm": ("bn1",),
    rf"{_BLOCK}_(?P<number>\d)_conv": ("layer{stage}.{block}.conv{number}",),
    rf"{_BLOCK}_(?P<number>\d)_norm": ("layer{stage}.{block}.bn{number}",),
    rf"{_BLOCK}_skip_conv": ("layer{stage}.{block}.downsample.0",),
    rf"{_BLOCK}_skip_norm": ("layer{stage}.{block}.downsample.1",),
    rf"{_BLOCK}_conv": ("features.{place}",),
    rf"{_BLOCK}_norm": ("features.{next}",),
    r"hidden_1": ("pre_logits.fc1", "classifier.0"),
    r"hidden_2": ("pre_logits.fc2", "classifier.3"),
    r"head": ("fc", "head.fc", "classifier.6"),
}
VARIABLES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def modules(layers: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Returns the modules that may hold the weights of layers.

    Args:
        layers: Names of all layers with weights of a network of ours.

    Returns:
        Names of modules by the name of the layer, which is left out if no module of
        torchvision or timm is like it.

    Example:

    >>> modules(["stage2_block1_skip_conv", "head"])["stage2_block1_skip_conv"]
    ('layer2.0.downsample.0',)
    """
    layers = list(layers)
    places = _places(layers)
    found = {}
    for layer in layers:
        for pattern, templates in MODULES.items():
            if match := re.fullmatch(pattern, layer):
                words = match.groupdict()
                if "block" in words:
                    place = places.get((int(words["stage"]), int(words["block"])), 0)
                    words |= {"place": place, "next": place + 1}
                    words["block"] = int(words["block"]) - 1
                found[layer] = tuple(t.format(**words) for t in templates)
    return found


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
