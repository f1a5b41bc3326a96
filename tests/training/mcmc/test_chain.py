"""Chains against closed forms, and against themselves where they were stopped."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import marks
from training.bayesian.priors import ModelPrior
from training.mcmc import KERNELS, LogDensity, Sampling, chain, run_chain
from training.mcmc.diagnostics import diagnose, summary

RNG = np.random.default_rng(0)


class Normal:
    """The standard normal distribution."""

    size = 5

    def __call__(self, x):
        return -0.5 * tf.reduce_sum(x * x)


def transition(step_size, state, trajectory=1.0):
    settings = Sampling(step_size=step_size, trajectory=trajectory, burnin=0)
    kernel = KERNELS["hmc"](Normal(), settings, 0)
    seed = tf.constant([1, 2])
    _, results, step = kernel.transition(state, kernel.begin(state), seed, False)
    return results, step


def leapfrog(x, momentum, step_size, count):
    momentum = momentum - 0.5 * step_size * x
    for i in range(count):
        x = x + step_size * momentum
        momentum = momentum - (step_size if i + 1 < count else 0.5 * step_size) * x
    return x, momentum


def test_trajectories_are_leapfrog_reversible_and_of_second_order():
    state, errors = tf.constant(RNG.normal(size=5)), []
    for step_size, count in ((0.05, 20), (0.025, 40)):
        results, step = transition(step_size, state)
        assert int(step.leapfrog_steps) == count
        inner = results.accepted_results
        first = inner.initial_momentum[0].numpy()
        end, momentum = leapfrog(state.numpy(), first, step_size, count)
        proposed = results.proposed_state.numpy()
        np.testing.assert_allclose(proposed, end, rtol=1e-12)
        back, _ = leapfrog(end, -momentum, step_size, count)
        np.testing.assert_allclose(back, state, rtol=1e-12)
        energy = 0.5 * (np.square(end).sum() + np.square(momentum).sum())
        begin = 0.5 * (np.square(state).sum() + np.square(first).sum())
        ratio = float(results.log_accept_ratio)
        np.testing.assert_allclose(ratio, begin - energy, atol=1e-10)
        # A leapfrog conserves the energy with another stiffness.
        longer = np.square(state).sum() - np.square(end).sum()
        np.testing.assert_allclose(ratio, step_size**2 / 8 * longer, atol=1e-10)
        np.testing.assert_allclose(float(step.acceptance), np.exp(min(ratio, 0)))
        errors.append(ratio)
    # Halving the step size quarters the error of the energy.
    np.testing.assert_allclose(errors[0] / errors[1], 4, rtol=0.05)


NOISE, SCALE = 0.5, 0.7
INPUTS = RNG.normal(size=(12, 3)) * [1.0, 0.4, 0.0]  # The last input is dead.
TARGETS = INPUTS @ [1.0, -1.0, 3.0] + 0.3 + NOISE * RNG.normal(size=12)


def regression(prior):
    """A linear regression, whose posterior is a Gaussian."""
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(1, name="head")(inputs))
    of_weights = ModelPrior(prior, model)
    of_weights.adapt(INPUTS)

    def log_likelihood(outputs, targets):
        return -0.5 * tf.square((targets - outputs[:, 0]) / NOISE)

    data = INPUTS.astype("float32"), TARGETS.astype("float32")
    return LogDensity(model, of_weights, *data, log_likelihood=log_likelihood)


def posterior(prior):
    """The precision and the mean of the kernel and the bias."""
    precision = np.eye(4) / SCALE**2
    if prior == "empcov":
        inverse = np.linalg.inv(np.cov(INPUTS.T) + 1e-4 * np.eye(3)) / SCALE**2
        precision[:3, :3] += inverse
    features = np.column_stack([INPUTS, np.ones(12)])
    own = precision + features.T @ features / NOISE**2
    return own, np.linalg.solve(own, features.T @ TARGETS / NOISE**2)


CASES = [("hmc", "gaussian", 300), ("hmc", "empcov", 1000), ("nuts", "gaussian", 1500)]


@pytest.mark.parametrize("kernel, prior, num_results", marks.few(CASES, CASES[1:]))
def test_a_linear_regression_has_the_posterior_of_the_closed_form(
    kernel, prior, num_results, tmp_path
):
    density, draws = regression(f"{prior}:scale={SCALE}"), []

    def keep(draw, state):
        draws.append(
            np.concatenate([w.numpy().ravel() for w in density.weights(state)])
        )

    settings = Sampling(kernel, num_results, burnin=40, step_size=0.05)
    trace = run_chain(
        density, settings, tmp_path, {}, keep=keep, jit_compile=kernel == "nuts"
    )
    draws = np.array(draws, "float64")
    precision, mean = posterior(prior)
    covariance = np.linalg.inv(precision)
    centered = draws - mean
    products = (centered[:, :, None] * centered[:, None]).reshape(len(draws), -1)
    expected = np.concatenate([np.zeros(4), covariance.ravel()])
    values = np.concatenate([centered, products], axis=1)
    # Six standard errors of dependent draws: below 2e-9 for each of 20 numbers.
    ess = np.maximum(diagnose(values[None])["ess"], 50)
    tolerance = 6 * values.std(axis=0) / np.sqrt(ess)
    assert np.all(np.abs(values.mean(axis=0) - expected) < tolerance)
    assert tolerance[:4].max() < 0.7 * np.sqrt(np.diag(covariance)).max()
    # What the data say nothing of varies as by the prior: of the dead input, its
    # weight; with EmpCov next to nothing.
    dead = SCALE**2 if prior == "gaussian" else SCALE**2 / (1e4 + 1)
    np.testing.assert_allclose(covariance[2, 2], dead, rtol=1e-3)
    assert abs(trace["acceptance"][40:].mean() - 0.8) < 0.15
    assert np.ptp(trace["step_size"][40:]) == 0
    if kernel == "hmc":  # The length of trajectories stays.
        steps = np.ceil(np.pi / 2 / trace["step_size"])
        np.testing.assert_array_equal(trace["leapfrog_steps"], steps)


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("kernel", marks.few(KERNELS, ["nuts"]))
def test_a_chain_that_was_stopped_goes_on_to_the_bit(kernel, tmp_path):
    def sampled(folder, stop=None, size=5, **changes):
        draws, settings = {}, Sampling(kernel, size, burnin=10, step_size=0.3)

        def shown(step, left):
            if left == stop:
                raise StoppedError

        identity = {"data": "x", **changes}
        trace = run_chain(
            Normal(),
            settings,
            folder,
            identity,
            1,
            keep=lambda number, state: draws.update({number: state.numpy()}),
            checkpoint_seconds=0,
            shown=shown,
        )
        return draws, trace

    whole, trace = sampled(tmp_path / "whole")
    for stop in (9, 1):  # Before and behind the end of the adaptation.
        with pytest.raises(StoppedError):
            sampled(tmp_path / "parts", stop, 4)  # It gets longer afterwards.
    parts, again = sampled(tmp_path / "parts")
    for number, draw in parts.items():
        np.testing.assert_array_equal(draw, whole[number])
    assert set(parts) == {2, 3, 4}  # The last one before it was stopped again.
    for name, values in trace.items():
        np.testing.assert_array_equal(again[name], values)
        read = chain.read_trace(chain.path_of(tmp_path / "parts", 1))
        np.testing.assert_array_equal(read[name], values)
    assert len(np.unique(trace["step_size"][:8])) == 8
    with pytest.raises(ValueError, match="is another one: data"):
        sampled(tmp_path / "parts", data="y")
    chain.path_of(tmp_path / "parts", 1).write_bytes(b"x")
    with pytest.raises(ValueError, match="Cannot read the chain.*Delete it"):
        sampled(tmp_path / "parts")


def test_a_chain_that_diverges_says_so(tmp_path):
    settings = Sampling(num_results=50, burnin=0, step_size=60.0, trajectory=300.0)
    message = r"Chain 3 diverges.*is 0, and 20 had an energy error.*step_size=60"
    with pytest.raises(FloatingPointError, match=message):
        run_chain(Normal(), settings, tmp_path, {}, 3)


def test_diagnostics_tell_chains_that_agree():
    rng, correlation = np.random.default_rng(1), 0.8
    draws = rng.normal(size=(4, 4000, 3))
    for place in range(1, 4000):  # Autoregressive: an ESS of (1 - r) / (1 + r) of all.
        root = np.sqrt(1 - correlation**2)
        draws[:, place, 1] = (
            correlation * draws[:, place - 1, 1] + root * draws[:, place, 1]
        )
    draws[:2, :, 2] += 3
    found = diagnose(draws)
    np.testing.assert_allclose(found["r_hat"][:2], 1, atol=0.01)
    # Eight halves, whose means are 3 and 0; equation 1.1 of Brooks and Gelman (1998).
    between, within = np.var([3, 0] * 4, ddof=1), 1.0
    expected = np.sqrt(9 / 8 * (within + between) / within - 1 / 8)
    np.testing.assert_allclose(found["r_hat"][2], expected, rtol=0.02)
    np.testing.assert_allclose(found["ess"][:2] / 16_000, [1, 1 / 9], rtol=0.15)
    assert summary(draws)["r_hat_max"] == found["r_hat"].max()
    assert summary(np.ones((2, 5, 3))) == {}


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"kernel": "hcm"}, "`kernel` must be one of hmc, nuts.*hcm"),
        ({"num_results": 0}, "num_results=0"),
        ({"burnin": -1}, "burnin=-1"),
        ({"step_size": 0.0}, "step_size=0"),
        ({"trajectory": float("nan")}, "trajectory=nan"),
    ],
)
def test_settings_out_of_their_ranges_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**settings)
