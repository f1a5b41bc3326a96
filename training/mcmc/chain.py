"""One Markov chain, which goes on where it was stopped."""

import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Callable, Mapping

import numpy as np
import safetensors
import safetensors.numpy

from layers import checks
from training.differences import differences
from training.distribution import workers
from training.mcmc.kernels import KERNELS, MAX_ENERGY_ERROR, Step
from zoo.storage import files

_PATIENCE = 20  # Transitions in a row.
_STUCK = 0.01  # Mean acceptance of these below which a chain goes nowhere.
_ADAPTED = 0.8  # Share of the burn-in in which the step size adapts, as tfp advises.


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the posterior is sampled.

    Lengths are in standardized weights, in which a Gaussian prior has a standard
    deviation of 1.

    Attributes:
        kernel: A key of `KERNELS`: `"hmc"` or `"nuts"`.
        num_results: Draws of a chain that are kept.
        burnin: Transitions before the first of them; the step size adapts in the first
            80 % of these, and with 0 it stays.
        step_size: Of the first leapfrog steps.
        trajectory: Length of the trajectories of `"hmc"`. By a quarter of a turn, the
            default, directions of which the data say nothing forget where they were.

    Raises:
        ValueError: If a value is out of its range.
    """

    kernel: str = "hmc"
    num_results: int = 100
    burnin: int = 50
    step_size: float = 0.01
    trajectory: float = math.pi / 2

    def __post_init__(self):
        checks.check_choice(self.kernel, "kernel", KERNELS)
        checks.check_count(self.num_results, "num_results")
        checks.check_positive(self.step_size, "step_size")
        checks.check_positive(self.trajectory, "trajectory")
        if not isinstance(self.burnin, int) or self.burnin < 0:
            raise ValueError(
                "`burnin` is a number of transitions, 0 for none. Received: burnin="
                f"{self.burnin}"
            )

    @property
    def num_adaptation(self) -> int:
        """Transitions in which the step size adapts."""
        return int(_ADAPTED * self.burnin)


@functools.lru_cache(maxsize=1)  # For all chains.
def _programs(density, settings, jit_compile):
    """Returns the compiled first results, and the compiled transition."""
    import tensorflow as tf

    kernel = KERNELS[settings.kernel](density, settings, settings.num_adaptation)
    return (
        tf.function(kernel.begin, jit_compile=jit_compile),
        tf.function(kernel.transition, jit_compile=jit_compile),
    )


def path_of(folder: str | pathlib.Path, number: int) -> pathlib.Path:
    """Returns where the state of a chain lies in a folder."""
    return pathlib.Path(folder, f"chain_{number:02d}.safetensors")


def run_chain(
    density,
    settings: Sampling,
    folder: str | pathlib.Path,
    identity: Mapping,
    number: int = 0,
    seed: int = 0,
    keep: Callable = lambda draw, state: None,
    begin: np.ndarray | None = None,
    jit_compile: bool = False,
    checkpoint_seconds: float = 60.0,
    shown: Callable = lambda step, left: None,
) -> dict[str, np.ndarray]:
    """Runs a Markov chain, or goes on with it.

    One that was stopped at any moment and is called again goes on from its last
    checkpoint, and its draws are those of one that was never stopped. With a larger
    `num_results` it gets longer.

    Args:
        density: A `LogDensity`, or a function from a float64 vector to a log density
            with a `size`.
        settings: How to sample.
        folder: Folder of its checkpoint; it is made if it is not there.
        identity: What must be the same when it goes on, as JSON.
        number: Number of the chain.
        seed: Seed of all chains.
        keep: Called with the number of each draw, from 0, and the state, a float64
            tensor; after a stop with some draws a second time.
        begin: Where it begins, in standardized weights; by default a draw from the
            standard normal distribution, which of a Gaussian prior is one from it.
        jit_compile: Whether to compile with XLA.
        checkpoint_seconds: Time between checkpoints.
        shown: Called after each transition with the `Step`, of numbers, and how many
            transitions are left.

    Returns:
        By the fields of `Step`, an array of shape `(burnin + num_results,)`.

    Raises:
        FloatingPointError: If it diverges, or stays where it is. Its checkpoint is the
            last good one.
        ValueError: If the checkpoint is damaged, or of other settings.
    """
    import tensorflow as tf

    path = path_of(folder, number)
    own = {f: v for f, v in vars(settings).items() if f != "num_results"}
    identity = json.loads(json.dumps({**identity, **own, "seed": seed}))
    total = settings.burnin + settings.num_results
    # Of any length, as a longer chain is the same.
    alike = dataclasses.replace(settings, num_results=1)
    first, transition = _programs(density, alike, jit_compile)
    if path.exists():
        state, results, trace = _restore(path, identity, first, density.size)
    else:
        state = _beginning(density.size, seed, number) if begin is None else begin
        state = tf.constant(state, "float64")
        results, trace = first(state), {name: [] for name in Step._fields}
    timer = workers.Timer(checkpoint_seconds)
    for place in range(len(trace["acceptance"]), total):
        key = tf.constant(_key(seed, number, place))
        adapts = tf.constant(place < settings.num_adaptation)
        state, results, step = transition(state, results, key, adapts)
        step = Step(*(value.numpy().item() for value in step))
        for name, value in step._asdict().items():
            trace[name].append(value)
        _check_moving(trace, number, path)
        if place >= settings.burnin:
            keep(place - settings.burnin, state)
        shown(step, total - place - 1)
        if timer.is_due() or place + 1 in (settings.burnin, total):
            _save(path, identity, state, results, trace)
            timer.restart()
    return {name: np.asarray(values[:total]) for name, values in trace.items()}


def read_trace(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the `Step`s of a checkpoint, as `run_chain` does."""
    _, arrays = _read(path)
    return {name: arrays[f"trace/{name}"] for name in Step._fields}


