r"""Eigenvalues of Hessians and the time that they take, against PyHessian.

    python -m venv peers
    peers/bin/pip install torch pyhessian
    python -m benchmarks.hessian --peers=peers/bin/python --data_dir=data --compare
    python -m benchmarks.hessian --peers=peers/bin/python --data_dir=data

`--compare` prints the largest eigenvalues of the Hessian of the mean cross-entropy of
the same training images by the same weights, by both of our methods and by the peer;
`--model` is the network, `resnet20.cifar10` by default.

Else it measures, by default with `resnet18` of the weights of `resnet18_mcdo.cifar100`
and 2,000 images: in each round, one after the other, the five largest eigenvalues by
our `--methods`, Lanczos' and power iteration, and by the peer, with one tolerance,
which takes hours (with `--images=200 --rounds=1 --methods lanczos` minutes); and
products with the Hessian, five vectors in one call and one alone, over a gradient of
ours.
`--landscape=21` measures a landscape of that many points a side instead, with
`resnet20.cifar10`. Ratios are medians over the rounds; in brackets is the same for
processor time, which other programs disturb less.

PyHessian has another stopping rule for the same tolerance: the change of the last
iteration, one eigenvalue after the other. Its license is GPL-3; it is no dependency of
this project, and runs in the Python of `--peers`.
"""

import argparse
import functools
import json
import pathlib
import tempfile
import time

import numpy as np

from benchmarks import rounds

SEED = 0


@functools.cache
def network(name: str):
    """Returns a network; `resnet18` has the weights of the packaged stochastic one."""
    import zoo

    if name != "resnet18":
        return zoo.load(name)
    trained = zoo.load("resnet18_mcdo.cifar100")
    normalize = trained.get_layer("normalize").get_config()
    moments = (np.ravel(normalize[key]).tolist() for key in ("mean", "variance"))
    model = zoo.build("resnet18", trained.input_shape[1:], 100, tuple(moments))
    for layer in model.layers:
        if layer.weights and layer.name != "normalize":
            layer.set_weights(trained.get_layer(layer.name).get_weights())
    return model


def arrays(model) -> dict[str, np.ndarray]:
    """Returns the weights of a model by the names of layers."""
    found, epsilons = {}, set()
    for layer in model.layers:
        for weight in layer.weights:
            found[f"{layer.name}/{weight.name}"] = np.asarray(weight)
        epsilons.add(getattr(layer, "epsilon", None))
    normalize = model.get_layer("normalize").get_config()
    (found["epsilon"],) = map(np.asarray, epsilons - {None})
    for key in ("mean", "variance"):
        found[key] = np.ravel(normalize[key])
    return found


def load(name: str, data_dir: str, count: int):
    """Returns a model, images and labels."""
    from training import data

    model = network(name)
    dataset = "cifar100" if model.output_shape[-1] == 100 else "cifar10"
    found = data.load(dataset, "train", data_dir).take(count)
    return model, found.images, found.labels


class Ours:
    """The Hessian of the cross-entropy of images, in batches.

    Args:
        model: The network.
        images: All images.
        labels: Their labels.
        at_once: Images of a batch.
    """

    def __init__(self, model, images, labels, at_once: int):
        from training.analysis.hessian_products import HessianProducts
        from training.analysis.weight_loss import WeightLoss

        self.matrix = HessianProducts(WeightLoss(model), at_once=at_once)
        targets = np.eye(model.output_shape[-1], dtype="float32")[labels]
        self.batch = images, targets

    def products(self, vectors):
        """Returns products of vectors, as `training.analysis.spectra` takes them."""
        return self.matrix.products(vectors, *self.batch)

    def eigenvalues(self, method: str, count: int, tolerance: float):
        """Returns the largest eigenvalues by one of the methods."""
        from training.analysis import spectra

        return spectra.METHODS[method](
            self.products, self.matrix.size, count, tolerance, seed=SEED
        )


def compare(own: Ours, theirs: str, count: int, tolerance: float) -> list[str]:
    """Returns lines of eigenvalues, and their largest relative difference."""
    with open(theirs, encoding="utf-8") as file:
        expected = np.array(json.load(file))
    lines = [f"PyHessian: {', '.join(f'{value:.4f}' for value in expected)}"]
    for method in ("lanczos", "power"):
        found = own.eigenvalues(method, count, tolerance)
        gap = np.abs(found.values / expected - 1)
        lines.append(
            f"{method}: {', '.join(f'{value:.4f}' for value in found.values)}; "
            f"{found.num_products} products, residuals up to "
            f"{found.residuals.max():.1e}; the largest differs by {gap[0]:.1e} of it, "
            f"all by up to {gap.max():.1e}"
        )
    return lines


def told(name: str, step):
    """Returns a step that prints what it took, as soon as it is done."""

    def run(count):
        wall, used = step(count)
        print(f"{name}: {wall:.4g} s, of processor time {used:.4g} s", flush=True)
        return wall, used

    return run


