r"""Largest memory of an evaluation of pixels, step by step.

    python -m benchmarks.pixel_memory
    python -m benchmarks.pixel_memory --frames=233 --passes=30 --parts passes measures

Each part runs in a process of its own, whose largest resident memory is read from the
system before and after it, in MB. The network is a small one with dropout, of whose
maps those of the samples are the largest; labels are random and a few are missing.
"""

import argparse
import functools
import pathlib
import resource
import subprocess
import sys
import tempfile

import numpy as np

HEIGHT, WIDTH, CLASSES = 180, 240, 11  # As the frames of CamVid at half their size.


def network():
    """Returns a stochastic network with logits for each pixel."""
    import keras

    import layers

    images = x = keras.Input((HEIGHT, WIDTH, 3), name="images")
    x = keras.layers.Rescaling(1 / 128, -1)(x)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = layers.MCDropout(0.5, seed=0)(x)
    return keras.Model(images, keras.layers.Dense(CLASSES)(x), name="pixels")


def frames(count: int):
    """Returns a data set of noise."""
    from training.data import ImageData

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, HEIGHT, WIDTH, 3), "uint8")
    labels = rng.integers(-1, CLASSES, (count, HEIGHT, WIDTH), "int8")
    names = tuple(f"class {number}" for number in range(CLASSES))
    return ImageData("frames", images, labels, names)


def passes(count: int, size: int, folder: pathlib.Path):
    """Passes the frames through the network, and stores what it predicts."""
    from training.evaluation import predictions, sampling

    of = sampling.Passes(network(), (size,))
    return functools.partial(predictions.store, of, frames(count), folder)


def measures(names, count: int, size: int, folder: pathlib.Path):
    """Computes metrics of what is stored; of no names, all rows of an evaluation."""
    from training import metrics
    from training.evaluation import evaluate, predictions

    functions = {name: metrics.CLASSIFICATION[name] for name in names} or None
    return lambda: evaluate.rows(predictions.load(folder), functions)


def adapts(count: int, size: int, folder: pathlib.Path):
    """Fits the densities of features of pixels."""
    import keras

    from zoo.posterior import Density

    model = network()
    x = model.get_layer("conv2d").output
    plain = keras.Model(model.input, keras.layers.Dense(CLASSES)(x))
    return functools.partial(Density(plain).adapt, frames(count))


PARTS = {
    "passes": passes,
    "measures": functools.partial(measures, ("ece", "nll")),
    "rows": functools.partial(measures, ()),
    "density": adapts,
}


def peak() -> float:
    """Returns the largest resident memory of this process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    """Prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=233)
    parser.add_argument("--passes", type=int, default=30)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--folder", help="of the stored predictions")
    parser.add_argument("--here", choices=list(PARTS), help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.here:
        given = flags.frames, flags.passes, pathlib.Path(flags.folder)
        run = PARTS[flags.here](*given)
        before = peak()
        run()
        print(f"| {flags.here} | {before:.0f} | {peak():.0f} |", flush=True)
        return
    print("| part | before, MB | largest, MB |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = flags.folder or temporary
        for part in flags.parts:
            words = [f"--frames={flags.frames}", f"--passes={flags.passes}"]
            words += [f"--here={part}", f"--folder={folder}"]
            command = [sys.executable, "-m", "benchmarks.pixel_memory", *words]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
