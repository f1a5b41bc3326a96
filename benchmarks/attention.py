r"""Time of attention in windows over that of the same layer in PyTorch.

    python -m venv peers
    peers/bin/pip install torch
    python -m benchmarks.attention --peers=peers/bin/python

A map passes `layers.LocalAttention`: windows of 4 x 4 points, projections to queries,
keys and values, attention with relative positions, and the projection of its outputs.
PyTorch's is the same function of the same weights by its
`scaled_dot_product_attention`, in `torch.inference_mode`, as it is and compiled, in the
Python of `--peers`. Ratios are medians over the rounds of a round's time of ours over
PyTorch's; in brackets is the same for processor time, which other programs disturb
less. All have the same number of threads. In the last column is the time over that of
a 3x3 convolution of the map to as many channels.
"""

import argparse
from collections.abc import Callable

import numpy as np

from benchmarks import rounds

MOST = 1.1  # The largest ratio to accept.
SIDE, CHANNELS, WINDOW = 32, 64, 4
HEADS = ((3, 64), (4, 16))  # Those of the paper at 64 channels, and fewer channels.


def compiled(layer, batch: int) -> Callable:
    """Returns a step of a layer.

    Args:
        layer: Takes maps of 32 x 32 x 64.
        batch: The number of maps.
    """
    import keras
    import tensorflow as tf

    inputs = keras.Input((SIDE, SIDE, CHANNELS))
    model = keras.Model(inputs, layer(inputs))
    maps = np.random.default_rng(0).normal(size=(batch, SIDE, SIDE, CHANNELS))
    maps = tf.constant(maps, "float32")
    call = tf.function(lambda x: model(x, training=False), autograph=False)
    return lambda: call(maps).numpy()


def steps(batch: int, heads: tuple[int, int], peer) -> dict:
    """Returns what is measured side by side, by name."""
    import keras

    import layers

    num_heads, key_dim = heads
    attention = layers.LocalAttention(CHANNELS, num_heads, key_dim, WINDOW)
    conv = keras.layers.Conv2D(CHANNELS, 3, padding="same", use_bias=False)
    found = {
        "ours": rounds.local(compiled(attention, batch)),
        "conv": rounds.local(compiled(conv, batch)),
    }
    if peer is not None:
        job = {
            "shape": (batch, SIDE, SIDE, CHANNELS),
            "window": WINDOW,
            "num_heads": num_heads,
            "key_dim": key_dim,
        }
        for name, is_compiled in (("torch", False), ("torch, compiled", True)):
            found[name] = peer.step(name, **job, compile=is_compiled)
    return found


def row(batch: int, heads: tuple[int, int], times: dict) -> str:
    """Returns a line of the table."""
    cells = [str(batch), "{} x {}".format(*heads)]
    cells.append(f"{1000 * np.median(times['ours'][:, 0]):.2f}")
    for name in ("torch", "torch, compiled", "conv"):
        if name not in times:
            cells.append("")
            continue
        wall, used = rounds.ratio(times, name, "ours")
        kept = " holds" if wall <= MOST else " does not hold"
        cells.append(f"{wall:.2f} ({used:.2f}){'' if name == 'conv' else kept}")
    return f"| {' | '.join(cells)} |"


def main():
    """Prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", help="Python of PyTorch.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64])
    flags = parser.parse_args()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(flags.threads)
    tf.config.threading.set_inter_op_parallelism_threads(flags.threads)
    peer = None
    if flags.peers:
        command = "benchmarks.attention_torch", (str(flags.threads),)
        peer = rounds.Remote(flags.peers, *command)
    print(f"| maps | heads | ours, ms | over PyTorch (<= {MOST}) | compiled | 3x3 |")
    print("|---|---|---|---|---|---|")
    for batch in flags.batches:
        for heads in HEADS:
            found = rounds.measure(
                steps(batch, heads, peer), flags.rounds, flags.seconds
            )
            print(row(batch, heads, found), flush=True)
            if peer is not None:
                peer.clear()
    if peer is not None:
        peer.stop()


if __name__ == "__main__":
    main()
