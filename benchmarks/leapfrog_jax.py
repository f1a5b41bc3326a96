"""The same transition as `benchmarks.leapfrog` in BlackJAX and NumPyro."""

from benchmarks import rounds
from benchmarks.leapfrog import SCALE, STEP_SIZE, STEPS, UNITS, data


def log_density(count: int):
    """Returns the log density of weights that are divided by their scale, and those."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    images, labels = data(count)
    inputs = jnp.asarray(images, "float32") / 255
    sizes = 784, *UNITS, 10
    rng, weights = np.random.default_rng(1), []
    for before, after in zip(sizes, sizes[1:], strict=False):
        kernel = rng.normal(size=(before, after)).astype("float32")
        weights.append((kernel, rng.normal(size=after).astype("float32")))

    def density(weights):
        x = inputs
        for number, (kernel, bias) in enumerate(weights):
            x = x @ (SCALE * kernel) + SCALE * bias
            x = x if number == len(weights) - 1 else jax.nn.relu(x)
        logs = jnp.take_along_axis(jax.nn.log_softmax(x), labels[:, None], axis=1)
        prior = sum(jnp.sum(jnp.square(w)) for w in jax.tree.leaves(weights))
        return jnp.sum(logs) - 0.5 * prior

    return density, jax.tree.map(jnp.asarray, weights)


def blackjax(count: int):
    """Returns a function without arguments that makes a transition."""
    import blackjax
    import jax
    import jax.numpy as jnp

    density, weights = log_density(count)
    size = sum(w.size for w in jax.tree.leaves(weights))
    kernel = blackjax.hmc(density, STEP_SIZE, jnp.ones(size), STEPS)
    move, chain = jax.jit(kernel.step), [kernel.init(weights), jax.random.key(0)]

    def step():
        chain[1], key = jax.random.split(chain[1])
        chain[0], _ = move(key, chain[0])
        jax.block_until_ready(chain[0])

    return step


def numpyro(count: int):
    """Returns a function without arguments that makes a transition."""
    import jax
    from numpyro.infer import HMC

    density, weights = log_density(count)
    kernel = HMC(
        potential_fn=lambda weights: -density(weights),
        step_size=STEP_SIZE,
        num_steps=STEPS,
        adapt_step_size=False,
        adapt_mass_matrix=False,
    )
    state = kernel.init(jax.random.PRNGKey(0), 0, weights, (), {})
    move, chain = jax.jit(lambda state: kernel.sample(state, (), {})), [state]

    def step():
        chain[0] = move(chain[0])
        jax.block_until_ready(chain[0])

    return step


LIBRARIES = {"blackjax": blackjax, "numpyro": numpyro}

if __name__ == "__main__":
    rounds.serve(lambda library, count: LIBRARIES[library](count))
