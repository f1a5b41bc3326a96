"""Passes that share what they can are still the passes of a loop."""

import functools
import itertools
import sys

import keras
import numpy as np
import pytest

import layers
import zoo
from tests.helpers import marks, processes
from tests.helpers.commands import quick
from tests.helpers.networks import IMAGES, as_numpy, gaussian, masks_only, mc_network
from tests.oracles import passes
from zoo.posterior import MonteCarlo, sample_loop

SIZES = (1, 30_000, 2**26)  # Of memory: one pass at a time, two images', all.


@pytest.mark.parametrize("memory", [1, 2000, 2**26])
def test_masks_are_those_of_a_loop_bit_for_bit(memory):
    model, x = masks_only(), np.random.default_rng(0).normal(size=(7, 64))
    x = x.astype("float32")
    expected = passes.samples(model, x, 5, 11)
    posterior = MonteCarlo(model, 11, memory=memory)
    for split in (7, 3, 1):
        parts = [
            as_numpy(posterior(x[start : start + split], seed=5, offset=start))
            for start in range(0, 7, split)
        ]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), expected)


def test_passes_are_in_memory_together_while_there_is_room(monkeypatch):
    tf = pytest.importorskip("tensorflow")
    asked, run = [], tf.while_loop

    def while_loop(*args, parallel_iterations, **kwargs):
        asked.append(parallel_iterations)
        return run(*args, parallel_iterations=parallel_iterations, **kwargs)

    monkeypatch.setattr(tf, "while_loop", while_loop)
    model, x = masks_only(), np.zeros((8, 64), "float32")
    row = MonteCarlo(model)._split.row_bytes
    # A pass takes 8 rows, so these are rounds of one pass, one, three and two.
    for memory, expected in ((1, 1), (8 * row, 4), (24 * row, 4), (20 * row, 5)):
        MonteCarlo(model, 12, memory=memory)(x)
        assert asked.pop() == expected
    posterior = MonteCarlo(model, 12, memory=1)
    for count in (8, 7, 6):  # The last ones have a graph for any size.
        posterior(x[:count])
    assert asked == [1, 2]


@functools.cache
def passes_of_gaussian(estimator):
    """A model, and five passes of it."""
    model = gaussian()
    return model, passes.samples(model, IMAGES, 3, 5, estimator=estimator)


BY_ROW = [(memory, "local_reparameterization") for memory in (SIZES[0], SIZES[2])]


@pytest.mark.parametrize(
    "memory, estimator",
    [
        (SIZES[0], None),
        *marks.few([(SIZES[2], "flipout")], [(SIZES[2], "flipout")]),
        (SIZES[2], "weight_sampling"),
        *marks.few(BY_ROW, BY_ROW[:1]),
    ],
)
def test_gaussian_weights_are_those_of_a_loop(memory, estimator):
    model, expected = passes_of_gaussian(estimator)
    posterior = MonteCarlo(model, 5, estimator=estimator, memory=memory)
    samples = as_numpy(posterior(IMAGES, seed=3))
    np.testing.assert_allclose(samples, expected, atol=1e-5)
    assert np.min(np.std(samples, axis=0)) > 1e-3
    part = as_numpy(posterior(IMAGES[4:6], seed=3, offset=4))
    np.testing.assert_allclose(part, expected[:, 4:6], atol=1e-5)


@pytest.mark.parametrize("name", ["resnet20_smooth_lldo", "resnet20_flipout"])
def test_models_of_the_zoo_pass_as_in_a_loop(name):
    model = zoo.build(name, (16, 16, 1), 3)
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 1))
    images = images.astype("float32")
    expected = passes.samples(model, images, 3, 4)
    samples = as_numpy(MonteCarlo(model, 4)(images, seed=3))
    np.testing.assert_allclose(samples, expected, rtol=1e-4, atol=1e-4)
    assert np.min(np.std(samples, axis=0)) > 0


