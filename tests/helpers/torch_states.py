"""State dicts as PyTorch has them: random, small, of networks with known shapes."""

import numpy as np


class State(dict):
    """A state dict to which layers are added."""

    def __init__(self, seed=0):
        super().__init__()
        self.rng = np.random.default_rng(seed)

    def conv(self, name, inner, outer, size, bias=False):
        scale = np.sqrt(2 / (inner * size**2))
        self._add(
            f"{name}.weight", self.rng.normal(0, scale, (outer, inner, size, size))
        )
        if bias:
            self._add(f"{name}.bias", self.rng.normal(0, 0.5, outer))

    def norm(self, name, channels):
        self._add(f"{name}.weight", self.rng.uniform(0.5, 1.5, channels))
        self._add(f"{name}.bias", self.rng.normal(0, 0.3, channels))
        self._add(f"{name}.running_mean", self.rng.normal(0, 0.5, channels))
        self._add(f"{name}.running_var", self.rng.uniform(0.4, 3, channels))
        self[f"{name}.num_batches_tracked"] = np.array(7)

    def dense(self, name, inner, outer):
        self._add(f"{name}.weight", self.rng.normal(0, inner**-0.5, (outer, inner)))
        self._add(f"{name}.bias", self.rng.normal(0, 0.5, outer))

    def _add(self, name, array):
        self[name] = array.astype("float32")


def resnet(bottleneck=False, classes=5, depths=(1, 1, 1, 1), base=64, deep=False):
    """The state of a ResNet of `base` channels in its stem, or of its `d` form."""
    state, inner = State(), base
    if deep:
        for i, (theirs, norm) in enumerate(
            [("conv1.0", "conv1.1"), ("conv1.3", "conv1.4")]
        ):
            state.conv(theirs, 3 if i == 0 else base // 2, base // 2, 3)
            state.norm(norm, base // 2)
        state.conv("conv1.6", base // 2, base, 3)
    else:
        state.conv("conv1", 3, inner, 7)
    state.norm("bn1", inner)
    for stage, depth in enumerate(depths, 1):
        filters = base * 2 ** (stage - 1)
        outer = filters * (4 if bottleneck else 1)
        sizes = (1, 3, 1) if bottleneck else (3, 3)
        for block in range(depth):
            name = f"layer{stage}.{block}"
            widths = [inner, *[filters] * (len(sizes) - 1), outer]
            for i, size in enumerate(sizes, 1):
                state.conv(f"{name}.conv{i}", widths[i - 1], widths[i], size)
                state.norm(f"{name}.bn{i}", widths[i])
            if inner != outer:
                state.conv(f"{name}.downsample.{int(deep)}", inner, outer, 1)
                state.norm(f"{name}.downsample.{int(deep) + 1}", outer)
            inner = outer
    state.dense("fc", inner, classes)
    return state


def cifar_resnet(classes=5, depth=3):
    """The state of a CIFAR network: three stages, shortcuts without weights."""
    state, inner = State(), 16
    state.conv("conv1", 3, inner, 3)
    state.norm("bn1", inner)
    for stage, outer in enumerate((16, 32, 64), 1):
        for block in range(depth):
            for i in (1, 2):
                state.conv(f"layer{stage}.{block}.conv{i}", inner, outer, 3)
                state.norm(f"layer{stage}.{block}.bn{i}", outer)
                inner = outer
    state.dense("fc", inner, classes)
    return state


def vgg(filters, depths, units, classes=5):
    """The state of torchvision's VGG with normalization."""
    state, inner, place = State(), 3, 0
    for outer, depth in zip(filters, depths, strict=True):
        for _ in range(depth):
            state.conv(f"features.{place}", inner, outer, 3, bias=True)
            state.norm(f"features.{place + 1}", outer)
            inner, place = outer, place + 3
        place += 1
    for name, outer in (("0", units), ("3", units), ("6", classes)):
        state.dense(f"classifier.{name}", inner * 49 if name == "0" else inner, outer)
        inner = outer
    return state


def padded_resnet(depth=3, classes=10, base=16):
    """The same of akamaster/pytorch_resnet_cifar10, which pads on both sides."""
    state, inner = State(), base
    state.conv("conv1", 3, base, 3)
    state.norm("bn1", base)
    for stage in (1, 2, 3):
        outer = base * 2 ** (stage - 1)
        for block in range(depth):
            for i in (1, 2):
                name = f"layer{stage}.{block}"
                state.conv(f"{name}.conv{i}", inner, outer, 3)
                state.norm(f"{name}.bn{i}", outer)
                inner = outer
    state.dense("linear", inner, classes)
    return state
