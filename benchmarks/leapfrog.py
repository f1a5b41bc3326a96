"""Times a transition of Hamiltonian Monte Carlo against BlackJAX and NumPyro on JAX.

The network is a perceptron of two hidden layers of 256 units for images of 28 x 28
pixels, the density that of all images with a Gaussian prior, and a transition has 50
leapfrog steps. Ours keeps its state in float64 and computes the network in float32;
theirs are in float32.

    python -m benchmarks.leapfrog --jax_python=path/to/python

That Python has blackjax and numpyro; without it ours is timed alone.
"""

import argparse

import numpy as np

from benchmarks import rounds

STEPS, STEP_SIZE, SCALE = 50, 1e-3, 0.1
UNITS = 256, 256


def data(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns images of noise in [0, 255], flattened, and labels of ten classes."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 784)).astype("uint8")
    return images, rng.integers(0, 10, count)


def ours(count: int):
    """Returns a function without arguments that makes a transition."""
    import tensorflow as tf

    import zoo
    from training.bayesian.priors import ModelPrior
    from training.mcmc import KERNELS, LogDensity, Sampling

    images, labels = data(count)
    model = zoo.build("mlp", (28, 28, 1), 10, ((0.0,), (255.0**2,)))
    prior = ModelPrior(f"gaussian:scale={SCALE}", model)
    images = images.reshape(-1, 28, 28, 1)
    density = LogDensity(model, prior, images, labels, batch_size=count)
    settings = Sampling(step_size=STEP_SIZE, trajectory=STEPS * STEP_SIZE, burnin=0)
    kernel = KERNELS["hmc"](density, settings, 0)
    transition = tf.function(kernel.transition, jit_compile=True)
    state = tf.constant(np.random.default_rng(1).normal(size=density.size))
    chain = [state, kernel.begin(state), 0]

    def step():
        key = tf.constant([0, chain[2]])
        chain[0], chain[1], facts = transition(*chain[:2], key, False)
        chain[2] += 1
        assert facts.leapfrog_steps.numpy() == STEPS

    return step


def main():
    """Prints a row for each library."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jax_python", help="a Python with blackjax and numpyro")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    given = parser.parse_args()
    steps, versions = {"ours": rounds.local(ours(given.images))}, {}
    if given.jax_python:
        remote = rounds.Remote(given.jax_python, "benchmarks.leapfrog_jax")
        for name in ("blackjax", "numpyro"):
            steps[name] = remote.step(name, library=name, count=given.images)
            versions[name] = rounds.version(given.jax_python, name)
    times = rounds.measure(steps, given.rounds, given.seconds)
    print("| library | ms a leapfrog step | processor ms | of ours |")
    print("|---|---|---|---|")
    for name, own in times.items():
        wall, used = np.median(own, axis=0) / STEPS * 1e3
        _, ratio = rounds.ratio(times, name, "ours")
        title = f"{name} {versions.get(name, '')}".strip()
        print(f"| {title} | {wall:.1f} | {used:.1f} | {1 / ratio:.2f} |")


if __name__ == "__main__":
    main()
