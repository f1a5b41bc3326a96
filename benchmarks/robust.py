r"""Time of what makes networks robust, over that of what it stands for.

    python -m benchmarks.robust
    python -m benchmarks.robust flc --rounds=15 --seconds=0.5

A part is a function that yields comparisons, and a line of `PARTS`. Each comparison is
two steps that are measured side by side in every round; a ratio is the median over the
rounds of a round's time of the second over that of the first, and in brackets the same
for processor time, which other programs disturb less. Networks have random weights,
images are noise of 32 x 32 pixels, and batches are of 64.
`benchmarks.robust_augmix` and `benchmarks.robust_pgd` are by themselves: one measures
its input too, the other one libraries of others.
"""

import argparse
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks import one_pass, robust_vat
from benchmarks.comparison import Comparison, print_table

BATCH = 64


def flc() -> Iterator[Comparison]:
    """Frequency low-cut pooling over convolutions with strides."""
    for name in ("resnet20", "resnet18"):
        for kind, make in (
            ("prediction", one_pass.prediction),
            ("training step", one_pass.training),
        ):
            yield Comparison(
                f"`{name}_flc` over `{name}`, {kind}",
                lambda make=make, name=name: make(name, BATCH),
                lambda make=make, name=name: make(f"{name}_flc", BATCH),
                most=1.1,
            )
    for channels, side in ((16, 32), (64, 32), (256, 8)):
        yield Comparison(
            f"pooling and 3x3 over 3x3 with a stride, {channels} channels of {side} x "
            f"{side}",
            lambda shape=(side, side, channels): convolution(shape, False),
            lambda shape=(side, side, channels): convolution(shape, True),
            most=1.1,
        )


def convolution(shape: tuple[int, int, int], low_cut: bool) -> Callable:
    """Returns a step of a 3x3 convolution to half the size and twice the channels.

    Args:
        shape: Height, width and channels of the maps.
        low_cut: Whether frequency low-cut pooling subsamples, in place of a stride.
    """
    import keras
    import tensorflow as tf

    import layers

    filters = 2 * shape[-1]
    if low_cut:
        parts = [layers.FLCPooling2D(), keras.layers.Conv2D(filters, 3, 1, "same")]
    else:  # As networks of the zoo subsample.
        parts = [keras.layers.ZeroPadding2D(1), keras.layers.Conv2D(filters, 3, 2)]
    model = keras.Sequential([keras.Input(shape), *parts])
    maps = tf.constant(np.random.default_rng(0).normal(size=(BATCH, *shape)), "float32")
    compiled = tf.function(lambda x: model(x, training=False), autograph=False)
    return lambda: compiled(maps).numpy()


PARTS = {"flc": flc, "vat": robust_vat.comparisons}


def main():
    """Prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.5)
    flags = parser.parse_args()
    found = (pair for part in flags.parts or PARTS for pair in PARTS[part]())
    print_table(found, flags.rounds, flags.seconds)


if __name__ == "__main__":
    main()
