"""PGD of ART and foolbox on our networks; runs in an environment that has them.

`benchmarks.robust_pgd` and `benchmarks.attack_peers` start it as `python -m
benchmarks.attacks_of_peers [arguments]`. The network is a compiled function of
TensorFlow for both libraries, which call it eagerly otherwise, and slower.
"""

import functools
import json
import sys

import numpy as np

from benchmarks import rounds

LIBRARIES = {"art": "adversarial-robustness-toolbox", "foolbox": "foolbox"}


@functools.cache
def network(name: str):
    """Returns a network of ours as a compiled function, loaded if it has weights."""
    import tensorflow as tf

    import zoo

    has_weights = "." in name
    model = zoo.load(name) if has_weights else zoo.build(name, (32, 32, 3), 10)
    compiled = tf.function(lambda x: model(x, training=False), autograph=False)
    return lambda x, training=False: compiled(x)


def art(name: str, settings: dict):
    """Returns ART's PGD as a function of images and labels to images."""
    import tensorflow as tf
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import TensorFlowV2Classifier

    class Averaged(TensorFlowV2Classifier):
        """Its gradient is the mean over several calls, as of a network that draws."""

        def loss_gradient(self, x, y, **options):
            draws = range(settings["draws"])
            one = super().loss_gradient
            return sum(one(x, y, **options) for _ in draws) / len(draws)

    classifier = Averaged(
        model=network(name),
        nb_classes=10,
        input_shape=(32, 32, 3),
        loss_object=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        clip_values=(0, 255),
    )
    attack = ProjectedGradientDescent(
        classifier,
        norm=np.inf if settings["norm"] == "linf" else 2,
        eps=settings["epsilon"],
        eps_step=settings["step_size"],
        max_iter=settings["steps"],
        num_random_init=0,
        batch_size=settings["batch"],
        verbose=False,
    )
    return lambda images, labels: attack.generate(images.astype("float32"), labels)


def foolbox(name: str, settings: dict):
    """Returns foolbox' PGD as a function of images and labels to images."""
    # Which its tensors use, and NumPy 2 has no more.
    np.find_common_type = lambda types, scalars: np.result_type(*types)
    import foolbox as library
    import tensorflow as tf

    model = library.TensorFlowModel(network(name), bounds=(0, 255))
    if settings["draws"] > 1:
        expectation = library.models.ExpectationOverTransformationWrapper
        model = expectation(model, n_steps=settings["draws"])
    kind = {
        "linf": library.attacks.LinfProjectedGradientDescentAttack,
        "l2": library.attacks.L2ProjectedGradientDescentAttack,
    }[settings["norm"]]
    attack = kind(
        abs_stepsize=settings["step_size"],
        steps=settings["steps"],
        random_start=False,
    )

    def run(images, labels):
        found = []
        for first in range(0, len(images), settings["batch"]):
            rows = slice(first, first + settings["batch"])
            pixels = tf.constant(images[rows], tf.float32)
            of_rows = tf.constant(labels[rows], tf.int32)
            _, clipped, _ = attack(model, pixels, of_rows, epsilons=settings["epsilon"])
            found.append(clipped.numpy())
        return np.concatenate(found)

    return run


def make(library: str, model: str, settings: dict):
    """Returns a function that attacks a batch of noise.

    Args:
        library: A key of `LIBRARIES`.
        model: Name of the network.
        settings: `norm`, `epsilon`, `step_size`, `steps`, `draws` and `batch`.
    """
    attack = {"art": art, "foolbox": foolbox}[library](model, settings)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (settings["batch"], 32, 32, 3)).astype("float32")
    labels = rng.integers(0, 10, settings["batch"]).astype("int32")
    return lambda: attack(images, labels)


def write(path: str, output: str, library: str, name: str, settings: str):
    """Attacks the images of an `.npz` file and writes what they become."""
    given = np.load(path)
    attack = {"art": art, "foolbox": foolbox}[library](name, json.loads(settings))
    np.save(output, attack(given["images"], given["labels"]))


if __name__ == "__main__":
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]))
    if len(sys.argv) > 2:
        write(*sys.argv[2:])
    else:
        rounds.serve(make)
