"""CIFAR ResNets of others, whose shortcuts pad new channels on both sides.

Where a stage has more channels than the one before, a shortcut without weights (option
A of He et al., 2016) fills them with zeros: here behind the old ones, there half before
and half behind. So the channels of the residual stream have another order, and weights
that read or write it are permuted. It is the same function.
"""

from collections.abc import Mapping

import numpy as np

_HEAD = "linear"  # Of akamaster/pytorch_resnet_cifar10; torchvision has `fc`.
_IMAGE_SIZE = 32


def is_padded(state: Mapping[str, np.ndarray]) -> bool:
    """Returns whether a state dict is that of such a network.

    Args:
        state: Arrays by their names there.
    """
    others = any(".downsample." in key or ".shortcut." in key for key in state)
    return {f"{_HEAD}.weight", "layer3.0.conv2.weight"} <= set(state) and not others


def config(state: Mapping[str, np.ndarray]) -> dict[str, object]:
    """Returns what is known of such a network without being told."""
    return {"input_size": (3, _IMAGE_SIZE, _IMAGE_SIZE)} if is_padded(state) else {}


def reorder(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the state with the channels in the order in which they are here.

    Args:
        state: State dict of such a network; another one is returned as it is.

    Returns:
        The same with the names of torchvision.
    """
    if not is_padded(state):
        return dict(state)
    orders = _orders(state)
    return {
        key.replace(f"{_HEAD}.", "fc."): _reorder(key, array, orders)
        for key, array in state.items()
    }


def _orders(state) -> dict[int, np.ndarray]:
    """Returns by stage which of their channels each of ours is."""
    orders, order = {}, np.arange(state["layer1.0.conv2.weight"].shape[0])
    stage = 1
    while (key := f"layer{stage}.0.conv2.weight") in state:
        width = state[key].shape[0]
        before = (width - len(order)) // 2
        order = order + before
        order = np.concatenate([order, np.setdiff1d(np.arange(width), order)])
        orders[stage] = order
        stage += 1
    return orders


def _reorder(key, array, orders):
    if array.ndim == 0:
        return array
    if key == f"{_HEAD}.weight":
        return array[:, orders[max(orders)]]
    if not key.startswith("layer"):
        return array
    stage, block, name = key.removeprefix("layer").split(".")[:3]
    stage, before = int(stage), max(1, int(stage) - (block == "0"))
    if name == "conv1":
        return array[:, orders[before]]
    return array[orders[stage]] if name in ("conv2", "bn2") else array
