"""Hessians by PyHessian; runs in an environment that has it.

`benchmarks.hessian` starts it as `python -m benchmarks.hessian_torch THREADS`.
"""

import itertools
import json
import sys

import numpy as np
import torch
from pyhessian import hessian
from torch import nn
from torch.nn import functional

from benchmarks import rounds

MAX_ITERATIONS = 100


class ResNet(nn.Module):
    """A ResNet of basic blocks, from pixels to logits, with the names of ours.

    Args:
        weights: Arrays by the names of layers and weights, as Keras has them.
    """

    def __init__(self, weights):
        super().__init__()
        self.given = weights
        self.register_buffer("mean", self._channels(weights["mean"]))
        self.register_buffer("deviation", self._channels(weights["variance"]).sqrt())
        self.blocks = []
        self._add("stem")
        for stage in itertools.count(1):
            if f"stage{stage}_block1_1_conv/kernel" not in weights:
                break
            for block in itertools.count(1):
                name = f"stage{stage}_block{block}"
                if f"{name}_1_conv/kernel" not in weights:
                    break
                strides = 2 if block == 1 and stage > 1 else 1
                self._add(f"{name}_1", strides)
                self._add(f"{name}_2")
                if f"{name}_skip_conv/kernel" in weights:
                    self._add(f"{name}_skip", strides)
                self.blocks.append((name, strides))
        kernel = torch.from_numpy(weights["head/kernel"])
        self.head = nn.Linear(*kernel.shape)
        with torch.no_grad():
            self.head.weight.copy_(kernel.T)
            self.head.bias.copy_(torch.from_numpy(weights["head/bias"]))

    @staticmethod
    def _channels(values):
        return torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 1)

    def _add(self, name, strides=1):
        """Adds a convolution and its normalization."""
        kernel = torch.from_numpy(self.given[f"{name}_conv/kernel"]).permute(3, 2, 0, 1)
        outputs, inputs, size, _ = kernel.shape
        conv = nn.Conv2d(inputs, outputs, size, strides, size // 2, bias=False)
        norm = nn.BatchNorm2d(outputs, eps=float(self.given["epsilon"]))
        pairs = {
            "weight": "gamma",
            "bias": "beta",
            "running_mean": "moving_mean",
            "running_var": "moving_variance",
        }
        with torch.no_grad():
            conv.weight.copy_(kernel)
            for theirs, ours in pairs.items():
                value = torch.from_numpy(self.given[f"{name}_norm/{ours}"])
                getattr(norm, theirs).copy_(value)
        self.add_module(name, nn.Sequential(conv, norm))

    def forward(self, x):
        modules = self._modules
        x = torch.relu(modules["stem"]((x - self.mean) / self.deviation))
        for name, strides in self.blocks:
            branch = torch.relu(modules[f"{name}_1"](x))
            branch = modules[f"{name}_2"](branch)
            if f"{name}_skip" in modules:
                x = modules[f"{name}_skip"](x)
            elif branch.shape != x.shape:
                more = branch.shape[1] - x.shape[1]
                x = functional.pad(x[:, :, ::strides, ::strides], (0, 0, 0, 0, 0, more))
            x = torch.relu(branch + x)
        return self.head(x.mean(dim=(2, 3)))


def prepared(data: str, batch: int):
    """Returns a network in evaluation mode, and batches of images."""
    given = dict(np.load(data))
    images = np.ascontiguousarray(given["images"].transpose(0, 3, 1, 2))
    images = torch.from_numpy(images).float()
    labels = torch.from_numpy(given["labels"]).long()
    pairs = zip(images.split(batch), labels.split(batch), strict=True)
    return ResNet(given).eval(), list(pairs)


def of_batches(model, pairs):
    """Returns PyHessian's object."""
    loss = nn.CrossEntropyLoss()
    if len(pairs) == 1:
        return hessian(model, loss, data=pairs[0], cuda=False)
    return hessian(model, loss, dataloader=pairs, cuda=False)


def eigenvalues(data: str, batch: int, count: int, tolerance: float, output: str):
    """Returns a step that computes the largest eigenvalues, and writes them."""
    model, pairs = prepared(data, batch)

    def step():
        found, _ = of_batches(model, pairs).eigenvalues(
            maxIter=MAX_ITERATIONS, tol=tolerance, top_n=count
        )
        with open(output, "w", encoding="utf-8") as file:
            json.dump(found, file)

    return step


def gradient(data: str, batch: int):
    """Returns a step that computes the gradient of the loss of a batch."""
    model, pairs = prepared(data, batch)
    images, labels = pairs[0]

    def step():
        loss = functional.cross_entropy(model(images), labels)
        torch.autograd.grad(loss, list(model.parameters()))

    return step


STEPS = {"eigenvalues": eigenvalues, "gradient": gradient}


def make(kind: str, **job):
    """Returns a step of a kind; see `STEPS`."""
    return STEPS[kind](**job)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    rounds.serve(make)
