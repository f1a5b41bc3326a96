"""A slow version of attention in windows, in NumPy."""

import numpy as np
from keras import ops


def attention(layer, x):
    """What a `layers.LocalAttention` gives: point by point, head by head, in float64.

    A point attends to what of its window is on the map.
    """
    kernel, positions, output_kernel, bias = (
        ops.convert_to_numpy(w).astype("float64") for w in layer.weights
    )
    heads, dim, size = layer.num_heads, layer.key_dim, layer.window_size
    kernel = kernel.reshape(x.shape[-1], 3, heads, dim)
    query, key, value = np.einsum("bijc,ckhd->kbijhd", x.astype("float64"), kernel)
    found = np.empty((*x.shape[:3], heads, dim))
    height, width = x.shape[1:3]
    for row, column in np.ndindex(height, width):
        top, left = row // size * size, column // size * size
        window = [
            (i, j)
            for i in range(top, min(top + size, height))
            for j in range(left, min(left + size, width))
        ]
        down, right = (np.array(place) for place in zip(*window, strict=True))
        keys, values = (part[:, down, right] for part in (key, value))
        scores = np.einsum("bhd,bphd->bhp", query[:, row, column], keys) / dim**0.5
        scores += positions[down - row + size - 1, right - column + size - 1]
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        found[:, row, column] = np.einsum("bhp,bphd->bhd", weights, values)
    return found.reshape(*x.shape[:3], heads * dim) @ output_kernel + bias
