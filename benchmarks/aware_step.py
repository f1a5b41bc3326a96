"""A training step of a network that computes as integers do, over one of the network.

    python -m benchmarks.aware_step --networks resnet20 resnet20_smooth

Both take the same batch, in turning order in each round; ratios are medians over the
rounds, in brackets by processor time, which other programs disturb less.
"""

import argparse
import functools

from benchmarks import rounds

SHAPE = 32, 32, 3


def step_of(name: str, batch: int, weight_bits: int, policy: str):
    """Returns a function that takes a training step as `zoo-compress` does.

    Args:
        name: Name of the model.
        batch: The number of images.
        weight_bits: 8 or 4, or 0 for the network as it is.
        policy: What layers compute in.
    """
    import zoo
    from benchmarks import train_ours
    from training import trainer
    from training.recipes.base import Recipe
    from zoo.quantization import quantized

    with train_ours.dtype_policy(policy):
        model = zoo.build(name, SHAPE, 10)
        if weight_bits:
            model = quantized(model, weight_bits)
        recipe = Recipe("none", batch_size=batch, weight_bits=weight_bits)
        made = trainer.compile_model(model, recipe, train_ours.EXAMPLES)
    return functools.partial(made.train_on_batch, *train_ours.batch_of(SHAPE, batch))


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
    print("| network | weights | step, ms | over the plain one |\n|---|---|---:|---:|")
    for name in flags.networks:
        steps = {
            bits: rounds.local(step_of(name, flags.batch, bits, flags.policy))
            for bits in (0, *flags.bits)
        }
        times = rounds.measure(steps, flags.rounds, flags.seconds)
        for bits, found in times.items():
            milliseconds = 1e3 * sorted(found[:, 0])[len(found) // 2]
            wall, used = rounds.ratio(times, 0, bits)
            kind = f"{bits} bits" if bits else flags.policy
            print(f"| {name} | {kind} | {milliseconds:.1f} | {wall:.2f} ({used:.2f}) |")


if __name__ == "__main__":
    main()
