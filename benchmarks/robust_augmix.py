r"""Time of a training with AugMix over that of a plain one, and of its input alone.

    python -m benchmarks.robust_augmix

A step with AugMix passes three views of each image, so three times that of a plain one
is what its network takes. Each round measures, one after the other and in turning
order: a step of both with batches that are there, the reading and augmenting of a batch
of both, and a step of `fit` with its input. Ratios are medians over the rounds of a
round's time over that of the plain one; in brackets is the same for processor time. The
input is no bottleneck if a batch takes less than a step: it is made meanwhile.
"""

import argparse
import dataclasses

import numpy as np

from benchmarks import rounds

STEPS = 4  # In each call of `fit`, and batches of each reading.
OBJECTIVES = {"plain": "cross_entropy", "augmix": "augmix"}


def steps(name: str, flags) -> dict:
    """Returns what is measured of an objective, each for `STEPS` batches.

    Args:
        name: A key of `OBJECTIVES`.
        flags: `network`, `batch` and `dtype`.
    """
    import keras

    import zoo
    from benchmarks.devices import noise
    from training import batches, run, trainer

    keras.config.set_dtype_policy(flags.dtype)
    recipe = dataclasses.replace(
        run.load_recipe("cifar10_finetune"),
        batch_size=flags.batch,
        objective=OBJECTIVES[name],
        learning_rate=1e-4,
    )
    data = noise(STEPS * flags.batch)
    model = zoo.build(flags.network, data.input_shape, 10)
    trained = trainer.compile_model(model, recipe, len(data))
    dataset = batches.train_batches(
        data, flags.batch, recipe.augmentations, views=trained.objective.views
    )
    images, labels = next(iter(dataset))

    def pass_all():
        for _ in range(STEPS):
            trained.train_on_batch(images, labels)

    def read_all():
        for _ in dataset:
            pass

    def fit():
        options = {"steps_per_epoch": STEPS, "shuffle": False, "verbose": 0}
        trained.fit(dataset.repeat(), **options)

    return {"step": pass_all, "input": read_all, "fit": fit}


def measure(flags) -> tuple[dict, dict]:
    """Returns the milliseconds of a batch, and the ratios to those of the plain one.

    Args:
        flags: As for `steps`, and `rounds`.

    Returns:
        By objective and what is measured, such as `("augmix", "step")`: the median of
        milliseconds, and medians of the two ratios, by both clocks.
    """
    made = {
        (name, kind): rounds.local(step)
        for name in OBJECTIVES
        for kind, step in steps(name, flags).items()
    }
    times = rounds.measure(made, flags.rounds, 0)
    spent = {key: 1000 * np.median(x[:, 0]) / STEPS for key, x in times.items()}
    ratios = {key: rounds.ratio(times, ("plain", key[1]), key) for key in times}
    return spent, ratios


def table(flags) -> list[str]:
    """Returns the lines of a table in Markdown."""
    spent, ratios = measure(flags)
    lines = [
        f"| {flags.network}, batch {flags.batch} | plain, ms | augmix, ms | ratio |",
        "| --- | ---: | ---: | ---: |",
    ]
    for kind in ("step", "input", "fit"):
        wall, used = ratios["augmix", kind]
        plain, ours = (spent[name, kind] for name in OBJECTIVES)
        lines.append(f"| {kind} | {plain:.1f} | {ours:.1f} | {wall:.2f} ({used:.2f}) |")
    share = spent["augmix", "input"] / spent["augmix", "step"]
    lines.append(f"| input over step | | {share:.2f} | |")
    return lines


def main():
    """Prints a table for each network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=["resnet20", "resnet18"])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--dtype", default="mixed_bfloat16")
    flags = parser.parse_args()
    for network in flags.networks:
        flags.network = network
        print("\n".join(table(flags)), flush=True)


if __name__ == "__main__":
    main()
