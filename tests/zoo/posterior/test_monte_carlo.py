import json
import sys

import keras
import numpy as np
import pytest

import layers
from layers.random import fold
from tests.helpers import processes
from tests.helpers.commands import quick
from tests.helpers.networks import (
    IMAGES,
    RNG,
    UnknownNoise,
    as_numpy,
    mc_network,
    network,
)
from training import metrics
from zoo import predictive
from zoo.posterior import DeepEnsemble, MonteCarlo


def values(layer):
    return [as_numpy(v) for v in layer.variables]


@keras.saving.register_keras_serializable(package="tests")
class Penalty(keras.layers.Layer):
    def call(self, inputs):
        self.add_loss(keras.ops.sum(inputs))
        return inputs


def test_samples_agree_with_a_hand_made_loop():
    model = mc_network()
    expected = []
    for number in range(4):
        with layers.stream(fold(5, number)):
            expected.append(as_numpy(model(IMAGES, training=False)))
    samples = MonteCarlo(model, 4)(IMAGES, seed=5)
    assert keras.backend.standardize_dtype(samples.dtype) == "float32"
    np.testing.assert_allclose(as_numpy(samples), np.stack(expected), atol=1e-5)


def test_samples_are_independent_and_have_the_moments_of_dropout():
    tf = pytest.importorskip("tensorflow")
    from tests.helpers.checks import assert_mean_close  # Imports TensorFlow.

    inputs = keras.Input((6,))
    dense = keras.layers.Dense(3)
    model = keras.Model(inputs, dense(layers.MCDropout(0.25)(inputs)))
    x = RNG.normal(size=(2, 6)).astype("float32")
    posterior = MonteCarlo(model, 4000)
    samples = tf.function(lambda: posterior(x, seed=0))().numpy().astype("float64")
    kernel = as_numpy(dense.kernel)
    mean, variance = x @ kernel, (x**2) @ (kernel**2) / 3  # rate / (1 - rate)
    centered = samples - mean
    assert_mean_close(samples, mean)
    assert_mean_close(centered**2, variance)
    assert_mean_close(centered[1:] * centered[:-1], 0)  # Passes.
    assert_mean_close(centered[:, 0] * centered[:, 1], 0)  # Examples.


@pytest.fixture(scope="module")
def ensemble():
    """Of a posterior and a model; tests leave it as it is."""
    return DeepEnsemble([MonteCarlo(mc_network(), 3), mc_network(seed=1)])


@pytest.mark.parametrize("split", [1, 3, 5])
@pytest.mark.parametrize("offset", [0, 100])
def test_samples_of_a_seed_do_not_depend_on_the_batch_split(ensemble, split, offset):
    whole = as_numpy(ensemble(IMAGES, seed=9, offset=offset))
    parts = [
        ensemble(IMAGES[start : start + split], seed=9, offset=offset + start)
        for start in range(0, len(IMAGES), split)
    ]
    parts = np.concatenate([as_numpy(part) for part in parts], axis=1)
    np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_passes_examples_seeds_and_offsets_draw_differently():
    posterior = MonteCarlo(mc_network(), 3)
    same_image = np.repeat(IMAGES[:1], 4, axis=0)
    draws = [as_numpy(posterior(same_image, seed=s)) for s in (0, 1, -1)]
    draws.append(as_numpy(posterior(same_image, seed=0, offset=4)))
    flat = np.concatenate(draws).reshape(-1, 3)
    distance = np.abs(flat[:, None] - flat).max(axis=-1)
    assert np.all(distance + np.eye(len(flat)) > 1e-3)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32"])
def test_seed_and_offset_may_be_tensors(dtype):
    posterior = MonteCarlo(mc_network(), 2)
    expected = posterior(IMAGES, seed=7, offset=3)
    seed, offset = keras.ops.array(7, dtype), keras.ops.array(3, "int32")
    np.testing.assert_array_equal(posterior(IMAGES, seed=seed, offset=offset), expected)


def test_calls_without_a_seed_differ_and_follow_the_seed_of_the_constructor():
    model = mc_network()
    first, second = MonteCarlo(model, 2, seed=4), MonteCarlo(model, 2, seed=4)
    calls = [as_numpy(first(IMAGES)) for _ in range(2)]
    assert np.abs(calls[0] - calls[1]).max() > 1e-3
    for call in calls:
        np.testing.assert_array_equal(second(IMAGES), call)
    layers.set_seed(first, 4)
    layers.set_seed(second, 5)
    assert np.abs(as_numpy(first(IMAGES)) - as_numpy(second(IMAGES))).max() > 1e-3


