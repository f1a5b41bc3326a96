"""Steps in one call, on images that lie on the device, against single steps.

The device is the CPU, where a training does not do this by itself.
"""

import json
import sys

import numpy as np
import pytest

from tests.helpers import processes
from tests.helpers.commands import quick

SCRIPT = """
import dataclasses, json, sys
import keras, numpy as np
from tests.helpers import trainings as t
from training import trainer
from training.distribution import resident

resident.STEPS = 2  # An epoch has five.
folder = sys.argv[1]
recipe = dataclasses.replace(
    t.RECIPE, epochs=2, **{"augmentations": ("flip",), **json.loads(sys.argv[2])}
)

def train(name, fits, seconds=60.0):
    resident.fits = lambda data: fits
    model = getattr(t, sys.argv[3])()
    rows = trainer.train(
        model, recipe, t.stripes(), f"{folder}/{name}", t.stripes(37),
        checkpoint_seconds=seconds,
    )
    weights = [keras.ops.convert_to_numpy(v).tolist() for v in model.weights]
    return {"rows": t.without_time(rows), "weights": weights}

found = {"single": train("single", False), "resident": train("resident", True)}
places, save = [], trainer._Keeper.save

def save_and_stop(self, epoch, step):
    save(self, epoch, step)
    places.append([epoch, step])
    if [epoch, step] == [1, 2]:
        raise KeyboardInterrupt

trainer._Keeper.save = save_and_stop
try:
    train("stopped", True, 0.0)
except KeyboardInterrupt:
    trainer._Keeper.save = save
found["stopped"] = train("stopped", True)
print(json.dumps({**found, "places": places}))
"""


def run(folder, model, **changes):
    pytest.importorskip("jax")
    command = [sys.executable, "-c", SCRIPT, str(folder), json.dumps(changes), model]
    result = processes.run(command, env=quick("jax"))
    assert result.returncode == 0, result.stderr[-3000:]
    assert "ran out of data" not in result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def assert_equal(found, expected):
    assert len(found["rows"]) == len(expected["rows"]) == 2
    for row, other in zip(found["rows"], expected["rows"], strict=True):
        assert row == pytest.approx(other, rel=1e-5)
    for value, other in zip(found["weights"], expected["weights"], strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-4, atol=1e-5)


def test_a_loop_of_steps_has_the_losses_and_weights_of_single_steps(tmp_path):
    found = run(tmp_path, "dense_model")
    assert_equal(found["resident"], found["single"])
    # Saved between calls, the last of which was of one step, and gone on with.
    assert found["places"] == [[0, 2], [0, 4], [1, 0], [1, 2]]
    assert found["stopped"] == found["resident"]


@pytest.mark.slow
def test_convolutions_and_objectives_with_views_take_the_loop(tmp_path):
    changes = {"objective": "augmix", "ema_momentum": 0.8, "augmentations": ("crop2",)}
    found = run(tmp_path, "small_model", **changes)
    assert_equal(found["resident"], found["single"])
    assert found["stopped"] == found["resident"]


@pytest.mark.slow
def test_noise_and_mixtures_of_pairs_take_the_loop(tmp_path):
    changes = {"objective": "dign", "augmentations": ("flip", "cutmix")}
    found = run(tmp_path, "dense_model", **changes)
    assert_equal(found["resident"], found["single"])
    assert found["stopped"] == found["resident"]


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["fgsm:epsilon=16", "ar_adals:bins=2:rate=1"])
def test_attacks_and_numbers_of_images_are_those_of_single_steps(objective, tmp_path):
    found = run(tmp_path, "dense_model", objective=objective)
    assert_equal(found["resident"], found["single"])
    assert found["stopped"] == found["resident"]
