r"""Measures a step of virtual adversarial training against a plain one.

    python -m benchmarks.robust_vat

Steps of `zoo-train` with the objectives `cross_entropy` and `vat` are measured one
after the other, in turning order. By passes that of `vat` takes 2.67 times as long: a
pass with gradients by the weights counts 3, one with the gradient by the pixels 2, and
`vat` has two of the first kind and one of the second.

The last row is a semi-supervised step, of a quarter of the images with labels beside
all of them without, over the plain step of all of them.
"""

import argparse
import functools

import keras
import numpy as np

from benchmarks import rounds, train_ours
from benchmarks.results import benchmark_page

GOAL = 3.0
HEADING = ["step", "over", "images", "times as long", "by processor time", "goal"]


def step_times(
    network: str = "resnet20",
    shape: tuple = (32, 32, 3),
    batch: int = 128,
    policy: str = "float32",
    num_rounds: int = 7,
    seconds: float = 2.0,
) -> list[list[str]]:
    """Returns rows below `HEADING`: how long steps of `vat` take.

    Args:
        network: Name of the network.
        shape: Height, width and channels of the images.
        batch: The number of images.
        policy: What layers compute in.
        num_rounds: How many rounds to measure.
        seconds: What a measurement takes at least, about.
    """
    ours = functools.partial(train_ours.ours, network, shape, policy=policy)
    steps = {
        "plain": ours(batch=batch),
        "`vat`": ours(batch=batch, objective="vat"),
        "`vat`, entropy": ours(batch=batch, objective="vat:entropy=1"),
        "`vat`, few labels": _semi_supervised(ours, batch, shape),
    }
    timed = {name: rounds.local(step) for name, step in steps.items()}
    times = rounds.measure(timed, num_rounds, seconds)
    keras.utils.clear_session()
    rows = []
    for name in [*steps][1:]:
        wall, processor = rounds.ratio(times, "plain", name)
        goal = GOAL if "labels" not in name else None
        verdict = f"≤ {goal}: {'met' if wall <= goal else 'missed'}" if goal else ""
        cells = [str(batch), f"{wall:.2f}", f"{processor:.2f}", verdict]
        rows.append([f"{name}, `{network}`, {policy}", "the plain one", *cells])
    return rows


def _semi_supervised(ours, batch, shape):
    """Returns a function that takes a step of labeled and unlabeled images."""
    few = batch // 4
    step = ours(batch=few, objective="vat", unlabeled_batch_size=batch)
    images, labels = step.args
    others = np.random.default_rng(1).integers(0, 256, (batch, *shape), "uint8")
    return functools.partial(step.func, (images, others), labels)


def main():
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--policy", default="float32")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    flags = parser.parse_args()
    rows = step_times(
        flags.network,
        batch=flags.batch,
        policy=flags.policy,
        num_rounds=flags.rounds,
        seconds=flags.seconds,
    )
    print(benchmark_page.markdown(HEADING, rows, 1))


if __name__ == "__main__":
    main()
