r"""Time of ensembles: inside of one network, and of several networks in one program.

    python -m benchmarks.members
    KERAS_BACKEND=jax python -m benchmarks.members --stacked

The first command compares a prediction by the four members of one network with that of
a deep ensemble of four plain networks. The second compares three networks in one
program, as `zoo.posterior.DeepEnsemble` predicts, with a call of each; and, on JAX,
with the weights stacked and `vmap` over them. Ratios are medians over the rounds of a
round's time over that of the first; in brackets is the same for processor time, which
other programs disturb less. Networks have random weights and the stem for images of
32x32 pixels.
"""

import argparse

import numpy as np

from benchmarks import rounds
from benchmarks.one_pass import some_images

NUM_MEMBERS, NUM_NETWORKS = 4, 3
SHAPE = (32, 32, 3)


def deep_ensemble(name: str, count: int):
    """Returns an ensemble of plain networks."""
    import zoo

    return zoo.posterior.DeepEnsemble(
        [zoo.build(name, SHAPE, 10) for _ in range(count)]
    )


def of_members(network: str, methods: list[str], batch: int) -> dict:
    """Returns steps that predict a batch, of a deep ensemble and of each method."""
    import zoo

    posteriors = {"plain": deep_ensemble(network, NUM_MEMBERS)}
    for method in methods:
        model = zoo.build(f"{network}_{method}{NUM_MEMBERS}", SHAPE, 10)
        posteriors[method] = zoo.posterior.MonteCarlo(model, NUM_MEMBERS)
    images = some_images(batch)
    return {k: _step(own, images) for k, own in posteriors.items()}


def _step(posterior, images):
    return lambda: np.asarray(posterior(images, seed=0))


def stacked(network: str, batch: int) -> dict:
    """Returns steps that predict a batch by three networks in several ways."""
    import keras

    ensemble, images = deep_ensemble(network, NUM_NETWORKS), some_images(batch)
    steps = {
        "each": lambda: [np.asarray(m(images, seed=0)) for m in ensemble.members],
        "program": _step(ensemble, images),
    }
    if keras.backend.backend() == "jax":
        steps["vmap"] = _vmapped([m.model for m in ensemble.members], images)
    return steps


def _vmapped(models, images):
    import jax
    import jax.numpy as jnp

    first, *_ = models
    values = [
        [jnp.stack([v.value for v in row]) for row in zip(*lists, strict=True)]
        for lists in (
            [model.trainable_variables for model in models],
            [model.non_trainable_variables for model in models],
        )
    ]

    def predict(trainable, others, x):
        return first.stateless_call(trainable, others, x, training=False)[0]

    compiled = jax.jit(jax.vmap(predict, (0, 0, None)))
    return lambda: np.asarray(compiled(*values, images))


def main():
    """Prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=["resnet20", "resnet18"])
    parser.add_argument("--methods", nargs="+", default=["film", "batchensemble"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 64])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--stacked", action="store_true")
    flags = parser.parse_args()
    for network in flags.networks:
        for batch in flags.batches:
            if flags.stacked:
                made = stacked(network, batch)
            else:
                made = of_members(network, flags.methods, batch)
            steps = {name: rounds.local(step) for name, step in made.items()}
            times = rounds.measure(steps, flags.rounds, flags.seconds)
            first, *others = steps
            cells = [f"{first} {1000 * np.median(times[first][:, 0]):.1f} ms"]
            for name in others:
                wall, used = rounds.ratio(times, first, name)
                cells.append(f"{name} {wall:.3f} ({used:.3f})")
            print(f"| {network} | {batch} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
