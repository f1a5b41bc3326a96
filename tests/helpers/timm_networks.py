r"""What a network of timm or torchvision computes, for `test_timm.py`.

    PYTHON tests/helpers/timm_networks.py timm:resnet50 FOLDER 224x224 160x96

PYTHON has torch, timm and torchvision. Weights and statistics are random, such that no
feature map grows or dies; FOLDER gets them as `model.safetensors`, of torchvision as
`model.pth`, and images, logits and the feature map of each stage as `outputs.npz`.
"""

import pathlib
import sys

import numpy as np
import safetensors.torch
import timm
import torch
import torchvision

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def make(library, name):
    """Returns a network with 10 classes."""
    torch.manual_seed(0)
    if library == "timm":
        return timm.create_model(name, num_classes=10)
    return getattr(torchvision.models, name)(num_classes=10)


def randomize(network):
    """Gives each normalization statistics that are near those of its inputs."""
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d) and module.bias is not None:
            torch.nn.init.normal_(module.bias, 0, 0.3)
    for norm in norms:
        norm.momentum = 1.0  # The statistics become those of the images below.
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, 0, 0.3)
    with torch.no_grad():
        network.train()(torch.randn(2, 3, 224, 224))
        for norm in norms:
            spread = norm.running_var.sqrt()
            norm.running_mean += 0.2 * spread * torch.randn_like(spread)
            norm.running_var *= torch.empty_like(spread).uniform_(0.8, 1.6)
    network.eval()


def stages(network):
    """The modules whose output, or with `pool` whose input, ends a stage."""
    if hasattr(network, "layer1"):
        return [getattr(network, f"layer{i}") for i in range(1, 5)]
    return [m for m in network.features if isinstance(m, torch.nn.MaxPool2d)]


def run(network, images):
    """Returns the logits and the feature maps, with channels last."""
    maps = []

    def keep(module, inputs, output):
        pool = isinstance(module, torch.nn.MaxPool2d)
        maps.append((inputs[0] if pool else output).permute(0, 2, 3, 1).numpy())

    hooks = [module.register_forward_hook(keep) for module in stages(network)]
    mean, std = (torch.tensor(x, dtype=float).view(1, 3, 1, 1) for x in (MEAN, STD))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).double() / 255
    with torch.no_grad():
        logits = network((pixels - mean) / std).numpy()
    for hook in hooks:
        hook.remove()
    return logits, maps


def main(name, folder, *sizes):
    """Writes the weights and what the network gives at each size."""
    library, _, name = name.partition(":")
    network, folder = make(library, name), pathlib.Path(folder)
    randomize(network)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    if library == "timm":
        safetensors.torch.save_file(state, folder / "model.safetensors")
    else:
        torch.save(state, folder / "model.pth")
    outputs, rng = {}, np.random.default_rng(0)
    for size in sizes:
        shape = 2, *map(int, size.split("x")), 3
        images = rng.integers(0, 256, shape).astype("uint8")
        logits, maps = run(network.double(), images)
        outputs |= {f"{size}_images": images, f"{size}_logits": logits}
        outputs |= {f"{size}_stage{i}": x for i, x in enumerate(maps, 1)}
    np.savez(folder / "outputs.npz", **outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
