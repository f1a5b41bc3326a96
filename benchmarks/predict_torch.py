"""Monte Carlo prediction in PyTorch; runs in an environment that has it.

`benchmarks.predict` starts it as `python -m benchmarks.predict_torch THREADS`.
"""

import functools
import sys

import torch
from torch import nn

from benchmarks import rounds

MEAN = torch.tensor([123.675, 116.28, 103.53]).reshape(3, 1, 1)
DEVIATION = torch.tensor([58.395, 57.12, 57.375]).reshape(3, 1, 1)


def conv_norm(inputs, filters, size, stride=1, conv=nn.Conv2d):
    """A convolution that keeps the size, without bias, and its normalization."""
    settings = {"stride": stride, "padding": size // 2, "bias": False}
    return [conv(inputs, filters, size, **settings), nn.BatchNorm2d(filters)]


class Block(nn.Module):
    """A residual block with dropout before the last convolution of its branch."""

    def __init__(self, inputs, filters, stride, bottleneck, rate, inner):
        super().__init__()
        narrow = filters // 4 if bottleneck else filters
        if bottleneck:
            layers = [*conv_norm(inputs, narrow, 1), nn.ReLU()]
            layers += [*conv_norm(narrow, narrow, 3, stride, inner), nn.ReLU()]
            last = conv_norm(narrow, filters, 1)
        else:
            layers = [*conv_norm(inputs, filters, 3, stride), nn.ReLU()]
            last = conv_norm(filters, filters, 3, 1, inner)
        drop = [nn.Dropout(rate)] if rate else []
        self.branch = nn.Sequential(*layers, *drop, *last)
        self.skip = nn.Identity()
        if inputs != filters:
            self.skip = nn.Sequential(*conv_norm(inputs, filters, 1, stride))

    def forward(self, x):
        return torch.relu(self.skip(x) + self.branch(x))


class ResNet(nn.Module):
    """ResNet v1.5 with a 3x3 stem, from pixels to logits.

    Args:
        depths: Blocks of each stage.
        bottleneck: Whether they are bottlenecks.
        rates: Dropout rate of each stage, then that before the head.
        bayesian: Whether inner convolutions and the head have Gaussian weights.
    """

    def __init__(self, depths, bottleneck, rates, bayesian=False):
        super().__init__()
        inner, head = nn.Conv2d, nn.Linear
        if bayesian:
            from torch_uncertainty.layers.bayesian import BayesConv2d, BayesLinear

            inner = functools.partial(BayesConv2d, sigma_init=1e-3)
            head = functools.partial(BayesLinear, sigma_init=1e-3)
        layers, width = [*conv_norm(3, 64, 3), nn.ReLU()], 64
        for stage, depth in enumerate(depths):
            filters = 64 * 2**stage * (4 if bottleneck else 1)
            for block in range(depth):
                stride = 2 if stage and not block else 1
                layers.append(
                    Block(width, filters, stride, bottleneck, rates[stage], inner)
                )
                width = filters
        drop = [nn.Dropout(rates[4])] if rates[4] else []
        pool = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.body = nn.Sequential(*layers, *pool, *drop, head(width, 10))

    def forward(self, x):
        return self.body((x - MEAN) / DEVIATION)


@functools.cache
def built(name: str) -> nn.Module:
    """Returns the network of `benchmarks.predict` of that name, in inference."""
    deep = name.startswith("resnet50")
    rates = RATES.get(name.partition("_")[2], [0] * 5)
    depths = (3, 4, 6, 3) if deep else (2, 2, 2, 2)
    model = ResNet(depths, deep, rates, name.endswith("flipout")).eval()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.train()
    return model


def wrapper(model: nn.Module, count: int):
    """Returns torch-uncertainty's wrapper, which puts all passes into one batch."""
    from torch_uncertainty.methods import mc_dropout

    return mc_dropout(model, count, on_batch=True).eval()


def make(network: str, kind: str, batch: int, count: int, weights: int):
    """Returns a function that runs passes.

    Args:
        network: Its name in `benchmarks.predict`.
        kind: `"loop"`, or `"wrapper"` for that of torch-uncertainty.
        batch: The number of images.
        count: The number of passes.
        weights: How many the network has in Keras.

    Raises:
        ValueError: If it has another number of weights here.
    """
    model = built(network)
    numbers = sum(parameter.numel() for parameter in model.parameters())
    if numbers != weights:
        raise ValueError(
            f"The networks called '{network}' differ. Received: weights={weights}, and "
            f"{numbers} in PyTorch."
        )
    images = torch.rand(batch, 3, 32, 32) * 255
    wrapped = wrapper(model, count) if kind == "wrapper" else None

    @torch.inference_mode()
    def run():
        if wrapped is None:
            return torch.stack([model(images) for _ in range(count)])
        return wrapped(images)

    return run


# Rates by method: of the four stages, and before the head.
RATES = {
    "mcdo": [0.3, 0.3, 0.3, 0.3, 0],
    "last_stage": [0, 0, 0, 0.3, 0],
    "lldo": [0, 0, 0, 0, 0.32],
}

if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    rounds.serve(make)
