"""Slow versions of what networks consist of, in NumPy."""

import numpy as np
from keras import ops


def conv(x, kernel, pad, strides):
    """A convolution with as many zeros on each side, as loops over the kernel."""
    x = np.pad(x.astype("float64"), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    size = kernel.shape[0]
    height, width = ((n - size) // strides + 1 for n in x.shape[1:3])
    y = 0
    for i, j in np.ndindex(size, size):
        rows = x[:, i : i + strides * height : strides]
        patch = rows[:, :, j : j + strides * width : strides]
        y = y + patch[:, :height, :width] @ kernel[i, j].astype("float64")
    return y


def grouped_conv(x, kernel, pad, strides):
    """A convolution each of whose filters sees the channels of its group alone."""
    inputs, filters = kernel.shape[2:]
    size = filters * inputs // x.shape[-1]  # Filters in a group.
    maps = []
    for i in range(filters):
        first = i // size * inputs
        group = x[..., first : first + inputs]
        maps.append(conv(group, kernel[..., i : i + 1], pad, strides))
    return np.concatenate(maps, axis=-1)


def max_pool(x, pad):
    """A max-pooling of 3 with stride 2 and a border of minus infinity."""
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), constant_values=-np.inf)
    height, width = ((n - 3) // 2 + 1 for n in x.shape[1:3])
    patches = [
        x[:, i : i + 2 * height : 2, j : j + 2 * width : 2][:, :height, :width]
        for i, j in np.ndindex(3, 3)
    ]
    return np.max(patches, axis=0)


def norm(model, name, x):
    """What a batch normalization gives in inference."""
    layer = model.get_layer(f"{name}_norm")
    gamma, beta, mean, variance = map(ops.convert_to_numpy, layer.variables)
    return gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta


def convolved(model, name, x, pad, strides=1):
    """What a convolution of a model gives, of however many groups."""
    kernel = ops.convert_to_numpy(model.get_layer(f"{name}_conv").kernel)
    return grouped_conv(x, kernel, pad, strides)


def relu(x):
    return np.maximum(x, 0)
