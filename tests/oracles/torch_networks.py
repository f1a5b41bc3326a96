"""Networks of PyTorch in NumPy: its names, its layout, images with channels first.

Each takes a state dict and normalized images and returns the logits, in 64 bits.
"""

import numpy as np


def conv(x, kernel, stride=1, padding=0, groups=1, bias=None):
    """Convolution of images with channels first by a kernel `(out, in, ...)`."""
    padding = [(0, 0), (0, 0), (padding, padding), (padding, padding)]
    x = np.pad(x, padding)
    height, width = (
        (side - size) // stride + 1
        for side, size in zip(x.shape[2:], kernel.shape[2:], strict=True)
    )
    outputs = []
    for part, weights in zip(
        np.split(x, groups, axis=1), np.split(kernel, groups), strict=True
    ):
        total = 0
        for i in range(kernel.shape[2]):
            for j in range(kernel.shape[3]):
                rows = slice(i, i + (height - 1) * stride + 1, stride)
                columns = slice(j, j + (width - 1) * stride + 1, stride)
                seen = part[:, :, rows, columns]
                total = total + np.einsum("bchw,oc->bohw", seen, weights[:, :, i, j])
        outputs.append(total)
    result = np.concatenate(outputs, axis=1)
    return result if bias is None else result + bias[:, None, None]


def norm(x, state, name):
    """Normalization by the running statistics."""
    columns = [
        state[f"{name}.{key}"][:, None, None]
        for key in ("running_mean", "running_var", "weight", "bias")
    ]
    mean, variance, weight, bias = columns
    return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


def max_pool(x, size, stride, padding=0):
    """Maximum over windows; what is beyond the border never wins."""
    border = [(0, 0), (0, 0), (padding, padding), (padding, padding)]
    x = np.pad(x, border, constant_values=-np.inf)
    height, width = ((side - size) // stride + 1 for side in x.shape[2:])
    windows = [
        x[:, :, i : i + height * stride : stride, j : j + width * stride : stride][
            :, :, :height, :width
        ]
        for i in range(size)
        for j in range(size)
    ]
    return np.max(windows, axis=0)


def relu(x):
    """Rectifier."""
    return np.maximum(x, 0)


def average(x):
    """Mean of 2x2 windows; at an odd side the last one is of what is there."""
    height, width = (-(-side // 2) for side in x.shape[2:])
    result = np.empty((*x.shape[:2], height, width))
    for i in range(height):
        for j in range(width):
            window = x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            result[:, :, i, j] = window.mean(axis=(2, 3))
    return result


def blur(x):
    """Every second value of a map that is filtered with 1, 2, 1 and mirrored."""
    x = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)], "reflect")
    x = (x[:, :, :-2] + 2 * x[:, :, 1:-1] + x[:, :, 2:]) / 4
    return ((x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]) / 4)[:, :, ::2, ::2]


def _stem(state, x, low_pass):
    if "conv1.0.weight" in state:
        x = relu(norm(conv(x, state["conv1.0.weight"], 2, 1), state, "conv1.1"))
        x = relu(norm(conv(x, state["conv1.3.weight"], 1, 1), state, "conv1.4"))
        x = conv(x, state["conv1.6.weight"], 1, 1)
    else:
        x = conv(x, state["conv1.weight"], 2, 3)
    x = relu(norm(x, state, "bn1"))
    if low_pass is average:
        height, width = (side // 2 * 2 for side in x.shape[2:])
        return average(x[:, :, :height, :width])
    return max_pool(x, 3, 2, 1) if low_pass is None else low_pass(max_pool(x, 3, 1, 1))


def resnet(state, x, groups=1, low_pass=None):
    """ResNet v1.5 with the blocks that the names tell.

    `low_pass` is `average` or `blur` of timm's networks without aliasing: it takes the
    strides of the 3x3 convolutions and of the stem's pooling.
    """
    x, stage = _stem(state, x, low_pass), 1
    while f"layer{stage}.0.conv1.weight" in state:
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in state:
            stride = 2 if stage > 1 and block == 0 else 1
            x = _block(state, x, f"layer{stage}.{block}", stride, groups, low_pass)
            block += 1
        stage += 1
    return x.mean(axis=(2, 3)) @ state["fc.weight"].T + state["fc.bias"]


def _block(state, x, name, stride, groups, low_pass):
    skip, last = x, 3 if f"{name}.conv3.weight" in state else 2
    if f"{name}.downsample.0.weight" in state:
        kernel = state[f"{name}.downsample.0.weight"]
        skip = norm(conv(x, kernel, stride), state, f"{name}.downsample.1")
    elif f"{name}.downsample.1.weight" in state:
        skip = average(x) if stride == 2 else x
        kernel = state[f"{name}.downsample.1.weight"]
        skip = norm(conv(skip, kernel), state, f"{name}.downsample.2")
    for i in range(1, last + 1):
        kernel = state[f"{name}.conv{i}.weight"]
        own = stride if kernel.shape[-1] == 3 else 1
        if i == 2 and last == 2:
            own = 1
        split = groups if i == 2 and last == 3 else 1
        x = conv(
            x, kernel, own if low_pass is None else 1, kernel.shape[-1] // 2, split
        )
        x = norm(x, state, f"{name}.bn{i}")
        x = relu(x) if i < last else relu(x + skip)
        x = low_pass(x) if low_pass and own == 2 else x
    return x


def vgg(state, x, depths):
    """VGG with normalization, for images whose last map is 7x7 or 1x1."""
    place = 0
    for depth in depths:
        for _ in range(depth):
            name, bias = f"features.{place}", state[f"features.{place}.bias"]
            x = conv(x, state[f"{name}.weight"], 1, 1, 1, bias)
            x = relu(norm(x, state, f"features.{place + 1}"))
            place += 3
        x, place = max_pool(x, 2, 2), place + 1
    x = np.broadcast_to(x, (*x.shape[:2], 7, 7)).reshape(len(x), -1)
    for i in (0, 3):
        x = relu(x @ state[f"classifier.{i}.weight"].T + state[f"classifier.{i}.bias"])
    return x @ state["classifier.6.weight"].T + state["classifier.6.bias"]