@pytest.mark.parametrize(
    "estimator", ["flipout", "weight_sampling", "local_reparameterization"]
)
def test_samples_have_the_moments_of_independent_passes(estimator):
    from tests.helpers.checks import assert_mean_close  # Imports TensorFlow.

    inputs = keras.Input((6,))
    dense = layers.DenseFlipout(3, estimator=estimator)
    model = keras.Model(inputs, dense(inputs))
    scale = np.random.default_rng(1).uniform(0.2, 1, (6, 3))
    dense.kernel_rho.assign(np.log(np.expm1(scale)))
    x = np.random.default_rng(0).normal(size=(2, 6)).astype("float32")
    samples = as_numpy(MonteCarlo(model, 4000)(x, seed=0)).astype("float64")
    mean, variance = x @ as_numpy(dense.kernel), (x**2) @ (scale**2)
    centered = samples - mean
    assert_mean_close(centered, 0)
    # One draw for all passes, with other signs, has the variance of that draw.
    assert_mean_close(centered**2, variance)
    products = (centered[1:] ** 2 - variance) * (centered[:-1] ** 2 - variance)
    assert_mean_close(products, 0)
    assert_mean_close(centered[1:] * centered[:-1], 0)


def test_the_passes_of_a_batch_fit_into_the_memory():
    posterior = MonteCarlo(mc_network(), 50)
    row = posterior._split.row_bytes
    for memory, batch in itertools.product((1, 10 * row, 35 * row), (1, 4, 64)):
        posterior.memory = memory
        chunk = posterior._chunk(batch, 50, None)
        assert chunk == 1 or chunk * batch * row <= memory


