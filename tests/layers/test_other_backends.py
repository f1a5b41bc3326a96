"""The layers on other backends, with no TensorFlow to import."""

import numpy as np
import pytest

from layers import MCDropout
from tests.helpers import portable
from tests.helpers.checks import assert_equal_draws


def test_others_draw_as_tensorflow_does(elsewhere):
    expected = portable.arrays()
    for kind in elsewhere["kinds"]:

        def drawn(seed, kind=kind):
            return {n: elsewhere[f"{kind}/{n}/{seed}"] for n in expected[seed]}

        assert_equal_draws(drawn, expected)


def test_others_count_calls_as_tensorflow_does(elsewhere):
    dropout = MCDropout(0.5, seed=3)
    expected = [dropout(np.ones((2, 64))) for _ in range(3)]
    np.testing.assert_array_equal(elsewhere["counted"], expected)


def test_layers_compute_the_same_elsewhere(elsewhere):
    expected = portable.outputs()
    names = {name for name in elsewhere if name.startswith("outputs/")}
    assert names == {f"outputs/{name}" for name in expected}
    for name, value in expected.items():
        # Random ones as well: equal seeds draw equally.
        actual = elsewhere[f"outputs/{name}"]
        np.testing.assert_allclose(actual, value, rtol=1e-4, atol=1e-4, err_msg=name)


def test_every_layer_trains_elsewhere(elsewhere):
    losses, moved = elsewhere["train/losses"], elsewhere["train/moved"]
    assert np.all(np.isfinite(losses))
    assert losses[-1] < losses[0]
    assert np.all(moved)


def test_layers_of_one_pass_train_elsewhere_as_on_tensorflow(elsewhere):
    for name, value in portable.one_pass().items():
        actual = elsewhere[f"one_pass/{name}"]
        np.testing.assert_allclose(actual, value, 1e-3, 1e-4, err_msg=name)


def test_training_elsewhere_counts_its_steps(elsewhere):
    np.testing.assert_array_equal(elsewhere["train/calls"], [portable.EPOCHS] * 4)


@pytest.mark.parametrize("call", ["fit", "evaluate", "predict"])
def test_a_stream_around_a_call_of_keras_has_no_effect(elsewhere, call):
    inside, outside = (
        elsewhere[f"around/{call}/{name}"] for name in ("inside", "outside")
    )
    assert np.any(outside[0] != outside[1])
    if "jit" in elsewhere["kinds"]:
        np.testing.assert_allclose(inside, outside, rtol=1e-6)


def test_a_function_that_cannot_count_calls_is_refused_and_harms_nothing(elsewhere):
    if "refusal/messages" not in elsewhere:
        pytest.skip("Nothing is compiled there")
    messages = elsewhere["refusal/messages"]
    assert len(messages) == 2  # Without a stream, and with one around.
    for message in messages:
        assert "layer 'dropout'" in message
        assert "enter `layers.stream(key)` inside that function" in message
    assert elsewhere["refusal/state"].tolist() == [1, 0]