def measure(own: Ours, theirs, flags) -> list[str]:
    """Returns lines of the times of eigenvalues."""
    # Not warmed, as what they compile is compiled, and they take minutes.
    steps = {
        method: functools.partial(
            rounds.clock,
            functools.partial(own.eigenvalues, method, flags.count, flags.tolerance),
        )
        for method in flags.methods
    }
    steps["theirs"] = theirs
    steps = {name: told(name, step) for name, step in steps.items()}
    times = rounds.measure(steps, flags.rounds, 0)
    lines = []
    for method in flags.methods:
        wall, used = rounds.ratio(times, method, "theirs")
        seconds = np.median(times[method][:, 0])
        lines.append(
            f"{flags.count} eigenvalues, {method}: {seconds:.3g} s, PyHessian takes "
            f"{wall:.3g} times as long ({used:.3g})"
        )
    return lines


def products(own: Ours, theirs, flags) -> list[str]:
    """Returns lines of products over gradients, of one batch."""
    images, targets = (part[: flags.batch] for part in own.batch)
    rng = np.random.default_rng(SEED)
    vectors = rng.normal(size=(5, own.matrix.size)).astype(own.matrix.dtype)
    steps = {
        "gradient": lambda: own.matrix.gradient(images, targets),
        "five": lambda: own.matrix.products(vectors, images, targets),
        "one": lambda: own.matrix.products(vectors[:1], images, targets),
    }
    steps = {name: rounds.local(step) for name, step in steps.items()}
    steps["theirs"] = theirs
    times = rounds.measure(steps, flags.rounds, flags.seconds)
    lines = []
    for name, count in (("five", 5), ("one", 1)):
        wall, used = rounds.ratio(times, "gradient", name) / count
        lines.append(f"a product, {name} in a call: {wall:.3g} gradients ({used:.3g})")
    wall, used = rounds.ratio(times, "gradient", "theirs")
    return [*lines, f"a gradient of PyTorch: {wall:.3g} of ours ({used:.3g})"]


def landscape(flags) -> str:
    """Returns a line on the time of a landscape."""
    from training import analysis, data

    model = network("resnet20.cifar10")
    images = data.load("cifar10", "train", flags.data_dir).take(flags.images)
    start, used = time.perf_counter(), time.process_time()
    analysis.landscape(model, images, num_images=flags.images, points=flags.landscape)
    wall, used = time.perf_counter() - start, time.process_time() - used
    return (
        f"landscape of {flags.landscape} x {flags.landscape} points, {flags.images} "
        f"images: {wall:.4g} s, of processor time {used:.4g} s"
    )


def main(flags):
    """Prints the comparison, or the times."""
    if flags.landscape:
        print(landscape(flags))
        return
    name = flags.model or ("resnet20.cifar10" if flags.compare else "resnet18")
    model, images, labels = load(name, flags.data_dir, flags.images)
    own = Ours(model, images, labels, flags.batch)
    peer = rounds.Remote(flags.peers, "benchmarks.hessian_torch", (str(flags.threads),))
    with tempfile.TemporaryDirectory() as folder:
        path, output = f"{folder}/given.npz", f"{folder}/theirs.json"
        np.savez(path, images=images, labels=labels, **arrays(model))
        job = {"data": str(pathlib.Path(path)), "batch": flags.batch}
        settings = {"count": flags.count, "tolerance": flags.tolerance}
        eigenvalues = {"kind": "eigenvalues", "output": output, **settings, **job}
        if flags.compare:
            peer.step("it", **eigenvalues)
            print("\n".join(compare(own, output, **settings)))
        else:
            theirs = peer.step("gradient", kind="gradient", **job)
            print("\n".join(products(own, theirs, flags)), flush=True)
            if flags.methods:
                theirs = peer.step("eigenvalues", warm=False, **eigenvalues)
                print("\n".join(measure(own, theirs, flags)))
    peer.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", help="Python of PyHessian.")
    parser.add_argument("--data_dir", help="Folder of CIFAR-10 and CIFAR-100.")
    parser.add_argument("--model", help="Name of the network.")
    parser.add_argument("--images", type=int, default=2000, help="How many.")
    parser.add_argument("--batch", type=int, default=100, help="Images at a time.")
    parser.add_argument("--count", type=int, default=5, help="Eigenvalues.")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="Of both.")
    methods = {"nargs": "*", "default": ["lanczos", "power"]}
    parser.add_argument("--methods", **methods, help="None for products alone.")
    parser.add_argument("--rounds", type=int, default=3, help="How often.")
    parser.add_argument("--seconds", type=float, default=1, help="Of a measurement.")
    parser.add_argument("--threads", type=int, default=2, help="Of the peer.")
    parser.add_argument("--compare", action="store_true", help="Compare results.")
    parser.add_argument("--landscape", type=int, default=0, help="Points a side.")
    main(parser.parse_args())
