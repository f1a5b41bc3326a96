r"""Time of a step of virtual adversarial training, over that of a plain step.

    python -m benchmarks.robust_vat

Both are steps of `zoo-train`, measured side by side in every round; a ratio is the
median over the rounds, and in brackets that of processor time. By its passes a step of
`vat` takes 2.67 times as long: a pass with gradients by the weights counts 3, one with
the gradient by the pixels 2, and it has two of the first kind and one of the second. A
semi-supervised step has a quarter of the images with labels, and beside them as many
without as the plain step has: without entropy these take 6 in place of its 3.
"""

import argparse
import functools
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks import train_ours
from benchmarks.comparison import Comparison, print_table

SHAPE = (32, 32, 3)
NETWORKS = "resnet20", "resnet18_mcdo"
MOST = 3.0


def comparisons(
    networks=NETWORKS, batch: int = 64, policy: str = "float32"
) -> Iterator[Comparison]:
    """Yields steps of virtual adversarial training over plain ones.

    Args:
        networks: Names of networks.
        batch: The number of images.
        policy: What layers compute in.
    """
    for name in networks:
        settings = {"policy": policy, "learning_rate": 1e-4}
        ours = functools.partial(train_ours.ours, name, SHAPE, **settings)
        base = functools.partial(ours, batch)
        for kind, other, most in (
            ("`vat`", functools.partial(ours, batch, objective="vat"), MOST),
            (
                "`vat:entropy=1`",
                functools.partial(ours, batch, objective="vat:entropy=1"),
                MOST,
            ),
            (
                "`vat`, few labels",
                functools.partial(_semi_supervised, ours, batch),
                None,
            ),
        ):
            title = f"{kind} over the plain step, `{name}`, {batch} images, {policy}"
            yield Comparison(title, base, other, most)


def _semi_supervised(ours, batch) -> Callable:
    """Returns a step of images with labels, and of four times as many without."""
    step = ours(batch // 4, objective="vat", unlabeled_batch_size=batch)
    images, labels = step.args
    others = np.random.default_rng(1).integers(0, 256, (batch, *SHAPE), "uint8")
    return functools.partial(step.func, (images, others), labels)


def main():
    """Prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--policy", default="float32")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.5)
    flags = parser.parse_args()
    found = comparisons(flags.networks, flags.batch, flags.policy)
    print_table(found, flags.rounds, flags.seconds)


if __name__ == "__main__":
    main()
