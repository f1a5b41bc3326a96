"""Residual branches that a training leaves out."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

import layers
from tests.helpers import graphs
from tests.helpers.checks import assert_mean_close
from tests.helpers.data_sets import stripes
from tests.helpers.trainings import RECIPE, small_model, without_time
from training import trainer
from training.stochastic_depth import Branches

PLAIN = dataclasses.replace(RECIPE, learning_rate=0.005, snapshots=0)
DEEP = dataclasses.replace(PLAIN, stochastic_depth=0.4)


def residual_model():
    """Two branches on features of 1 and more, in both orders of a sum."""
    keras.utils.set_random_seed(0)
    images = x = keras.Input((12, 12, 1), name="images")
    x = keras.layers.Flatten(name="flat")(x)
    x = keras.layers.Rescaling(1 / 64, 1, name="scale")(x)
    x = keras.layers.Dense(4, name="first")(x)
    branch = keras.layers.Dense(4, name="one")(x)
    x = keras.layers.Add(name="one_add")([branch, x])
    branch = keras.layers.Dense(4, name="two")(ops.relu(x))
    x = keras.layers.Add(name="two_add")([x, branch])
    return keras.Model(images, keras.layers.Dense(2, name="head")(x), name="deep")


def test_rates_grow_from_the_first_branch_to_the_last():
    model = graphs.new_graph("resnet20_msa", (32, 32, 3), 10)
    found = Branches(model, 0.4).layers
    rates = [layer.rate for layer in found]
    np.testing.assert_allclose(rates, np.arange(9) * 0.4 / 8)
    sums = [la.name for la in model.layers if isinstance(la, keras.layers.Add)]
    assert [layer.name for layer in found] == [f"{name}_depth" for name in sums]
    with pytest.raises(ValueError, match=r"'small' has none: .*stochastic_depth=0.1"):
        Branches(small_model(), 0.1)


def test_steps_leave_whole_branches_out_and_predictions_do_not():
    model, data = residual_model(), stripes(64)
    trained = trainer.compile_model(model, DEEP, num_examples=64)
    images = np.asarray(data.images, "float32")
    np.testing.assert_array_equal(trained(images), model(images))
    # Checkpoints have what is drawn from, and files of the model do not.
    own = {id(variable) for variable in trained.variables}
    assert {id(variable) for variable in trained.branches.variables} <= own
    assert len(trained.variables) == len(model.variables) + 2
    expected = ops.convert_to_numpy(model(images))
    # What the second branch, of rate 0.4, adds, by what the head makes of it.
    before = keras.Model(model.input, model.get_layer("one_add").output)(images)
    head = model.get_layer("head")
    without, scale = ops.convert_to_numpy(head(before)), 1 / (1 - 0.4)
    with_it = without + scale * (expected - without)
    dropped = []
    for _ in range(20):
        found = ops.convert_to_numpy(trained(images, training=True))
        is_out = np.abs(found - without).max(axis=1) < 1e-4
        other = np.where(is_out[:, None], without, with_it)
        np.testing.assert_allclose(found, other, atol=1e-3)
        dropped.append(is_out)
    assert_mean_close(np.ravel(dropped), 0.4)
    assert np.ptp(np.mean(dropped, axis=0)) > 0.1  # Not always the same images.


@pytest.mark.slow
def test_a_training_goes_on_with_the_branches_that_it_would_have_left_out(
    tmp_path, monkeypatch
):
    def fit(folder, model):
        return trainer.train(model, DEEP, stripes(), tmp_path / folder, seed=3)

    whole = fit("whole", model := residual_model())
    assert not any(isinstance(la, layers.StochasticDepth) for la in model.layers)
    plain = trainer.train(
        residual_model(), PLAIN, stripes(), tmp_path / "plain", seed=3
    )
    assert whole[0]["loss"] != plain[0]["loss"]
    # Stopped after the first epoch.
    saved = trainer.checkpoint.save

    def stop(model, path, position, settings):
        saved(model, path, position, settings)
        if position.epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer.checkpoint, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        fit("stopped", residual_model())
    monkeypatch.undo()
    assert without_time(fit("stopped", residual_model())) == without_time(whole)