def _beginning(size, seed, number):
    return np.random.default_rng((seed, number)).normal(size=size)


def _key(seed, number, place):
    """Returns the stateless seed of a transition, two integers of 32 bits."""
    sequence = np.random.SeedSequence((seed, number), spawn_key=(place,))
    return sequence.generate_state(2).astype("uint32").view("int32")


def _check_moving(trace, number, path):
    acceptance = trace["acceptance"][-_PATIENCE:]
    mean = float(np.mean(acceptance))
    if len(acceptance) < _PATIENCE or mean >= _STUCK:
        return
    diverged = sum(trace["diverged"][-_PATIENCE:])
    raise FloatingPointError(
        f"Chain {number} diverges or stays where it is: of the last {_PATIENCE} "
        f"trajectories the mean acceptance is {mean:.2g}, and {diverged} had an energy "
        f"error of more than {MAX_ENERGY_ERROR:.0f} nats, with step_size="
        f"{trace['step_size'][-1]:.3g}. Begin anew with a smaller `step_size`, or a "
        f"longer `burnin`, in which it adapts. Chains that are done are kept, and the "
        f"last checkpoint of this one is '{path}'."
    )


def _save(path, identity, state, results, trace):
    import tensorflow as tf

    leaves = [leaf.numpy() for leaf in tf.nest.flatten(results)]
    arrays = {
        "state": state.numpy(),
        **{f"results/{i:03d}": leaf for i, leaf in enumerate(leaves)},
        **{f"trace/{name}": np.asarray(values) for name, values in trace.items()},
    }
    arrays = {name: np.require(a, requirements="C") for name, a in arrays.items()}
    with files.replacing(path) as temporary:
        metadata = {"identity": json.dumps(identity)}
        safetensors.numpy.save_file(arrays, temporary, metadata)


def _restore(path, identity, first, size):
    import tensorflow as tf

    old, arrays = _read(path)
    if odd := differences(old, identity):
        raise ValueError(
            f"The chain in '{path}' is another one: {odd}. Use another workdir, or the "
            "same settings and data."
        )
    spec = tf.TensorSpec((size,), "float64")
    form = first.get_concrete_function(spec).structured_outputs
    leaves = [
        tf.reshape(tf.constant(arrays[f"results/{i:03d}"], leaf.dtype), leaf.shape)
        for i, leaf in enumerate(tf.nest.flatten(form))
    ]
    trace = {name: arrays[f"trace/{name}"].tolist() for name in Step._fields}
    return tf.constant(arrays["state"]), tf.nest.pack_sequence_as(form, leaves), trace


def _read(path):
    try:
        with safetensors.safe_open(path, "numpy") as file:
            names = file.keys()
            arrays = {name: file.get_tensor(name) for name in names}
            return json.loads(file.metadata()["identity"]), arrays
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(
            f"Cannot read the chain '{path}': {error}. Delete it to begin anew."
        ) from error
