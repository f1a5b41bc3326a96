import sys

import keras
import numpy as np
import pytest

from tests.helpers import marks, processes
from tests.helpers.commands import quick
from tests.oracles.predictive import NAMES, quantities
from zoo import predictive


def compute(name, logits):
    return keras.ops.convert_to_numpy(getattr(predictive, name)(logits))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [0.1, 1, 10])
@pytest.mark.parametrize("num_samples", [1, 2, 9])
def test_every_quantity_matches_its_definition(name, scale, num_samples):
    rng = np.random.default_rng(0)
    shape = (num_samples, 6, 5)
    logits = (rng.normal(size=shape, scale=scale) + 30).astype("float32")
    expected = quantities(logits)[name]
    np.testing.assert_allclose(compute(name, logits), expected, rtol=2e-5, atol=5e-6)


def test_log_probs_is_a_logit_of_the_mean_probability():
    logits = np.random.default_rng(0).normal(size=(4, 3, 5), scale=3)
    as_samples = compute("log_probs", logits)[None]
    np.testing.assert_allclose(
        compute("probs", as_samples), compute("probs", logits), rtol=1e-5
    )
    # Normalized already, so that an ensemble of N is not shifted by log(N).
    np.testing.assert_allclose(np.exp(as_samples[0]).sum(axis=-1), 1, rtol=1e-5)


def test_log_probs_does_not_underflow_where_probs_does():
    logits = np.array([[[0, -300]], [[0, -200]]], "float32")
    assert compute("probs", logits)[0, 1] == 0
    np.testing.assert_allclose(
        compute("log_probs", logits), [[0, -200 - np.log(2)]], atol=1e-4
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_quantity_is_finite_for_saturated_logits(name):
    logits = np.array([[[1e4, -1e4]], [[-1e4, 1e4]]], "float32")
    value = compute(name, logits)
    expected = {
        "probs": 0.5,
        "log_probs": -np.log(2),
        "entropy": np.log(2),
        "expected_entropy": 0,
        "mutual_information": np.log(2),
        "variation_ratio": 0.5,
    }
    np.testing.assert_allclose(value, np.full(value.shape, expected[name]), atol=1e-6)


def test_equal_samples_have_no_mutual_information():
    one = np.random.default_rng(0).normal(size=(1, 200, 10), scale=3)
    logits = np.repeat(one, 7, axis=0)
    value = compute("mutual_information", logits)
    assert value.min() >= 0
    assert value.max() < 1e-6
    np.testing.assert_array_equal(compute("variation_ratio", logits), 0)
    np.testing.assert_allclose(
        compute("entropy", logits), compute("expected_entropy", logits), rtol=1e-5
    )


@pytest.mark.parametrize("scale", [1e-5, 1e-3])
def test_mutual_information_is_precise_and_not_negative_where_it_is_small(scale):
    rng = np.random.default_rng(0)
    one = rng.normal(size=(1, 500, 10), scale=2)
    logits = (one + rng.normal(size=(5, 500, 10), scale=scale)).astype("float32")
    expected = quantities(logits)["mutual_information"]
    value = compute("mutual_information", logits)
    assert value.min() >= 0
    assert expected.max() < 1e-5
    # The difference of the entropies, in float32, is off by 3e-7.
    np.testing.assert_allclose(value, expected, atol=1.5e-7)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_logits_are_averaged_in_float32(name, dtype):
    logits = np.random.default_rng(0).normal(size=(3, 2, 5), scale=3)
    logits = keras.ops.cast(logits, dtype)
    value = getattr(predictive, name)(logits)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    exact = quantities(keras.ops.convert_to_numpy(keras.ops.cast(logits, "float32")))
    np.testing.assert_allclose(value, exact[name], rtol=2e-5, atol=5e-6)


@pytest.mark.parametrize("name", NAMES)
def test_every_quantity_builds_a_graph_of_any_batch_and_number_of_samples(name):
    samples = keras.Input(batch_shape=(None, None, 5))
    model = keras.Model(samples, getattr(predictive, name)(samples))
    for shape in [(1, 4, 5), (3, 2, 5)]:
        logits = np.random.default_rng(0).normal(size=shape)
        np.testing.assert_allclose(
            model(logits), quantities(logits)[name], rtol=2e-5, atol=5e-6
        )


@marks.on_others
def test_every_quantity_matches_its_definition_elsewhere(backend):
    pytest.importorskip(backend)
    script = """
import numpy as np
from tests.oracles.predictive import NAMES, quantities
from zoo import predictive
import keras, sys
assert "tensorflow" not in sys.modules
logits = np.random.default_rng(0).normal(size=(4, 6, 5), scale=3).astype("float32")
for name in NAMES:
    value = getattr(predictive, name)(logits)
    np.testing.assert_allclose(value, quantities(logits)[name], rtol=2e-5, atol=5e-6)
"""
    environment = quick(backend)
    processes.run([sys.executable, "-c", script], check=True, env=environment)
