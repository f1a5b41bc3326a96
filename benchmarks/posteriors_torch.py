"""Laplace's approximation by laplace-torch; runs in an environment that has it.

`benchmarks.posteriors` starts it as `python -m benchmarks.posteriors_torch THREADS`.
"""

import sys

import numpy as np
import torch
from laplace import Laplace
from laplace.curvature import BackPackGGN, CurvlinopsGGN, GGNInterface
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks import rounds

MEAN = torch.tensor([123.675, 116.28, 103.53]).reshape(3, 1, 1)
DEVIATION = torch.tensor([58.395, 57.12, 57.375]).reshape(3, 1, 1)
STRUCTURES = {"kronecker": "kron", "diagonal": "diag", "full": "full"}
SUBNETWORK = "conv1", "linear"


class Block(nn.Module):
    """Two convolutions and a shortcut that drops points and pads channels."""

    def __init__(self, inputs, filters, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.stride, self.more = stride, filters - inputs

    def forward(self, x):
        found = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        pad = self.more // 2
        x = x[:, :, :: self.stride, :: self.stride]
        return torch.relu(found + nn.functional.pad(x, (0, 0, 0, 0, pad, pad)))


class ResNet20(nn.Module):
    """The network of akamaster/pytorch_resnet_cifar10, from pixels to logits."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = [(16, 16, 1), (16, 32, 2), (32, 64, 2)]
        for number, (inputs, filters, stride) in enumerate(widths, 1):
            blocks = [Block(inputs, filters, stride)]
            blocks += [Block(filters, filters, 1) for _ in range(2)]
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, 10)

    def features(self, x):
        """Returns the pooled features."""
        x = torch.relu(self.bn1(self.conv1((x - MEAN) / DEVIATION)))
        return self.layer3(self.layer2(self.layer1(x))).mean(dim=(2, 3))

    def forward(self, x):
        return self.linear(self.features(x))


def network(weights: str) -> nn.Module:
    """Returns the network with the weights of a file."""
    model = ResNet20()
    state = torch.load(weights, weights_only=True, map_location="cpu")["state_dict"]
    model.load_state_dict({k.removeprefix("module."): v for k, v in state.items()})
    return model.eval()


def images_of(pixels) -> torch.Tensor:
    """Returns images with their channels first, as float32."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float()


def fitted(model, structure: str, images, labels, batch: int):
    """Returns the posterior of the last layer."""
    pairs = TensorDataset(images, torch.from_numpy(labels).long())
    # The default makes a full matrix of as many passes as there are weights.
    options = {"backend": BackPackGGN} if structure == "full" else {}
    found = Laplace(
        model,
        "classification",
        subset_of_weights="last_layer",
        hessian_structure=STRUCTURES[structure],
        **options,
    )
    found.fit(DataLoader(pairs, batch_size=batch))
    return found


def compare(data: str, weights: str, output: str, batch: int):
    """Returns a step that writes mean and variance of logits, and evidences.

    The features are computed once: a fit takes them as if they were images.
    """

    def step():
        given, found, model = np.load(data), {}, network(weights)
        images = images_of(given["images"])
        with torch.inference_mode():
            features = torch.cat([model.features(x) for x in images.split(batch)])
        features = features.clone()
        head = nn.Sequential(nn.Identity(), model.linear)
        for structure in STRUCTURES:
            own = fitted(head, structure, features, given["labels"], batch)
            parts = [own._glm_predictive_distribution(x) for x in features.split(batch)]
            mean, covariance = (torch.cat(part) for part in zip(*parts, strict=True))
            evidence = own.log_marginal_likelihood(torch.tensor(1.0))
            found[f"{structure}/mean"] = mean.numpy()
            found[f"{structure}/covariance"] = covariance.numpy()
            found[f"{structure}/evidence"] = evidence.detach().numpy()
        np.savez(output, **found)

    return step


class ByJacobians(CurvlinopsGGN):
    """Makes a full matrix of Jacobians, and of no pass for each weight."""

    full = GGNInterface.full


def compare_layers(data: str, weights: str, output: str, batch: int):
    """Returns a step that writes the same of all weights, and of a subnetwork.

    No structure of the peer takes a batch normalization, whose weights are fixed.
    """

    def step():
        given, found = np.load(data), {}
        images = images_of(given["images"])
        pairs = TensorDataset(images, torch.from_numpy(given["labels"]).long())
        for structure, subset in LAYERS:
            model = network(weights)
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.requires_grad_(False)
            options = {"subset_of_weights": subset}
            if subset == "subnetwork":
                # Its own subnetworks are given by indices; this one is what is left.
                options["subset_of_weights"] = "all"
                for name, parameter in model.named_parameters():
                    parameter.requires_grad_(name.split(".")[0] in SUBNETWORK)
            own = Laplace(
                model,
                "classification",
                hessian_structure=STRUCTURES[structure],
                backend=ByJacobians if structure == "full" else CurvlinopsGGN,
                **options,
            )
            own.fit(DataLoader(pairs, batch_size=batch))
            parts = [own._glm_predictive_distribution(x) for x in images.split(4)]
            mean, covariance = (torch.cat(part) for part in zip(*parts, strict=True))
            evidence = own.log_marginal_likelihood(torch.tensor(1.0))
            found[f"{structure}/mean"] = mean.detach().numpy()
            found[f"{structure}/covariance"] = covariance.detach().numpy()
            found[f"{structure}/evidence"] = evidence.detach().numpy()
        np.savez(output, **found)

    return step


def fit_and_predict(data: str, weights: str, batch: int):
    """Returns a step that fits, chooses the prior precision, and predicts."""
    given, model = np.load(data), network(weights)
    images, labels = images_of(given["images"]), given["labels"]
    test = images_of(given["test"])

    def step():
        own = fitted(model, "kronecker", images, labels, batch)
        own.optimize_prior_precision(method="marglik")
        for x in test.split(batch):
            own(x, pred_type="glm", link_approx="probit")

    return step


def head(features: int, classes: int, count: int, seed: int):
    """Returns a step that predicts images by a layer of some size alone."""
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.uniform(size=(count, features)).astype("float32"))
    layer = nn.Sequential(nn.Identity(), nn.Linear(features, classes))
    own = fitted(layer, "kronecker", x, np.arange(count) % classes, count)

    def step():
        own(x, pred_type="glm", link_approx="probit")

    return step


# What is compared of more layers than the last one, by structure.
LAYERS = [("kronecker", "all"), ("diagonal", "all"), ("full", "subnetwork")]

STEPS = {
    "compare": compare,
    "compare_layers": compare_layers,
    "predict": fit_and_predict,
    "head": head,
}


def make(kind: str, **job):
    """Returns a step of a kind; see `STEPS`."""
    return STEPS[kind](**job)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    rounds.serve(make)
