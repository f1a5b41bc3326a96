"""Trainings of some layers, on others that are frozen."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
import zoo
from tests.helpers.trainings import RECIPE, stripes
from training import trainer
from training.recipes.base import Recipe
from training.run import load_recipe

GAUSSIAN = dataclasses.replace(
    RECIPE, epochs=1, warmup_epochs=0, snapshots=0, trained_layers="gaussian"
)


def network():
    keras.utils.set_random_seed(0)
    images = keras.Input((12, 12, 1), name="images")
    x = keras.layers.Rescaling(1 / 64, -2, name="normalize")(images)
    first = layers.Conv2DFlipout(4, 3, use_bias=False, initial_scale=0.05, name="conv")
    x = keras.layers.BatchNormalization(name="norm")(first(x))
    body = keras.Sequential([keras.Input((10, 10, 4)), keras.layers.Flatten()])
    body.add(keras.layers.Dense(4, activation="relu", name="hidden"))
    return keras.Model(images, keras.layers.Dense(2, name="head")(body(x)))


def test_layers_of_no_gaussian_weights_stay_as_they_are_bit_for_bit(tmp_path):
    model = network()
    first = model.get_layer("conv")
    before = {v.path: np.array(v) for v in model.variables}
    data, recipe = stripes(), dataclasses.replace(GAUSSIAN, ema_momentum=0.5)
    trainer.train(model, recipe, data, tmp_path)
    assert {v.path for v in model.trainable_variables} == {
        "conv/kernel",
        "conv/kernel_rho",
    }
    own = {v.path for v in first.variables}
    for variable in model.variables:
        same = np.array_equal(variable, before[variable.path])
        assert same == (variable.path not in own), variable.path


def test_a_network_without_such_layers_is_refused():
    model = keras.Sequential(
        [keras.Input((12, 12, 1)), keras.layers.Flatten(), keras.layers.Dense(2)],
        name="plain",
    )
    with pytest.raises(ValueError, match="'gaussian' alone.*model=plain"):
        trainer.compile_model(model, GAUSSIAN, 80)
    with pytest.raises(ValueError, match="`trained_layers` must be one of all, gauss"):
        Recipe("x", trained_layers="first")


def operations(model, recipe, images):
    """Returns the names of the operations that a gradient of the weights needs."""
    trained = trainer.compile_model(model, recipe, 100)

    @tf.function(autograph=False)
    def gradients(images, labels):
        with tf.GradientTape() as tape:
            logits = trained(images, training=True)
            loss = trained.compute_loss(images, labels, logits)
        return tape.gradient(loss, trained.trainable_weights)

    graph = gradients.get_concrete_function(images, np.zeros(2, "int32")).graph
    names = [tensor.op.name for tensor in graph.outputs]
    graph = tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), names)
    return [node.op for node in graph.node]


@pytest.mark.slow
def test_the_backward_pass_has_the_gradients_of_the_first_kernel_alone():
    recipe = load_recipe("stf_finetune")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    model = zoo.build("resnet20_stf", (32, 32, 3), 10)
    with layers.stream(1):
        sampled = np.asarray(model(images))
    found = operations(model, recipe, images)
    # Of the mean and of its perturbation.
    assert found.count("Conv2DBackpropFilter") == 2
    assert found.count("Conv2DBackpropInput") == 18
    assert len(model.trainable_weights) == 2
    assert sum(w.shape.num_elements() for w in model.trainable_weights) == 2 * 27 * 16
    every = dataclasses.replace(recipe, trained_layers="all")
    whole = operations(zoo.build("resnet20_stf", (32, 32, 3), 10), every, images)
    assert whole.count("Conv2DBackpropFilter") == 20

    plain = zoo.build("resnet20", (32, 32, 3), 10)
    for layer in plain.layers:
        for weight in layer.weights:
            own = {w.name: w for w in model.get_layer(layer.name).weights}
            weight.assign(own[weight.name])
    assert not np.allclose(plain(images), sampled, atol=1e-3)
    rho = model.get_layer("stem_conv").kernel_rho
    rho.assign(np.full(rho.shape, -30.0))
    np.testing.assert_allclose(model(images), plain(images), atol=1e-4)