def test_a_call_with_a_seed_changes_no_variable():
    posterior = DeepEnsemble([mc_network(), MonteCarlo(mc_network(), 2)])
    before = values(posterior)
    posterior(IMAGES, seed=0)
    for old, new in zip(before, values(posterior), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_call_without_a_seed_does_not_move_batch_statistics():
    model = mc_network()
    posterior = MonteCarlo(model, 2)
    before = values(model)
    posterior(IMAGES)
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_deterministic_model_runs_once_and_gives_identical_samples():
    model = network(layers.Dropout(0.5), keras.layers.Dropout(0.5))
    samples = as_numpy(MonteCarlo(model, 4)(IMAGES))
    assert samples.shape == (4, 7, 3)
    np.testing.assert_array_equal(samples, np.repeat(samples[:1], 4, axis=0))
    np.testing.assert_allclose(samples[0], model(IMAGES), atol=1e-5)


def test_random_layers_of_others_are_sampled_too():
    samples = as_numpy(MonteCarlo(network(UnknownNoise()), 3)(IMAGES))
    assert np.abs(samples[0] - samples[1]).max() > 1e-3


def test_the_graph_does_not_grow_with_the_number_of_samples():
    tf = pytest.importorskip("tensorflow")
    model, traces = mc_network(), []

    def count(num_samples):
        posterior = MonteCarlo(model, num_samples)
        traces.append(0)
        function = tf.function(lambda x: posterior(x, seed=0)).get_concrete_function(
            tf.TensorSpec((None, 8, 8, 1))
        )
        assert function.structured_outputs.shape.as_list() == [num_samples, None, 3]
        graph = function.graph.as_graph_def()
        return sum(len(f.node_def) for f in graph.library.function) + len(graph.node)

    assert count(2) == count(50)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_compiled_posterior_gives_the_same_samples(jit_compile):
    tf = pytest.importorskip("tensorflow")
    posterior = MonteCarlo(mc_network(), 3)
    compiled = tf.function(posterior, jit_compile=jit_compile)
    seed, offset = tf.constant(8), tf.constant(2)
    expected = posterior(IMAGES, seed=8, offset=2)
    actual = compiled(tf.constant(IMAGES), seed=seed, offset=offset)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("model", [mc_network(), network()], ids=["random", "plain"])
def test_the_number_of_samples_may_be_a_tensor_of_the_graph(model):
    tf = pytest.importorskip("tensorflow")
    sample = tf.function(MonteCarlo(model, 5).first)
    for n in (1, 4):
        samples = sample(tf.constant(IMAGES), 0, 0, tf.constant(n))
        expected = MonteCarlo(model, n)(IMAGES, seed=0)
        np.testing.assert_allclose(samples, expected, atol=1e-5)


def test_samples_on_jax_equal_those_on_tensorflow(ensemble, tmp_path):
    pytest.importorskip("jax")
    script = f"""
import sys
import keras
import numpy as np
from tests.helpers.networks import IMAGES, as_numpy, mc_network
from zoo.posterior import DeepEnsemble, MonteCarlo, Temperature
assert keras.backend.backend() == "jax" and "tensorflow" not in sys.modules
posterior = DeepEnsemble([MonteCarlo(mc_network(), 3), mc_network(seed=1)])
np.save(r"{tmp_path}/samples.npy", as_numpy(posterior(IMAGES, seed=6, offset=2)))
"""
    environment = quick()
    processes.run([sys.executable, "-c", script], check=True, env=environment)
    np.testing.assert_allclose(
        np.load(tmp_path / "samples.npy"),
        ensemble(IMAGES, seed=6, offset=2),
        rtol=1e-4,
        atol=1e-4,
    )


def test_losses_of_the_model_stay_inside():
    posterior = MonteCarlo(network(layers.MCDropout(0.5), Penalty()), 3)
    posterior(IMAGES)
    assert posterior.losses == []
    images = keras.Input((8, 8, 1))
    model = keras.Model(images, predictive.log_probs(posterior(images)))
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert np.isfinite(model.evaluate(IMAGES, np.zeros(7), verbose=0))


def test_half_precision_models_see_all_of_the_pixels_and_give_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        inputs = keras.Input((1,), dtype="float32")
        subtract = keras.layers.Rescaling(1, -1000, dtype="float32")
        logits = keras.layers.Dense(2, "linear", False, "ones")(subtract(inputs))
        posterior = MonteCarlo(keras.Model(inputs, logits), 2)
        samples = posterior(np.array([[1001.0]], "float32"))
    finally:
        keras.config.set_dtype_policy("float32")
    assert keras.backend.standardize_dtype(samples.dtype) == "float32"
    np.testing.assert_array_equal(samples, np.ones((2, 1, 2)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: MonteCarlo(mc_network(), 3, seed=1),
        lambda: DeepEnsemble([mc_network(), MonteCarlo(mc_network(seed=1), 2)], seed=1),
    ],
    ids=["monte_carlo", "deep_ensemble"],
)
def test_a_posterior_survives_its_config_and_a_file(make, tmp_path):
    posterior = make()
    config = json.dumps(posterior.get_config())
    restored = type(posterior).from_config(json.loads(config))
    assert json.dumps(restored.get_config()) == config
    restored.set_weights(posterior.get_weights())
    np.testing.assert_allclose(restored(IMAGES), posterior(IMAGES), atol=1e-5)

    images = keras.Input((8, 8, 1), dtype="uint8")
    model = keras.Model(images, predictive.probs(posterior(images)))
    assert model.output_shape == (None, 3)
    model.save(tmp_path / "posterior.keras")
    loaded = keras.saving.load_model(tmp_path / "posterior.keras")
    # The state is in the file too: both go on with the same samples.
    np.testing.assert_allclose(loaded(IMAGES), model(IMAGES), atol=1e-6)


def test_an_ensemble_concatenates_its_members_in_order():
    first, second = network(), network(seed=1)
    random = MonteCarlo(mc_network(seed=2), 3)
    samples = as_numpy(DeepEnsemble([first, random, second])(IMAGES, seed=4))
    assert samples.shape == (5, 7, 3)
    np.testing.assert_allclose(samples[0], first(IMAGES), atol=1e-5)
    expected = random(IMAGES, seed=fold(4, 1))
    np.testing.assert_allclose(samples[1:4], expected, atol=1e-5)
    np.testing.assert_allclose(samples[4], second(IMAGES), atol=1e-5)


def test_identical_deterministic_members_equal_one():
    model = network()
    one = predictive.probs(MonteCarlo(model, 1)(IMAGES))
    ensemble = predictive.probs(DeepEnsemble([model] * 5)(IMAGES))
    np.testing.assert_allclose(ensemble, one, atol=1e-6)


def test_identical_random_members_draw_independently():
    model = mc_network()
    samples = as_numpy(DeepEnsemble([model, model])(IMAGES, seed=0))
    assert np.abs(samples[0] - samples[1]).max() > 1e-3


def test_the_mean_prediction_is_at_least_as_likely_as_the_members():
    samples = DeepEnsemble([network(seed=s) for s in range(5)])(IMAGES)
    labels = np.random.default_rng(1).integers(0, 3, size=7)
    members = [
        metrics.nll(as_numpy(predictive.probs(samples[i : i + 1])), labels)
        for i in range(5)
    ]
    together = metrics.nll(as_numpy(predictive.probs(samples)), labels)
    assert together < np.mean(members)  # Jensen's inequality.


def other_network(shape, num_classes):
    images = keras.Input(shape)
    features = keras.layers.Flatten()(images)
    return keras.Model(images, keras.layers.Dense(num_classes)(features))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: MonteCarlo(network(), 0), "positive.*num_samples=0"),
        (lambda: MonteCarlo("resnet20", 2), "built Keras model.*model='resnet20'"),
        (lambda: MonteCarlo(keras.Sequential(), 2), "built Keras model"),
        (
            lambda: MonteCarlo(
                keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Reshape((8, 8))])
            ),
            r"\(batch, num_classes\).*output_shape=\(None, 8, 8\)",
        ),
        (lambda: DeepEnsemble([]), r"needs members.*members=\[\]"),
        (
            lambda: DeepEnsemble([network(), other_network((8, 8, 1), 4)]),
            r"same `num_classes`.*num_classes=\[3, 4\]",
        ),
        (
            lambda: DeepEnsemble([network(), other_network((9, 8, 1), 3)]),
            r"same `image_shape`.*\(8, 8, 1\), \(9, 8, 1\)",
        ),
        (lambda: DeepEnsemble([network(), 3]), "built Keras model.*model=3"),
    ],
)
def test_members_that_do_not_fit_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
