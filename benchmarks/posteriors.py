r"""Time and results of Laplace's approximation, against laplace-torch.

    python -m venv peers
    peers/bin/pip install torch laplace-torch
    python -m benchmarks.posteriors --peers=peers/bin/python \
        --weights=weights/resnet20-12fca82f.th --data_dir=data

The network is the resnet20 of akamaster/pytorch_resnet_cifar10, whose weights
`--weights` is: here the file is converted, and there it is loaded as it is.

`--compare` fits both to the same training images of CIFAR-10 in batches of one size,
and prints the largest difference of mean and variance of the logits of these images,
over the largest mean and the variance, and of the logarithm of the marginal likelihood
at a prior precision of 1, over that. `--layers` does so with all weights, and with all
of the covariance of the weights of the first convolution and the last layer:
`--images=41 --batch=8`, for which the peer takes minutes, are some of each class.

Else one round measures, one after the other: a fit of the last layer by a Kronecker
product, the prior precision of the largest marginal likelihood, and the prediction of
test images; and the prediction of 64 images by a layer of `--features` and `--classes`
alone. Ratios are medians over the rounds of a round's time over that of `ours`; in
brackets is the same for processor time, which other programs disturb less. The peer,
which is no dependency of this project, runs in the Python of `--peers`.
"""

import argparse
import os
import pathlib
import resource
import tempfile

import numpy as np

from benchmarks import rounds

MODEL = "resnet20.akamaster_cifar10"
STRUCTURES = "full", "kronecker", "diagonal"
SEED = 0


def ours(data: str, batch: int):
    """Returns a step that fits, chooses the prior precision, and predicts."""
    import zoo

    given, model = np.load(data), zoo.load(MODEL)
    images, labels, test = (given[key] for key in ("images", "labels", "test"))

    def step():
        posterior = zoo.posterior.Laplace(model)
        posterior.adapt(images, labels, batch_size=batch)
        posterior.predict(test, batch_size=batch)

    return step


def head(features: int, classes: int, count: int):
    """Returns a step that predicts images by a layer of some size alone."""
    import keras

    import zoo

    inputs = keras.Input((1, 1, features))
    layer = keras.layers.Dense(classes)
    model = keras.Model(inputs, layer(keras.layers.Flatten()(inputs)))
    rng = np.random.default_rng(SEED)
    images = rng.integers(0, 256, (max(count, classes), 1, 1, features)).astype("uint8")
    posterior = zoo.posterior.Laplace(model, prior_precision=1.0)
    posterior.adapt(images, np.arange(len(images)) % classes)
    return lambda: posterior.predict(images[:count], count)


# By structure, what is compared of more layers than the last one.
LAYERS = {
    "kronecker": {"subset": "all"},
    "diagonal": {"subset": "all"},
    "full": {"subset": "subnetwork", "subnetwork": ["stem_conv", "head"]},
}


def compare(data: str, output: str, batch: int, settings: dict) -> list[str]:
    """Returns a line of differences for each structure."""
    import zoo

    given, theirs, lines = np.load(data), np.load(output), []
    model, images = zoo.load(MODEL), np.load(data)["images"]
    for structure, more in settings.items():
        posterior = zoo.posterior.Laplace(model, structure, prior_precision=1.0, **more)
        posterior.adapt(images, given["labels"], batch_size=batch)
        mean, covariance, evidence = (
            theirs[f"{structure}/{name}"] for name in ("mean", "covariance", "evidence")
        )
        own = np.asarray(model.predict(images, batch_size=batch, verbose=0))
        variance = np.concatenate(
            [
                posterior.logit_variance(images[i : i + batch])
                for i in range(0, len(images), batch)
            ]
        )
        expected = np.diagonal(covariance, axis1=1, axis2=2)
        found = posterior.log_marginal_likelihood()
        differences = {
            "mean": np.abs(own - mean).max() / np.abs(mean).max(),
            "variance": np.abs(variance / expected - 1).max(),
            "evidence": abs(found / float(evidence) - 1),
        }
        text = ", ".join(f"{k} {v:.1e}" for k, v in differences.items())
        lines.append(f"{structure}: {text}; log evidence {found:.3f}")
    return lines


def write_images(path: str, data_dir: str, count: int, tests: int):
    """Writes training images and labels, and test images."""
    from training import data

    train = data.load("cifar10", "train", data_dir)
    test = data.load("cifar10", "test", data_dir)
    np.savez(
        path,
        images=train.images[:count],
        labels=train.labels[:count],
        test=test.images[:tests],
    )


def report(name: str, steps: dict, count: int) -> str:
    """Measures ours and theirs; returns a line."""
    times = rounds.measure(steps, count, 0)
    seconds = {key: np.median(value[:, 0]) for key, value in times.items()}
    wall, used = rounds.ratio(times, "ours", "theirs")
    return (
        f"{name}: ours {seconds['ours']:.3g} s, laplace-torch "
        f"{seconds['theirs']:.3g} s, {wall:.3g} times as fast ({used:.3g})"
    )


def main(flags):
    """Prints the comparison, or the times."""
    os.environ["ZOO_WEIGHTS"] = str(pathlib.Path(flags.weights).resolve().parent)
    peer = rounds.Remote(
        flags.peers, "benchmarks.posteriors_torch", (str(flags.threads),)
    )
    with tempfile.TemporaryDirectory() as folder:
        path, output = f"{folder}/images.npz", f"{folder}/theirs.npz"
        write_images(path, flags.data_dir, flags.images, flags.tests)
        job = {"data": path, "weights": str(pathlib.Path(flags.weights).resolve())}
        if flags.compare or flags.layers:
            kind = "compare_layers" if flags.layers else "compare"
            settings = LAYERS if flags.layers else dict.fromkeys(STRUCTURES, {})
            peer.step("it", kind=kind, output=output, batch=flags.batch, **job)
            print("\n".join(compare(path, output, flags.batch, settings)))
        else:
            size = {"features": flags.features, "classes": flags.classes, "count": 64}
            theirs = peer.step("head", kind="head", seed=SEED, **size)
            both = {"ours": rounds.local(head(**size)), "theirs": theirs}
            name = "64 images, {features} features, {classes} classes".format(**size)
            print(report(name, both, flags.rounds))
            theirs = peer.step("all", kind="predict", batch=flags.batch, **job)
            both = {"ours": rounds.local(ours(path, flags.batch)), "theirs": theirs}
            name = f"fit of {flags.images}, prediction of {flags.tests}"
            print(report(name, both, flags.rounds))
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"peak memory of ours: {own / 2**20:.3g} GiB")
    peer.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", required=True, help="Python of laplace-torch.")
    parser.add_argument("--weights", required=True, help="File of resnet20.")
    parser.add_argument("--data_dir", help="Folder of CIFAR-10.")
    parser.add_argument("--images", type=int, default=2000, help="To fit to.")
    parser.add_argument("--tests", type=int, default=10000, help="To predict.")
    parser.add_argument("--batch", type=int, default=100, help="Images per step.")
    parser.add_argument("--features", type=int, default=512, help="Of the layer.")
    parser.add_argument("--classes", type=int, default=100, help="Of the layer.")
    parser.add_argument("--rounds", type=int, default=3, help="How often.")
    parser.add_argument("--threads", type=int, default=2, help="Of the peer.")
    parser.add_argument("--compare", action="store_true", help="Compare results.")
    parser.add_argument("--layers", action="store_true", help="Compare more layers.")
    main(parser.parse_args())
