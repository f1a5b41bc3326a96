"""The layers on the JAX backend, with no TensorFlow to import."""

import numpy as np
import pytest

from layers import MCDropout
from tests.helpers import portable
from tests.helpers.checks import assert_equal_draws


@pytest.mark.parametrize("kind", ["eager", "jit"])
def test_jax_draws_as_tensorflow_does(on_jax, kind):
    expected = portable.arrays()

    def drawn(seed):
        return {name: on_jax[f"{kind}/{name}/{seed}"] for name in expected[seed]}

    assert_equal_draws(drawn, expected)


def test_jax_counts_calls_as_tensorflow_does(on_jax):
    dropout = MCDropout(0.5, seed=3)
    expected = [dropout(np.ones((2, 64))) for _ in range(3)]
    np.testing.assert_array_equal(on_jax["counted"], expected)


def test_layers_compute_the_same_on_jax(on_jax):
    expected = portable.outputs()
    names = {name for name in on_jax if name.startswith("outputs/")}
    assert names == {f"outputs/{name}" for name in expected}
    for name, value in expected.items():
        # Random ones as well: equal seeds draw equally.
        actual = on_jax[f"outputs/{name}"]
        np.testing.assert_allclose(actual, value, rtol=1e-4, atol=1e-4, err_msg=name)


def test_every_layer_trains_on_jax(on_jax):
    losses, moved = on_jax["train/losses"], on_jax["train/moved"]
    assert np.all(np.isfinite(losses))
    assert losses[-1] < losses[0]
    assert np.all(moved)


def test_layers_of_one_pass_train_on_jax_as_on_tensorflow(on_jax):
    for name, value in portable.one_pass().items():
        actual = on_jax[f"one_pass/{name}"]
        np.testing.assert_allclose(actual, value, 1e-3, 1e-4, err_msg=name)


def test_training_on_jax_counts_its_steps(on_jax):
    np.testing.assert_array_equal(on_jax["train/calls"], [portable.EPOCHS] * 4)


@pytest.mark.parametrize("call", ["fit", "evaluate", "predict"])
def test_a_stream_around_a_call_of_keras_has_no_effect(on_jax, call):
    inside, outside = (
        on_jax[f"around/{call}/{name}"] for name in ("inside", "outside")
    )
    assert np.any(outside[0] != outside[1])
    np.testing.assert_allclose(inside, outside, rtol=1e-6)


def test_a_function_that_cannot_count_calls_is_refused_and_harms_nothing(on_jax):
    messages = on_jax["refusal/messages"]
    assert len(messages) == 2  # Without a stream, and with one around.
    for message in messages:
        assert "layer 'dropout'" in message
        assert "enter `layers.stream(key)` inside that function" in message
    assert on_jax["refusal/state"].tolist() == [1, 0]
