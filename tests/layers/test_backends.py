"""Draws are equal bit for bit wherever they are computed, but not on replicas.

What others draw is compared in `test_other_backends.py`, which has it computed.
"""

import numpy as np
import pytest
import tensorflow as tf

from layers import random
from tests.helpers.checks import assert_equal_draws
from tests.helpers.portable import SEEDS, arrays, draws


@pytest.fixture(scope="module")
def expected():
    return arrays()


def test_seeds_draw_apart(expected):
    for name in expected[0]:
        values = [expected[seed][name].tobytes() for seed in SEEDS]
        assert len(set(values)) == len(SEEDS)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla_draw_as_eager_does(expected, jit_compile):
    seed = tf.TensorSpec((), "int32")
    compiled = tf.function(draws, [seed], jit_compile=jit_compile)
    assert_equal_draws(compiled, expected)


def test_litert_draws_as_tensorflow_does(expected, tmp_path):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    module = tf.Module()
    module.draws = tf.function(draws, [tf.TensorSpec((), "int32", "seed")])
    tf.saved_model.save(module, tmp_path, signatures=module.draws)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = interpreter.Interpreter(model_content=converter.convert())
    runner = interpreter.get_signature_runner()
    assert_equal_draws(lambda seed: runner(seed=np.int32(seed)), expected)


def test_replicas_draw_apart_and_keep_equal_states(replicas):
    masks, dense = replicas["masks"] != 0, replicas["dense"]
    assert masks.shape == (3, 2, 4, 64)  # Calls, replicas, examples, features.
    rows = masks.reshape(-1, 64)
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert abs(np.mean(masks[:, 0] == masks[:, 1]) - 0.5) < 6 * 0.5 / np.sqrt(3 * 256)
    assert len(np.unique(dense.reshape(-1, 8), axis=0)) == 3 * 2 * 4
    for state, seed, calls in zip(
        replicas["states"], (1, 2), (3 + 3 + 2, 3 + 2), strict=True
    ):
        assert state.tolist() == [[seed, calls]] * 2


def test_a_replica_folds_its_number_into_the_key(replicas):
    for replica in (0, 1):
        keys = random.fold(random.fold(random.fold(1, 1), replica), np.arange(4))
        keep = ~np.array(random.bernoulli(keys, (4, 64), 0.5))
        np.testing.assert_array_equal(replicas["masks"][0, replica] != 0, keep)
