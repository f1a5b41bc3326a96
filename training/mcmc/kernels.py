"""Transition kernels by name, of tensorflow-probability.

Reference:
    [MCMC using Hamiltonian dynamics](https://arxiv.org/abs/1206.1901) (Neal, 2011);
    [The No-U-Turn Sampler](https://arxiv.org/abs/1111.4246) (Hoffman and Gelman, 2014),
    of which the dual averaging of the step size is section 3.2.
"""

import dataclasses
import math
import typing
from collections.abc import Callable

# An energy error beyond it is no rounding: the integrator has diverged, as in Stan.
MAX_ENERGY_ERROR = 1000.0
MAX_LEAPFROG_STEPS = 10_000
_LONGER = 4  # Times as many steps as at first there are while the step size adapts.
_MAX_TREE_DEPTH = 10
# Mean acceptance probability that the step size adapts to, the default of each sampler.
_TARGETS = {"hmc": 0.75, "nuts": 0.8}


class Step(typing.NamedTuple):
    """What is known of a transition; scalar tensors."""

    # Probability with which the end of the trajectory was accepted; for NUTS its mean
    # along the trajectory.
    acceptance: object
    # Of the leapfrog steps, in standardized weights.
    step_size: object
    # The number of these.
    leapfrog_steps: object
    # Whether the energy error was beyond `MAX_ENERGY_ERROR`, or no number.
    diverged: object
    # Of where the chain is now, in nats, up to a constant.
    log_density: object


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A transition kernel.

    Attributes:
        begin: From a state to the first results.
        transition: From a state, the last results, a stateless seed of shape `(2,)` and
            whether the step size still adapts, to the next state, results and `Step`.
    """

    begin: Callable
    transition: Callable


def hmc(density: Callable, settings, num_adaptation: int) -> Kernel:
    """Returns Hamiltonian Monte Carlo with trajectories of a length.

    The number of leapfrog steps is the length over the step size, rounded up, so it
    changes while that adapts.

    Args:
        density: From a vector to a log density.
        settings: A `training.mcmc.Sampling`.
        num_adaptation: Transitions in which the step size adapts.
    """
    import tensorflow as tf
    import tensorflow_probability as tfp

    first = _steps(settings.trajectory, settings.step_size)
    short = int(min(_LONGER * first, MAX_LEAPFROG_STEPS))
    inner = tfp.mcmc.HamiltonianMonteCarlo(
        density,
        step_size=tf.constant(settings.step_size, "float64"),
        num_leapfrog_steps=int(min(first, MAX_LEAPFROG_STEPS)),
        store_parameters_in_results=True,
    )
    kernel = _adapting(inner, "hmc", num_adaptation)

    def transition(state, results, seed, adapts):
        # What the adaptation has found becomes the step size of this transition.
        name = "new_step_size" if num_adaptation else "step_size"
        step_size = _found(results, name)
        limit = tf.where(adapts, short, MAX_LEAPFROG_STEPS)
        count = tf.math.ceil(settings.trajectory / step_size - 1e-6)
        count = tf.minimum(tf.maximum(count, 1.0), tf.cast(limit, "float64"))
        count = tf.cast(count, "int32")
        results = _with_steps(results, count)
        state, results = kernel.one_step(state, results, seed=seed)
        ratio = _found(results, "log_accept_ratio")
        step = Step(
            acceptance=_acceptance(ratio),
            step_size=step_size,
            leapfrog_steps=count,
            diverged=~(ratio > -MAX_ENERGY_ERROR),
            log_density=_log_density(results),
        )
        return state, results, step

    return Kernel(kernel.bootstrap_results, transition)


def nuts(density: Callable, settings, num_adaptation: int) -> Kernel:
    """Returns the no-U-turn sampler, which chooses the lengths of trajectories.

    Args:
        density: From a vector to a log density.
        settings: A `training.mcmc.Sampling`; its `trajectory` does not matter.
        num_adaptation: Transitions in which the step size adapts.
    """
    import tensorflow as tf
    import tensorflow_probability as tfp

    inner = tfp.mcmc.NoUTurnSampler(
        density,
        step_size=tf.constant(settings.step_size, "float64"),
        max_tree_depth=_MAX_TREE_DEPTH,
        max_energy_diff=MAX_ENERGY_ERROR,
    )
    kernel = _adapting(inner, "nuts", num_adaptation)

    def transition(state, results, seed, adapts):
        state, results = kernel.one_step(state, results, seed=seed)
        step = Step(
            acceptance=_acceptance(_found(results, "log_accept_ratio")),
            step_size=_found(results, "step_size"),
            leapfrog_steps=_found(results, "leapfrogs_taken"),
            diverged=_found(results, "has_divergence"),
            log_density=_log_density(results),
        )
        return state, results, step

    return Kernel(kernel.bootstrap_results, transition)


KERNELS = {"hmc": hmc, "nuts": nuts}


def _steps(trajectory, step_size):
    return math.ceil(trajectory / step_size - 1e-6)


def _adapting(kernel, name, num_adaptation):
    import tensorflow as tf
    import tensorflow_probability as tfp

    if not num_adaptation:
        return kernel
    return tfp.mcmc.DualAveragingStepSizeAdaptation(
        kernel,
        num_adaptation_steps=num_adaptation,
        target_accept_prob=tf.constant(_TARGETS[name], "float64"),
    )


def _acceptance(log_ratio):
    import tensorflow as tf

    probability = tf.exp(tf.minimum(log_ratio, 0.0))
    return tf.where(tf.math.is_finite(log_ratio), probability, 0.0)


def _log_density(results):
    return _found(results, "target_log_prob")


# Kernels hold those that they are made of, and so do their results.
_INNER = "inner_results", "accepted_results"


def _found(results, name):
    """Returns a field of results, or of the nearest results inside that have it."""
    while name not in results._fields:
        results = next(getattr(results, i) for i in _INNER if i in results._fields)
    return getattr(results, name)


def _with_steps(results, count):
    """Returns results with another number of leapfrog steps."""
    if "num_leapfrog_steps" in results._fields:
        return results._replace(num_leapfrog_steps=count)
    inner = next(i for i in _INNER if i in results._fields)
    return results._replace(**{inner: _with_steps(getattr(results, inner), count)})
