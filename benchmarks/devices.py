"""Images per second of a training on several devices, and of the input alone.

    python -m benchmarks.devices --write=docs/training_speed.md

The devices are logical ones of one processor, so that they share its cores: what is
measured is what the sharing of batches, gradients and statistics costs. Each round
measures one device and several, one after the other, in turning order; the ratio is the
median over the rounds. The input is read, augmented and put into batches as
`zoo-train` does it, without a training.

Prints Markdown; `--write` puts it between the marks of a file too.
"""

import argparse
import dataclasses
import pathlib

import numpy as np

from benchmarks import rounds

MARKS = "<!-- devices -->\n", "<!-- end of devices -->\n"
STEPS = 4  # In each call of `fit`.


def steps_of(devices: int, flags):
    """Returns a function that trains for some steps, and how many images they have."""
    import zoo
    from training import batches, distribution, run, trainer

    recipe = dataclasses.replace(run.load_recipe("cifar10"), batch_size=flags.batch)
    data = noise(STEPS * flags.batch)
    with distribution.scope("mirrored" if devices > 1 else "one"):
        model = zoo.build(flags.network, data.input_shape, 10)
        trainer._prepare_replicas(model)
        trained = trainer.compile_model(model, recipe, len(data))
        replicas = distribution.num_replicas()
    trained.filled_up = replicas > 1
    dataset = batches.train_batches(data, flags.batch, replicas=replicas)
    options = {"steps_per_epoch": STEPS, "shuffle": False, "verbose": 0}
    options["callbacks"] = [distribution.KeptMemory()] if replicas > 1 else []
    return lambda: trained.fit(dataset.repeat(), **options)


def noise(count: int):
    """Returns a data set of random images of 32 x 32 pixels."""
    from training.data import ImageData

    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), "uint8")
    labels = np.arange(count, dtype="int32") % 10
    return ImageData("noise", images, labels, tuple("0123456789"))


def read(augmentations, count: int = 20_000):
    """Returns a function that reads an epoch of batches of 128, and its images."""
    from training import batches

    data = noise(count)

    def epoch():
        for _ in batches.train_batches(data, 128, augmentations):
            pass

    return epoch, count // 128 * 128


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--write", type=pathlib.Path, help="A file with the marks.")
    flags = parser.parse_args()
    import tensorflow as tf

    processor = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * flags.devices
    tf.config.set_logical_device_configuration(processor, logical)
    from benchmarks.results import documents
    from benchmarks.train import conditions

    flags.seconds = 0
    about = conditions(flags)
    steps = {n: rounds.local(steps_of(n, flags)) for n in (1, flags.devices)}
    times = rounds.measure(steps, flags.rounds, 0)
    images = STEPS * flags.batch
    wall, used = rounds.ratio(times, flags.devices, 1)
    lines = [
        about,
        f"`{flags.network}`, 32 x 32 x 3, batches of {flags.batch} together:\n",
        "| logical devices | images/s | times those of one | by processor time |",
        "| ---: | ---: | ---: | ---: |",
    ]
    for name, ratios in ((1, (1, 1)), (flags.devices, (wall, used))):
        speed = images / np.median(times[name][:, 0])
        lines.append(f"| {name} | {speed:.0f} | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    lines += ["", "| input, 32 x 32 x 3 | images/s | for a second of processor time |"]
    lines += ["| --- | ---: | ---: |"]
    for name in ((), ("flip", "crop4")):
        epoch, count = read(name)
        taken = rounds.measure({"read": rounds.local(epoch)}, flags.rounds, 0)["read"]
        speeds = count / np.median(taken, axis=0)
        label = " and ".join(name) or "as it is"
        lines.append(f"| {label} | {speeds[0]:,.0f} | {speeds[1]:,.0f} |")
    print("\n".join(lines))
    if flags.write:
        documents.replace(flags.write, "\n".join(["", *lines, ""]), MARKS)


if __name__ == "__main__":
    main()
