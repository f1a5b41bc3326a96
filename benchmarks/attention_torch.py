"""Attention in windows in PyTorch; runs in an environment that has it.

A process that `benchmarks.attention` starts: `python -m benchmarks.attention_torch
THREADS`.
"""

import sys

from benchmarks import rounds


def make(shape, window: int, num_heads: int, key_dim: int, compile: bool):
    """Returns a function that passes maps once.

    Args:
        shape: `(batch, side, side, channels)` of the maps, channels last as in Keras.
        window: Side of the windows.
        num_heads: The number of heads.
        key_dim: Channels of each.
        compile: Whether `torch.compile` compiles it.
    """
    import torch
    from torch.nn import functional

    batch, side, _, channels = shape
    torch.manual_seed(0)
    maps, inner, count = torch.randn(shape), num_heads * key_dim, side // window
    project = torch.nn.Linear(channels, 3 * inner, bias=False)
    output = torch.nn.Linear(inner, channels)
    table = torch.randn(2 * window - 1, 2 * window - 1) * 0.02
    places = torch.cartesian_prod(torch.arange(window), torch.arange(window))
    shift = places[None] - places[:, None] + window - 1

    def attend(x):
        x = x.reshape(batch, count, window, count, window, channels)
        x = x.transpose(2, 3).reshape(-1, window**2, channels)
        x = project(x).reshape(-1, window**2, 3, num_heads, key_dim)
        mask = table[shift[..., 0], shift[..., 1]]
        query, key, value = x.permute(2, 0, 3, 1, 4)
        x = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = output(x.transpose(1, 2).reshape(-1, window**2, inner))
        x = x.reshape(batch, count, count, window, window, channels)
        return x.transpose(2, 3).reshape(shape)

    call = torch.compile(attend) if compile else attend

    @torch.inference_mode()
    def step():
        return call(maps).numpy()

    return step


if __name__ == "__main__":
    import torch

    torch.set_num_threads(int(sys.argv[1]))
    rounds.serve(make)
