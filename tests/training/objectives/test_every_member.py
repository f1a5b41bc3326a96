"""Every member learns from every image: against passes of one member at a time."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

import layers
from layers.batch_statistics import batch_normalizations
from tests.helpers.trainings import RECIPE, small_model, stripes
from training import trainer
from training.objectives import every_member

NUM_MEMBERS = 3
OWN = dataclasses.replace(RECIPE, objective="every_member")


def ensemble(packed=False):
    """A network whose members have statistics of their own, or share of channels."""
    keras.utils.set_random_seed(0)
    images = keras.Input((12, 12, 1), name="images")
    x = keras.layers.Rescaling(1 / 64, -2, name="scale")(images)
    x = keras.layers.Conv2D(6, 3, strides=2, use_bias=False, name="conv")(x)
    norm = layers.FiLMBatchNormalization(NUM_MEMBERS, gain=2, name="norm")
    x = keras.layers.BatchNormalization(name="norm")(x) if packed else norm(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.ops.relu(x))
    head = layers.PackedDense(2, NUM_MEMBERS, name="head")
    return keras.Model(images, head(x), name="ensemble")


@pytest.mark.parametrize("packed", [False, True])
def test_the_loss_is_the_mean_of_those_of_all_members(packed, monkeypatch):
    model, data = ensemble(packed), stripes(16)
    trained = trainer.compile_model(model, OWN, 16)
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    every = []
    for member in range(NUM_MEMBERS):
        with layers.stream(0, number=member):
            every.append(np.asarray(twin(data.images, training=True), "float64"))
    probs = np.exp(every) / np.exp(every).sum(axis=-1, keepdims=True)
    rows = np.arange(16), data.labels
    losses = [-np.log(own[rows]) for own in probs]
    assert len({round(own.mean(), 4) for own in losses}) == NUM_MEMBERS
    conv, seen = model.get_layer("conv"), []
    convolve = conv.convolution_op
    spied = lambda x, kernel: (seen.append(x.shape), convolve(x, kernel))[1]  # noqa: E731
    monkeypatch.setattr(conv, "convolution_op", spied)
    trained.run_eagerly = True
    before = ops.convert_to_numpy(model.get_layer("head").kernel)
    logs = trained.train_on_batch(data.images, data.labels, return_dict=True)
    np.testing.assert_allclose(logs["loss"], np.mean(losses), rtol=1e-5)
    mean = probs.mean(axis=0)
    np.testing.assert_allclose(logs["nll"], -np.log(mean[rows]).mean(), rtol=1e-5)
    # Members side by side need one pass for all.
    assert seen[0][0] == 16 * (1 if packed else NUM_MEMBERS)
    moved = ops.convert_to_numpy(model.get_layer("head").kernel) != before
    assert moved.any(axis=(1, 2)).all()
    (norm,) = batch_normalizations(model)
    assert np.abs(ops.convert_to_numpy(norm.moving_mean)).reshape(-1, 6).min() > 0
    shown = trained.evaluate(data.images, data.labels, verbose=0, return_dict=True)
    np.testing.assert_allclose(shown["loss"], shown["nll"], rtol=1e-6)


def test_a_network_of_one_member_is_refused():
    with pytest.raises(ValueError, match="several members.*'small' with none"):
        every_member.every_member(small_model(), OWN)


def test_factors_of_members_and_biases_have_no_weight_decay():
    model, data = ensemble(), stripes(16)
    x = layers.DenseBatchEnsemble(2, NUM_MEMBERS, name="fast")(model.output)
    model = keras.Model(model.input, x)
    strong = dataclasses.replace(OWN, weight_decay=1.0, learning_rate=1e-12)
    trained = trainer.compile_model(model, strong, 16)
    spared = trained.optimizer._exclude_from_weight_decay
    fast = model.get_layer("fast")
    names = {v.path.rpartition("/")[2] for v in trained.trainable_variables}
    assert {"alpha", "gamma", "kernel"} <= names
    assert spared == {id(fast.alpha), id(fast.gamma), id(fast.bias)} or spared == {
        trained.optimizer._var_key(w) for w in (fast.alpha, fast.gamma, fast.bias)
    }
    assert len(data)
