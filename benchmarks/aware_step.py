"""A training step of a network that computes as integers do, over one of the network.

    python -m benchmarks.aware_step --networks resnet20 resnet20_smooth

Both take the same batch, in turning order in each round; ratios are medians over the
rounds, in brackets by processor time, which other programs disturb less.
"""

import argparse

import numpy as np

from benchmarks import rounds

SHAPE = 32, 32, 3


def main():
    """Prints a line for each network and number of bits."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=["resnet20_smooth"])
    parser.add_argument("--bits", nargs="+", type=int, default=[8, 4])
    parser.add_argument("--policy", default="float32")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    flags = parser.parse_args()
    from benchmarks import train_ours

    given = {"shape": SHAPE, "batch": flags.batch, "policy": flags.policy}
    print("| network | weights | step, ms | over the plain one |\n|---|---|---:|---:|")
    for name in flags.networks:
        steps = {
            bits: rounds.local(train_ours.ours(name, weight_bits=bits, **given))
            for bits in (0, *flags.bits)
        }
        times = rounds.measure(steps, flags.rounds, flags.seconds)
        for bits, found in times.items():
            milliseconds = 1e3 * np.median(found[:, 0])
            wall, used = rounds.ratio(times, 0, bits)
            kind = f"{bits} bits" if bits else flags.policy
            print(f"| {name} | {kind} | {milliseconds:.1f} | {wall:.2f} ({used:.2f}) |")


if __name__ == "__main__":
    main()
