r"""Time of networks that know their uncertainty from one pass, over plain ones.

    python -m benchmarks.one_pass

Each row is a network with a method and the same without, side by side: a compiled
prediction of a batch, and with `--train` a step of training. Ratios are medians over
the rounds of a round's time over that of the plain network; in brackets is the same for
processor time, which other programs disturb less. Networks have random weights and the
stem for images of 32x32 pixels.
"""

import argparse

import numpy as np

from benchmarks import rounds


def prediction(name: str, batch: int):
    """Returns a step that predicts a batch."""
    import tensorflow as tf

    import zoo

    model = zoo.build(name, (32, 32, 3), 10)
    images = tf.constant(some_images(batch), "float32")
    compiled = tf.function(lambda x: model(x, training=False), autograph=False)
    return lambda: compiled(images).numpy()


def training(name: str, batch: int):
    """Returns a step of training."""
    import zoo
    from training import trainer
    from training.recipes.base import Recipe

    model = zoo.build(name, (32, 32, 3), 10)
    recipe = Recipe("cifar10", batch_size=batch, learning_rate=1e-4)
    trained = trainer.compile_model(model, recipe, num_examples=50_000)
    images, labels = some_images(batch), np.arange(batch) % 10
    return lambda: trained.train_on_batch(images, labels)


def some_images(count: int):
    """Returns images of noise."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 32, 32, 3)).astype("uint8")


def main():
    """Prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=["resnet20", "resnet18"])
    parser.add_argument("--methods", nargs="+", default=["sngp"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--train", action="store_true")
    flags = parser.parse_args()
    make = training if flags.train else prediction
    print("| network | plain, ms | " + " | ".join(flags.methods) + " |")
    print("|---|---|" + "---|" * len(flags.methods))
    for network in flags.networks:
        names = {"plain": network}
        names |= {method: f"{network}_{method}" for method in flags.methods}
        steps = {k: rounds.local(make(name, flags.batch)) for k, name in names.items()}
        times = rounds.measure(steps, flags.rounds, flags.seconds)
        cells = [f"{1000 * np.median(times['plain'][:, 0]):.1f}"]
        for method in flags.methods:
            wall, used = rounds.ratio(times, "plain", method)
            cells.append(f"{wall:.3f} ({used:.3f})")
        print(f"| {network} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