def test_chunks_fill_the_count_with_little_waste():
    assert sample_loop.chunk_size(50, 9, 1) == 9
    assert sample_loop.chunk_size(50, 8, 8) == 5
    assert sample_loop.chunk_size(50, 50, 1) == 50
    assert sample_loop.chunk_size(5, 4, 100) == 1  # Two of 3 would pass one more batch.
    assert sample_loop.chunk_size(7, 100, 1) == 7
    assert sample_loop.chunk_size(50, 8, 1, step=6) == 6
    assert sample_loop.chunk_size(50, 5, 1, step=6) == 3
    for count, limit in itertools.product((1, 2, 13, 50, 97), (1, 3, 8, 40)):
        size = sample_loop.chunk_size(count, limit, 8)
        assert 1 <= size <= min(count, limit)
        assert -(-count // size) * size <= 1.1 * count + 2


def test_a_call_compiles_once_for_a_shape_and_sees_new_weights():
    model = mc_network()
    traces, dense = [], model.layers[-1]
    call = dense.call

    def counted(x, **kwargs):
        traces.append(x.shape)
        return call(x, **kwargs)

    dense.call = counted
    posterior = MonteCarlo(model, 3)
    before = as_numpy(posterior(IMAGES, seed=1))
    for offset in range(3):
        posterior(IMAGES, seed=offset, offset=offset)
    assert len(traces) == 1
    dense.bias.assign_add([1.0, 0.0, 0.0])
    after = as_numpy(posterior(IMAGES, seed=1))
    np.testing.assert_allclose(after, before + [1, 0, 0], atol=1e-5)
    for size in (1, 2, 3, 4):
        posterior(IMAGES[:size], seed=0)
    assert len(traces) <= 3


def wide():
    """A network whose last stage is of few points and many channels."""
    images = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(256, 3, strides=2, name="first")(images / 255.0)
    x = layers.MCDropout(0.3, name="drop")(x)
    x = keras.layers.Conv2D(256, 3, padding="same", name="second")(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    return keras.Model(images, keras.layers.Dense(3, name="head")(x))


def test_wide_maps_of_few_points_are_compiled_by_xla_and_pass_as_in_a_loop():
    tf = pytest.importorskip("tensorflow")
    model, images = wide(), IMAGES.astype("float32")
    posterior = MonteCarlo(model, 5, memory=30_000)
    expected = passes.samples(model, images, 3, 5)
    np.testing.assert_allclose(posterior(images, seed=3), expected, atol=1e-4)

    @tf.function
    def fused(images):
        with layers.compilation.fused():
            return posterior(images, seed=3)

    def compiled(function):
        graph = tf.function(function).get_concrete_function(images).graph
        functions = graph.as_graph_def().library.function
        return [f for f in functions if f.attr["_XlaMustCompile"].b]

    np.testing.assert_allclose(fused(images), expected, atol=1e-4)
    assert compiled(fused)
    assert not compiled(lambda images: posterior(images, seed=3))  # As in an export.


@functools.cache
def samples_of(memory):
    """A posterior, and all of its samples."""
    posterior = MonteCarlo(mc_network(), 57, memory=memory)
    return posterior, as_numpy(posterior(IMAGES, seed=2))


@pytest.mark.parametrize("memory", [1, 2**26])
@pytest.mark.parametrize("tolerance", marks.few([0.3, 0.05, 0.03, 0.0], [0.3, 0.03]))
def test_samples_are_drawn_until_the_mean_is_known(memory, tolerance):
    posterior, every = samples_of(memory)
    drawn = as_numpy(posterior.sample_until(IMAGES, tolerance, seed=2))
    expected = passes.count_until(every, tolerance)
    assert len(drawn) == expected
    np.testing.assert_allclose(drawn, every[:expected], atol=1e-5)


def test_the_error_of_stopped_means_is_what_was_asked():
    posterior = MonteCarlo(mc_network(), 400)
    truth = passes.softmax(MonteCarlo(mc_network(), 5000)(IMAGES, seed=99)).mean(axis=0)
    counts, found = [], []
    for seed in range(60):
        drawn = posterior.sample_until(IMAGES, 0.03, seed=seed, step=10)
        counts.append(len(drawn))
        found.append(passes.softmax(drawn).mean(axis=0) - truth)
    assert 10 < np.mean(counts) < 400
    assert len(set(counts)) > 1
    spread = np.sqrt(np.mean(np.square(found), axis=0))  # Of each probability.
    assert 0.015 < np.max(spread) < 1.3 * 0.03
    # Stopping prefers samples that agree, by a small part of the tolerance.
    assert np.max(np.abs(np.mean(found, axis=0))) < 0.03 / 2


def test_a_stopped_call_without_a_seed_draws_anew():
    posterior = MonteCarlo(mc_network(), 5, seed=4)
    first, second = (as_numpy(posterior.sample_until(IMAGES, 0)) for _ in range(2))
    assert np.max(np.abs(first - second)) > 1e-3
    again = MonteCarlo(posterior.model, 5, seed=4)
    np.testing.assert_allclose(again(IMAGES), first, atol=1e-5)


def test_a_deterministic_model_stops_at_once():
    from tests.helpers.networks import network

    posterior = MonteCarlo(network(), 20)
    assert len(posterior.sample_until(IMAGES, 0.0)) == 1


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda m: MonteCarlo(m, estimator="mean"), "`estimator` must.*=mean"),
        (lambda m: MonteCarlo(m, memory=0), "`memory` must be.*memory=0"),
        (lambda m: MonteCarlo(m).sample_until(IMAGES, -1), "tolerance=-1, step=5"),
        (lambda m: MonteCarlo(m).sample_until(IMAGES, 0.1, step=1), "step=1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(mc_network())


ELSEWHERE = """
import sys
import keras
import numpy as np
from tests.helpers.networks import *
from tests.oracles import passes
from zoo.posterior import MonteCarlo
assert "tensorflow" not in sys.modules
x = np.random.default_rng(0).normal(size=(7, 64)).astype("float32")
expected = passes.samples(masks_only(), x, 5, 11)
for memory in (1, 2000, 2**26):
    samples = as_numpy(MonteCarlo(masks_only(), 11, memory=memory)(x, seed=5))
    np.testing.assert_array_equal(samples, expected)
every = as_numpy(MonteCarlo(mc_network(), 57)(IMAGES, seed=2))
drawn = as_numpy(MonteCarlo(mc_network(), 57).sample_until(IMAGES, 0.05, seed=2))
np.testing.assert_allclose(drawn, every[:passes.count_until(every, 0.05)], atol=1e-5)
estimator = {"estimator": "local_reparameterization"}
expected = passes.samples(model := gaussian(), IMAGES, 3, 5, **estimator)
samples = as_numpy(MonteCarlo(model, 5, memory=30_000, **estimator)(IMAGES, seed=3))
np.testing.assert_allclose(samples, expected, atol=1e-5)
assert np.min(np.std(samples, axis=0)) > 1e-3
posterior = MonteCarlo(mc_network(), 3)
before = as_numpy(posterior(IMAGES, seed=1))
posterior.model.layers[-1].bias.assign_add([1.0, 0.0, 0.0])
after = as_numpy(posterior(IMAGES, seed=1))
np.testing.assert_allclose(after, before + [1, 0, 0], atol=1e-5)
samples = as_numpy(MonteCarlo(network(UnknownNoise()), 3)(IMAGES))
assert np.abs(samples[0] - samples[1]).max() > 1e-3
samples = as_numpy(MonteCarlo(network(UnknownNoise()), 3)(IMAGES))
"""


@marks.on_others
def test_all_of_this_holds_on_other_backends(backend):
    pytest.importorskip(backend)
    environment = quick(backend)
    processes.run([sys.executable, "-c", ELSEWHERE], check=True, env=environment)
