"""On JAX, no exception leaves a model without its weights."""

import os
import sys

import pytest

from tests.helpers import processes

CODE = """
import keras
import numpy as np
import zoo
from training import objective
from zoo.classifier import named

def network():
    keras.utils.set_random_seed(0)
    images = keras.Input((4,))
    x = keras.layers.BatchNormalization()(images)
    model = keras.Model(images, keras.layers.Dense(3)(x))
    model.compile("sgd", objective.cross_entropy())
    return model

def batches(bad, method):
    for number in range(5):
        features = 5 if number == bad else 4
        labels = () if method == "predict" else (np.zeros(2, int),)
        yield (np.full((2, features), number), *labels)

class Stop(keras.callbacks.Callback):
    def stop(self, batch, logs=None):
        raise KeyboardInterrupt
    on_predict_batch_end = on_test_batch_end = on_train_batch_end = stop

def interrupt(model, method, bad):
    callbacks = [Stop()] if bad is None else None
    try:
        getattr(model, method)(batches(bad, method), verbose=0, callbacks=callbacks)
    except (KeyboardInterrupt, ValueError):
        return
    raise AssertionError(method)

def has_weights(model, weights):
    try:
        found = model.get_weights()
    except TypeError:
        return False
    return all(map(np.array_equal, found, weights))

for method in ("predict", "evaluate", "fit"):
    for bad in (0, 2, None):
        model = named(network())
        model.compile("sgd", objective.cross_entropy())
        before = model.get_weights()
        shared = keras.Model(model.input, model.output)
        interrupt(model, method, bad)
        if method != "fit":
            assert has_weights(shared, before), (method, bad)
        assert np.isfinite(model.predict(np.ones((2, 4)), verbose=0)).all()

plain = network()
before = plain.get_weights()
with zoo.kept_weights(plain):
    interrupt(plain, "predict", 0)
assert has_weights(plain, before)
# What the guide says of a model without.
interrupt(plain, "predict", 0)
assert not has_weights(plain, before)
plain.set_weights(before)
assert has_weights(plain, before)
interrupt(plain, "predict", None)
assert not has_weights(plain, before)
plain.jax_state_sync()
assert has_weights(plain, before)
print("kept")
"""


@pytest.mark.slow
def test_no_exception_leaves_a_model_without_weights_on_jax():
    pytest.importorskip("jax")
    result = processes.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )
    assert result.stdout == "kept\n", result.stderr
